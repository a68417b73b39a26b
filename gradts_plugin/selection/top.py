"""The best-ranked candidates, as many as asked for."""

from __future__ import annotations

from gradts_plugin.protocols import SelectionContext
from gradts_plugin.records import Selection


def select_top(context: SelectionContext) -> Selection:
    """Selects the k best-ranked candidates; trains nothing, and works with every ranker.

    How rankings are usually compared (Poth et al. 2021, What to Pre-Train on?: regret at k).

    Args:
        context: `settings.top.k` is k; all candidates where there are fewer.

    Returns:
        The selection, best-ranked first.
    """
    ranking = context.ranking
    best = ranking.candidates[: context.settings.top.k]
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
