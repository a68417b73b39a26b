"""Every candidate: what a selection has to be worth its cost against."""

from __future__ import annotations

from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.records import Selection
from gradts_plugin.settings.parsing import NoSettings


def select_everything(context: SelectionContext, _settings: NoSettings) -> Selection:
    """Selects all candidates, in the given order; trains and probes nothing.

    Multi-task learning without a choice, as MT-DNN does it (Liu et al. 2019).

    Args:
        context: the candidates.

    Returns:
        The selection.
    """
    candidates = context.candidate_tasks
    count = "the only candidate" if len(candidates) == 1 else f"all {len(candidates)} candidates"
    return Selection(
        method="all",
        primary_task=context.primary_task,
        auxiliary_tasks=candidates,
        reason=f"{count}, as asked for",
    )


METHOD = Method(
    name="all",
    select=select_everything,
    title="All candidates",
    summary="Every candidate: multi-task learning without a choice (Liu et al. 2019).",
    needs_ranking=False,
)
