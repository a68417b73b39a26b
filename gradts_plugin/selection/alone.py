"""No auxiliary at all: what every selection is compared with."""

from __future__ import annotations

from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.records import Selection
from gradts_plugin.settings.parsing import NoSettings


def select_nothing(context: SelectionContext, _settings: NoSettings) -> Selection:
    """Selects the primary alone; trains and probes nothing (single-task learning).

    Args:
        context: the primary.

    Returns:
        The selection, without auxiliaries.
    """
    return Selection(
        method="alone",
        primary_task=context.primary_task,
        auxiliary_tasks=(),
        reason=f"{context.primary_task} alone, as asked for",
    )


METHOD = Method(
    name="alone",
    select=select_nothing,
    title="Primary alone",
    summary="No auxiliary: single-task learning, what every selection is compared with.",
    needs_ranking=False,
)
