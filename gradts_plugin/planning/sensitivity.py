"""What a budget of trainings can tell apart."""

from __future__ import annotations

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.scores import score_spread
from gradts_plugin.selection.search import SearchSettings

#: How many standard errors a gain must be away from none to be told from it.
_ERRORS = 2

#: Between seeds, of a score: in the middle of eleven primaries of 100 to 1,000 rows, where it is
#: 0.00 to 0.10 (benchmarks/results/low_resource.md and comparison.md).
_USUAL_SPREAD = 0.03

#: Seeds of the primary alone that are looked up.
_MOST_SEEDS = 20


def budget_note(engine: Engine) -> str | None:
    """Which gains a search with a budget can tell from none; None for other methods.

    The spread between seeds is that of the stored trainings of the primary alone, where there are
    two or more.
    """
    session = engine.session
    _, own = session.method
    if not isinstance(own, SearchSettings):
        return None
    primary = session.settings.primary_task
    request = TrialRequest((), engine.trainings.trial_seeds(_MOST_SEEDS))
    scores = [found.score for found in engine.trainings.stored(request) if found.score is not None]
    spread, source = (
        score_spread(scores),
        f"as {len(scores)} stored trainings of {primary} alone do",
    )
    if spread is None:
        spread = _USUAL_SPREAD
        source = "as is usual for small tasks, until some trainings with several seeds are stored"
    gain = _ERRORS * own.standard_error * spread
    return (
        f"{own.budget} trainings tell gains above about {gain:.3f} from none, if a score varies by "
        f"{spread:.3f} between seeds, {source}."
    )
