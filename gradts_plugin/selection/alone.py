"""No auxiliary at all: what every selection is compared with."""

from __future__ import annotations

from gradts_plugin.protocols import SelectionContext
from gradts_plugin.records import Selection


def select_nothing(context: SelectionContext) -> Selection:
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


select_nothing.uses_ranking = False  # type: ignore[attr-defined]
