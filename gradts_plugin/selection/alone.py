"""No auxiliary at all: what every selection is compared with."""

from __future__ import annotations

from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.records import Selection
from gradts_plugin.settings.parsing import NoSettings


def select_nothing(context: SelectionContext, _settings: NoSettings) -> Selection:
    """Selects the primary alone (single-task learning); probes nothing.

    Args:
        context: the primary.

    Returns:
        The selection, without auxiliaries.
    """
    primary = context.primary_task
    return Selection("alone", primary, (), f"{primary} alone, as asked for")


METHOD = Method(
    name="alone",
    select=select_nothing,
    title="Primary alone",
    summary="No auxiliary: single-task learning, what every selection is compared with; with equal "
    "exposure the better of two lengths.",
    needs_ranking=False,
)
