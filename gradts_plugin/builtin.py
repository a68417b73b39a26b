"""Our own behaviour, as a plugin like any other; it is registered first, so others answer first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.probing import importance
from gradts_plugin.protocols import Correlation, HeadImportanceMeasure, Ranker, SelectionMethod
from gradts_plugin.ranking.correlation import kendall
from gradts_plugin.ranking.embedding import rank_by_embedding
from gradts_plugin.ranking.gradients import rank_by_gradients
from gradts_plugin.ranking.heads import rank_by_heads
from gradts_plugin.ranking.logme import rank_by_logme
from gradts_plugin.ranking.random_order import rank_at_random
from gradts_plugin.ranking.size import rank_by_size
from gradts_plugin.records import Selection
from gradts_plugin.selection.alone import select_nothing
from gradts_plugin.selection.autosem import select_by_mixing, select_by_utility
from gradts_plugin.selection.everything import select_everything
from gradts_plugin.selection.finegrained import select_fine_grained
from gradts_plugin.selection.threshold import select_by_threshold
from gradts_plugin.selection.top import select_top
from gradts_plugin.selection.trial import select_by_trial
from gradts_plugin.tasks.shipped import shipped_task_configs


@hookimpl
def extend_task_configs() -> Mapping[str, Path]:
    """Offers the shipped configs of the paper's 14 tasks."""
    return shipped_task_configs()


@hookimpl(trylast=True)
def load_task(config: Mapping[str, Any], base_path: Path) -> Any | None:
    """Loads task configs that name a `kind`; the others are jiant's own."""
    if "kind" not in config:
        return None
    # Imported late: most commands need no host, and jiant takes seconds to import.
    from gradts_plugin.hosts.jiant.tasks.custom import create_task

    return create_task(config, base_path)


@hookimpl
def extend_head_importance_measures() -> Mapping[str, HeadImportanceMeasure]:
    """Offers the true heads (rows), the published code's split (columns) and the gate gradient."""
    return {"rows": importance.rows, "columns": importance.columns, "gate": importance.gate}


@hookimpl
def extend_correlations() -> Mapping[str, Correlation]:
    """Offers Kendall's tau-b."""
    return {"kendall": kendall}


@hookimpl
def extend_rankers() -> Mapping[str, Ranker]:
    """Offers GradTS's own ranking, and those to compare it with."""
    return {
        "heads": rank_by_heads,
        "size": rank_by_size,
        "random": rank_at_random,
        "embedding": rank_by_embedding,
        "logme": rank_by_logme,
        "gradients": rank_by_gradients,
    }


@hookimpl
def extend_selection_methods() -> Mapping[str, SelectionMethod]:
    """Offers the paper's three settings, and those to compare them with."""
    return {
        "thres": select_by_threshold,
        "trial": select_by_trial,
        "fg": select_fine_grained,
        "autosem-p1": select_by_utility,
        "autosem": select_by_mixing,
        "alone": select_nothing,
        "all": select_everything,
        "top": select_top,
    }


@hookimpl(trylast=True)
def rewrite_config(
    config: Mapping[str, Any], selection: Selection, output_dir: Path
) -> dict[str, Any] | None:
    """Rewrites jiant's task-container config."""
    from gradts_plugin.hosts.jiant.container import rewrite_container_config

    return rewrite_container_config(config, selection, output_dir)
