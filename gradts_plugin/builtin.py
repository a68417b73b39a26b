"""Our own behaviour, as a plugin like any other; it is registered first, so others answer first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.offers import Correlation, Measure, Method, Ranker
from gradts_plugin.ranking import (
    donors,
    embedding,
    gradients,
    heads,
    logme,
    lookahead,
    matching,
    random_order,
    size,
    task_vectors,
    transfer,
)
from gradts_plugin.ranking.correlation import kendall
from gradts_plugin.selection import (
    alone,
    autosem,
    designed,
    everything,
    finegrained,
    matched,
    race,
    threshold,
    top,
    trial,
)
from gradts_plugin.tasks.shipped import shipped_task_configs

if TYPE_CHECKING:
    from torch import Tensor, nn


@hookimpl
def extend_task_configs() -> Mapping[str, Path]:
    """Offers the shipped configs of the paper's 14 tasks."""
    return shipped_task_configs()


@hookimpl
def extend_head_importance_measures() -> Sequence[Measure]:
    """Offers the true heads (rows), the published code's split (columns) and the gate gradient."""
    return [Measure(name, partial(_measure, name)) for name in ("rows", "columns", "gate")]


def _measure(name: str, encoder: nn.Module, instance_losses: Callable[[], Tensor]) -> Tensor:
    # Imported when it is computed: torch takes seconds, and settings are checked without it.
    from gradts_plugin.probing import importance

    measured: Tensor = getattr(importance, name)(encoder, instance_losses)
    return measured


@hookimpl
def extend_correlations() -> Mapping[str, Correlation]:
    """Offers Kendall's tau-b."""
    return {"kendall": kendall}


@hookimpl
def extend_rankers() -> Sequence[Ranker[Any]]:
    """Offers GradTS's own ranking, and those to compare it with."""
    return [
        ranker.RANKER
        for ranker in (
            heads,
            size,
            random_order,
            embedding,
            logme,
            gradients,
            matching,
            transfer,
            task_vectors,
            lookahead,
            donors,
        )
    ]


@hookimpl
def extend_selection_methods() -> Sequence[Method[Any]]:
    """Offers the paper's three settings, and those to compare them with."""
    return [
        threshold.METHOD,
        trial.METHOD,
        finegrained.METHOD,
        designed.METHOD,
        race.METHOD,
        matched.METHOD,
        autosem.UTILITY_METHOD,
        autosem.METHOD,
        alone.METHOD,
        everything.METHOD,
        top.METHOD,
    ]
