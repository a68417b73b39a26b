"""No auxiliary at all: what every selection is compared with."""

from __future__ import annotations

from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.records import Selection, Trial
from gradts_plugin.settings.parsing import NoSettings


def select_nothing(context: SelectionContext, _settings: NoSettings) -> Selection:
    """Selects the primary alone (single-task learning); probes nothing.

    With `training.exposure: equal` it is trained at both lengths, its own and that with
    auxiliaries, since the better one is what is delivered. With `total` nothing is trained.

    Args:
        context: the primary; `score` tries both lengths.

    Returns:
        The selection, without auxiliaries.
    """
    reason = f"{context.primary_task} alone, as asked for"
    trials: tuple[Trial, ...] = ()
    if context.settings.training.exposure == "equal":
        trials = (context.score(()),)
        if trials[0].longer:
            reason += ", for as many steps as with auxiliaries, which scores better than its own"
    return Selection("alone", context.primary_task, (), reason, trials=trials)


METHOD = Method(
    name="alone",
    select=select_nothing,
    title="Primary alone",
    summary="No auxiliary: single-task learning, what every selection is compared with; with equal "
    "exposure the better of two lengths.",
    needs_ranking=False,
)
