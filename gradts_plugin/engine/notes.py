"""What has to be known before a run's scores are trusted: notes in plain sentences.

A primary that auxiliaries starve loses by any of them; a training that has not ended, or ends
elsewhere with another seed, says nothing about gains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.session import Session
from gradts_plugin.engine.trainings import TrialRequest
from gradts_plugin.gains.gain import pooled_spread
from gradts_plugin.records import Selection, Trial
from gradts_plugin.scores import score_difference

#: Steps that the primary may lack before it is said: samplers draw, and shares are rounded.
_LACKING = 0.05

#: Of a score: smaller differences are nothing to warn of.
_NOTICEABLE = 0.03


def exposure_note(engine: Engine, requests: Iterable[TrialRequest]) -> str | None:
    """Says where trainings give the primary fewer steps than it has alone.

    Args:
        engine: of the run.
        requests: what is trained.

    Returns:
        The worst of them in a sentence; None where none lacks anything, or nobody knows.
    """
    found = [
        (request.auxiliary_tasks, exposure)
        for request in requests
        if (exposure := engine.trainings.primary_exposure(request)) is not None
    ]
    if not found:
        return None
    worst, exposure = min(found, key=lambda pair: pair[1].share)
    if exposure.share >= 1 - _LACKING:
        return None
    primary = engine.session.settings.primary_task
    beside = ", ".join(worst) if len(worst) <= 3 else f"{len(worst)} auxiliaries"
    return (
        f"Beside {beside}, {primary} gets about {exposure.num_steps:.0f} of the "
        f"{exposure.num_steps_alone} steps that it gets alone, so a loss may be missing training; "
        "`training: {exposure: equal}` gives it all of them."
    )


def candidates_note(engine: Engine) -> str | None:
    """Says, before anything is trained, what the primary lacks beside any or all candidates."""
    candidates = tuple(engine.session.tasks)[1:]
    sets = [candidates, *((name,) for name in candidates)]
    seeds = engine.trainings.trial_seeds(1)
    return exposure_note(engine, [TrialRequest(names, seeds) for names in sets])


def notes_on(engine: Engine, selection: Selection) -> tuple[str, ...]:
    """What has to be known before a selection's scores are trusted.

    Args:
        engine: the run, after its trials.
        selection: what was selected.
    """
    seeds = engine.trainings.trial_seeds(1)
    trials = engine.trainings.trials
    trained = [
        TrialRequest(trial.auxiliary_tasks, seeds, mixing_ratios=trial.mixing_ratios)
        for trial in trials
        if trial.auxiliary_tasks and not trial.num_kept  # which instances, a trial does not say
    ]
    if selection.auxiliary_tasks:
        kept, ratios = selection.kept_instances, selection.mixing_ratios
        trained.append(TrialRequest(selection.auxiliary_tasks, seeds, kept, ratios))
    starved = exposure_note(engine, trained)
    return (
        *unranked_notes(engine.session),
        *([starved] if starved else []),
        *training_notes(trials),
    )


def unranked_notes(session: Session) -> list[str]:
    """Says which candidates cannot be ranked, where candidates are ranked."""
    if not session.method[0].needs_ranking:
        return []
    return [
        f"{name} cannot be ranked and is put last: {why}."
        for name, why in session.nothing_to_learn.items()
        if name != session.settings.primary_task
    ]


def training_notes(trials: Sequence[Trial]) -> list[str]:
    """Says where the primary's trainings have not ended, or end elsewhere with another seed.

    Args:
        trials: of a run.
    """
    alone = [trial for trial in trials if not trial.auxiliary_tasks]
    if not alone:
        return []

    def noticeable(baseline: Trial) -> float:
        """What is more than any gain over a training alone, and more than little."""
        gains = (
            score_difference(trial.score, baseline.score)
            for trial in trials
            if trial.auxiliary_tasks
        )
        return max([_NOTICEABLE, *(gain for gain in gains if gain is not None)])

    notes = []
    longer = [trial for trial in alone if trial.longer]
    short = [trial for trial in alone if not trial.longer]
    if longer and short:
        added = score_difference(longer[-1].score, short[-1].score)
        if added is not None and added > noticeable(short[-1]):
            notes.append(
                f"Alone and for longer, the primary scores {added:.3f} higher: it has not learned "
                "all it can when its own steps end, and any gain may be that. Raise epochs or "
                "max_steps."
            )
    counted = max(alone, key=Trial.comparable)
    spread = pooled_spread(trials, counted)
    if spread is not None and spread.sd / 2**0.5 > noticeable(counted):
        notes.append(
            f"Another seed changes a score by about {spread.sd / 2**0.5:.3f}, more than any gain "
            "here: the trainings are unstable. Lower learning_rate, raise warmup_proportion or "
            "train for longer before anything is concluded."
        )
    return notes
