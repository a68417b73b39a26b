"""The best-ranked candidates, as many as asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.records import Selection
from gradts_plugin.settings.parsing import Settings


class TopSettings(Settings):
    """How many of the best-ranked candidates are auxiliaries."""

    k: Annotated[int, Field(gt=0, le=10_000)] = 2


def select_top(context: SelectionContext, settings: TopSettings) -> Selection:
    """Selects the k best-ranked candidates; trains nothing, and works with every ranker.

    How rankings are usually compared (Poth et al. 2021, What to Pre-Train on?: regret at k).

    Args:
        context: the ranking.
        settings: k; all candidates are taken where there are fewer.

    Returns:
        The selection, best-ranked first.
    """
    ranking = context.ranking
    best = ranking.candidates[: settings.k]
    listed = ", ".join(f"{candidate.task_name} {candidate.tau:.3f}" for candidate in best)
    return Selection(
        method="top",
        primary_task=context.primary_task,
        auxiliary_tasks=tuple(candidate.task_name for candidate in best),
        reason=(
            f"the {len(best)} best-ranked of {len(ranking.candidates)} candidates "
            f"({ranking.measure}): {listed}"
        ),
    )


METHOD = Method(
    name="top",
    select=select_top,
    title="Best-ranked k",
    summary="The k best-ranked candidates, by any ranker (Poth et al. 2021).",
    settings=TopSettings,
)
