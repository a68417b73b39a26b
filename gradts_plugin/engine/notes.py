"""What has to be known before a run's scores are trusted: notes in plain sentences.

A primary that auxiliaries starve loses by any of them; a training that has not ended, ends
elsewhere with another seed, learned nothing or all there is, says nothing about gains.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.engine.session import Session
from gradts_plugin.gains.gain import SeedSpread, gain_of, pooled_spread
from gradts_plugin.gains.metrics import score_of
from gradts_plugin.records import Predictions, Selection, Trial
from gradts_plugin.scores import Gain, Score, mean_score, score_difference, shown_score

#: Steps that the primary may lack before it is said: samplers draw, and shares are rounded.
_LACKING = 0.05

#: What a score may lack of 1 where nearly nothing is left to gain.
_AT_CEILING = 0.02

_CORRELATIONS = frozenset(("mcc", "pearson", "spearman", "pearson_and_spearman"))

#: Metrics whose first value is the answer to an instance, and whose second is the right one.
_WITH_ANSWERS = frozenset(("accuracy", "macro_f1", "f1", "acc_and_f1")) | _CORRELATIONS

#: The probability from which the primary is taken to do better than one answer for all.
_SURELY = 0.9

#: Half of a 95 % interval, in standard errors.
_HALF_INTERVAL = 1.96

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
    trained = _tried(engine)
    if selection.auxiliary_tasks:
        seeds = engine.trainings.trial_seeds(1)
        kept, ratios = selection.kept_instances, selection.mixing_ratios
        trained.append(TrialRequest(selection.auxiliary_tasks, seeds, kept, ratios))
    unranked = unranked_notes(engine.session, ranked=engine.session.method[0].needs_ranking)
    return (*unranked, *_notes_on_trials(engine, trained))


def notes_on_compared(engine: Engine, *, ranked: bool) -> tuple[str, ...]:
    """What has to be known before a comparison's scores are trusted.

    Args:
        engine: whose trials score the methods' selections and the oracle's sets.
        ranked: whether a method ranks candidates.
    """
    unranked = unranked_notes(engine.session, ranked=ranked)
    return (*unranked, *_notes_on_trials(engine, _tried(engine)))


def _tried(engine: Engine) -> list[TrialRequest]:
    """What was trained with auxiliaries; not which instances were kept, a trial does not say."""
    seeds = engine.trainings.trial_seeds(1)
    return [
        TrialRequest(trial.auxiliary_tasks, seeds, mixing_ratios=trial.mixing_ratios)
        for trial in engine.trainings.trials
        if trial.auxiliary_tasks and not trial.num_kept
    ]


def _notes_on_trials(engine: Engine, trained: Iterable[TrialRequest]) -> list[str]:
    starved = exposure_note(engine, trained)
    return [*([starved] if starved else []), *training_notes(engine.trainings.trials)]


def unranked_notes(session: Session, *, ranked: bool) -> list[str]:
    """Says which candidates cannot be ranked, where candidates are ranked.

    Args:
        session: says what cannot be ranked.
        ranked: whether candidates are.
    """
    if not ranked:
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

    nothing = learned_nothing_note(alone)
    notes = [note for note in (ceiling_note(alone), nothing) if note is not None]
    longer = [trial for trial in alone if trial.longer]
    short = [trial for trial in alone if not trial.longer]
    if longer and short:
        added = score_difference(longer[-1].score, short[-1].score)
        found = "Alone and for longer, the primary scores {:.3f} higher"
    else:
        added = _late_rise(alone[-1])
        found = "Alone, the primary's dev score rose by {:.3f} in the last quarter of its training"
    if added is not None and added > noticeable((short or alone)[-1]):
        notes.append(
            f"{found.format(added)}: it has not learned all it can when its steps end, and any "
            "gain may be that. Raise epochs or max_steps."
        )
    counted = max(alone, key=Trial.comparable)
    spread = pooled_spread(trials, counted)
    if nothing is None and (note := one_answer_note(counted, spread)):
        notes.append(note)
    if spread is not None and spread.sd / 2**0.5 > noticeable(counted):
        notes.append(
            f"Another seed changes a score by about {spread.sd / 2**0.5:.3f}, more than any gain "
            "here: the trainings are unstable. Lower learning_rate, raise warmup_proportion or "
            "train for longer before anything is concluded."
        )
    return notes


def _late_rise(trial: Trial) -> Score:
    """How much the dev score rose in the last quarter of its evaluations, averaged over seeds.

    None where a training was not evaluated four times, or a score is undefined.
    """
    rises: list[Score] = []
    for history in trial.histories:
        earlier = [score for score in history[: 3 * len(history) // 4] if score is not None]
        if len(history) < 4 or not earlier:
            return None
        rises.append(score_difference(history[-1], max(earlier)))
    return mean_score(rises)


def ceiling_note(alone: Sequence[Trial]) -> str | None:
    """Says where the primary alone leaves nearly nothing to gain; None elsewhere.

    Args:
        alone: trials of the primary alone.
    """
    best = max((trial.score for trial in alone if trial.score is not None), default=0.0)
    if best < 1 - _AT_CEILING:
        return None
    return f"Alone, the primary scores {best:.3f} already: at most {1 - best:.3f} is left to gain."


def learned_nothing_note(alone: Sequence[Trial]) -> str | None:
    """Says where the primary alone answers every dev instance alike; None elsewhere.

    Args:
        alone: trials of the primary alone.
    """
    found = [
        predictions["dev"] for trial in alone for predictions in trial.predictions if predictions
    ]
    if not found or not all(_is_constant(each) for each in found):
        return None
    return (
        "Alone, the primary's model answers every dev instance alike: it has learned nothing, and "
        "no gain over it means anything yet. Train for longer, or with another learning_rate or "
        "encoder."
    )


def one_answer_note(alone: Trial, spread: SeedSpread | None) -> str | None:
    """Says where the primary alone is not surely better than one answer for all; None elsewhere.

    Such a score may be that of nothing learned: F1 with 70 % positives is 0.82 for "positive".

    Args:
        alone: the primary alone.
        spread: how much a score varies with the seed.
    """
    predictions = [each["dev"] for each in alone.predictions if "dev" in each]
    if not predictions or len(predictions) != len(alone.scores):
        return None
    constant = _one_answer(predictions[0])
    if constant is None:
        return None
    score = score_of(constant)
    same = replace(
        alone,
        scores=(score,) * len(alone.scores),
        predictions=({"dev": constant},) * len(alone.scores),
    )
    p_better = gain_of(alone, same, seed_spread=spread).p_helps
    if p_better is None or p_better >= _SURELY:
        return None
    return (
        f"Alone, the primary scores {shown_score(alone.score, '.3f')}, one answer for all dev "
        f"instances {shown_score(score, '.3f')}: it may have learned nothing, and then no gain "
        "over it means anything. Train for longer, with another learning_rate or with more rows."
    )


def _one_answer(predictions: Predictions) -> Predictions | None:
    """The best that one answer for all instances does; None where answers are not stored."""
    if predictions.metric not in _WITH_ANSWERS or len(predictions.values) < 2:
        return None
    right = predictions.values[:, 1]
    answers = np.unique(right)
    if predictions.metric in _CORRELATIONS:
        answers = answers[:1]  # one is as good as another
    constant = [
        replace(predictions, values=np.column_stack([np.full(len(right), answer), right]))
        for answer in answers
    ]
    return max(constant, key=lambda each: score_of(each) or 0.0)


def _is_constant(predictions: Predictions) -> bool:
    """Whether all instances got one answer; False where the stored values do not say."""
    if len(predictions.values) < 2:
        return False
    if predictions.metric == "span_f1":  # no span at all
        return not predictions.values[:, 1].any()
    answers = predictions.values[:, 0]
    return predictions.metric in _WITH_ANSWERS and bool(np.ptp(answers) <= 1e-6)


def gain_notes(gain: Gain | None) -> list[str]:
    """Says where a selection is worse than alone, or the dev set too small to tell.

    Args:
        gain: of the selection over the primary alone; None where nothing was selected.
    """
    if gain is None or gain.gain is None:
        return []
    if gain.gain < 0:
        is_sure = gain.high is not None and gain.high < 0
        return [
            f"Trained anew, the selection scores {-gain.gain:.3f} less than the primary alone"
            + (": the primary alone is better." if is_sure else ", perhaps by chance.")
        ]
    if gain.low is None or gain.low > 0 or gain.standard_error is None:
        return []
    seeds = "1 seed" if gain.num_seeds == 1 else f"{gain.num_seeds} seeds"
    on = f"{gain.num_instances} dev instances and " if gain.num_instances else ""
    return [
        f"With {on}{seeds}, gains below about {_HALF_INTERVAL * gain.standard_error:.3f} cannot "
        "be told from none. Raise training_seeds, or give the primary a larger dev set."
    ]
