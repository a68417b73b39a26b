"""Scores, which may be undefined (None), gains, and how they and durations are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: A metric's value; None where it has none (a correlation with constant labels).
Score = float | None


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean; None where one of the scores is undefined, or there is none."""
    defined = _all_defined(scores)
    return float(np.mean(defined)) if defined else None


def score_spread(scores: Sequence[Score]) -> Score:
    """The standard deviation (n - 1); None where one is undefined, or there are less than two."""
    defined = _all_defined(scores)
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else None


def score_differences(scores: Sequence[Score], others: Sequence[Score]) -> tuple[Score, ...]:
    """One by one, as far as both go; None where a side is undefined."""
    return tuple(
        None if score is None or other is None else score - other
        for score, other in zip(scores, others, strict=False)
    )


def score_difference(score: Score, other: Score) -> Score:
    """One score less another one; None where a side is undefined."""
    return score_differences([score], [other])[0]


def shown_score(score: Score, form: str = ".4f", *, spread: Score = None) -> str:
    """A score in words, with its spread where there is one.

    Args:
        score: the score.
        form: how a defined one is written, e.g. "+.4f" for a difference.
        spread: its standard deviation over seeds.
    """
    shown = "undefined" if score is None else format(score, form)
    return shown if spread is None else f"{shown} ± {spread:.4f}"


def shown_duration(seconds: float) -> str:
    """Seconds in words: 42 s, 7 min, 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def shown_names(names: Sequence[str], most: int = 4) -> str:
    """Names in a row, the first few of many: a, b, c, d and 12 more."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _all_defined(scores: Sequence[Score]) -> list[float]:
    """The scores, or none at all where one of them is undefined."""
    defined = [score for score in scores if score is not None]
    return defined if len(defined) == len(scores) else []


@dataclass(frozen=True)
class Gain:
    """By how much a trial scores higher than another one, and how sure that is.

    Attributes:
        gain: mean difference over the seeds that both have; None where a score is undefined.
        low: lower end of its interval; None where nothing says how sure it is.
        high: upper end.
        p_helps: probability that the gain is truly above 0; None where there is no interval.
        num_seeds: seeds that both have.
        num_instances: scored instances that were compared pair by pair; 0 where none were stored.
        covers: the sources of uncertainty inside the interval: "seeds", "instances".
        confidence: level of the interval, e.g. 0.95.
        standard_error: of the gain, as far as `covers` goes; None where there is no interval.
    """

    gain: Score
    low: Score
    high: Score
    p_helps: float | None
    num_seeds: int
    num_instances: int
    covers: tuple[str, ...]
    confidence: float = 0.95
    standard_error: float | None = None

    @property
    def shown(self) -> str:
        """The gain in words; says where one seed was all there is."""
        return f"gain {self.shown_short}"

    @property
    def shown_short(self) -> str:
        """The same without the first word, for a table whose column says it."""
        said = [shown_score(self.gain, "+.3f")]
        if self.p_helps is not None:
            said += [
                f"{100 * self.confidence:g} % interval {self.shown_interval}",
                f"helps with probability {self.shown_p_helps}",
            ]
        if self.gain is not None and "seeds" not in self.covers:
            said.append("one seed")
        return ", ".join(said)

    @property
    def shown_interval(self) -> str:
        """Both ends; empty where there is no interval."""
        if self.low is None or self.high is None:
            return ""
        return f"[{self.low:+.3f}, {self.high:+.3f}]"

    @property
    def shown_p_helps(self) -> str:
        """Two digits, never 0 or 1, which nobody knows; empty where there is no interval."""
        p = self.p_helps
        if p is None:
            return ""
        if p < 0.005 or p >= 0.995:
            return "below 0.01" if p < 0.5 else "above 0.99"
        return f"{p:.2f}"


@dataclass(frozen=True)
class Effect:
    """What auxiliaries add to the primary's score, as far as a search knows.

    Attributes:
        auxiliary_tasks: one candidate, or a set that is trained together.
        gain: over the primary alone.
    """

    auxiliary_tasks: tuple[str, ...]
    gain: Gain


@dataclass(frozen=True)
class Round:
    """What a search knows after a round of trials.

    Attributes:
        number: of the round, from 1.
        effects: of what was searched among, best first; empty where scores are undefined.
        best: the set that would be selected if the search ended now; None likewise.
        fit: share of the scores' variance that adding up effects foretells of scores left out; None
            with few scores, and where effects are not added up.
        num_trainings: trainings so far, stored ones counted like others.
        budget: how many there may be.
    """

    number: int
    effects: tuple[Effect, ...]
    best: Effect | None
    fit: float | None
    num_trainings: int
    budget: int

    @property
    def shown(self) -> str:
        """What is known, in words."""
        known = "nothing is defined yet"
        if self.best is not None:
            known = f"best so far {', '.join(self.best.auxiliary_tasks)}, {self.best.gain.shown}"
        return f"round {self.number}, {self.num_trainings} of {self.budget} trainings: {known}"
