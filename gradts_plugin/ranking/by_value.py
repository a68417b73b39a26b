"""What the rankers share: a ranking from one figure per candidate, and who stands at its end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from gradts_plugin.errors import SelectionError
from gradts_plugin.offers import RankingContext
from gradts_plugin.records import RankedTask, Ranking


def ranked_by_value(
    context: RankingContext, values: Mapping[str, float], *, ranker: str, measure: str
) -> Ranking:
    """A ranking by a figure of each candidate, largest first; ties keep the given order.

    Args:
        context: the primary, the candidates and the settings.
        values: candidate -> its figure.
        ranker: name of the ranker.
        measure: what the figure is, in a word or two.

    Raises:
        SelectionError: a figure is not a number.
    """
    ordered = sorted(context.candidate_tasks, key=lambda name: -values[name])
    placed = [(name, values[name]) for name in ordered]
    return ranked_in_order(context, placed, ranker=ranker, measure=measure)


def ranked_in_order(
    context: RankingContext, placed: Sequence[tuple[str, float]], *, ranker: str, measure: str
) -> Ranking:
    """A ranking whose order is known.

    Args:
        context: the primary, the candidates and the settings.
        placed: (candidate, its figure), best first.
        ranker: name of the ranker.
        measure: what the figure is, in a word or two.

    Raises:
        SelectionError: a figure is not a number.
    """
    for name, value in placed:
        if not math.isfinite(value):
            raise SelectionError(f"ranker {ranker!r}: the {measure} of task {name!r} is {value}")
    return Ranking(
        primary_task=context.primary_task,
        candidates=tuple(RankedTask(name, float(value), None, None) for name, value in placed),
        confidence=context.settings.ranking.confidence,
        num_seeds=1,
        covers=(),
        num_heads_total=0,
        task_names=(context.primary_task, *context.candidate_tasks),
        task_taus=None,
        ranker=ranker,
        measure=measure,
    )


def with_unranked(ranking: Ranking, why: Mapping[str, str]) -> Ranking:
    """A ranking with the candidates that could not be ranked at its end.

    Args:
        ranking: of the others.
        why: candidate -> why it could not be ranked.
    """
    lowest = min(-1.0, *(candidate.tau for candidate in ranking.candidates))
    last = (RankedTask(name, lowest, None, None, note) for name, note in why.items())
    return dataclasses.replace(ranking, candidates=(*ranking.candidates, *last))
