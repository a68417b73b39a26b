"""What a comparison came to, and what its figures add up to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gradts_plugin.gains.gain import dev_and_test_gain
from gradts_plugin.records import Cost, Selection, Trial
from gradts_plugin.scores import (
    Gain,
    Score,
    mean_score,
    score_difference,
    score_differences,
    score_spread,
)

#: Name of the comparison in its output folder.
COMPARISON = "comparison.json"


@dataclass(frozen=True)
class MethodResult:
    """What one method came to for one primary.

    Attributes:
        selection: what it selected.
        ranking: task -> what it was ranked by, best first; None where it ranks nothing.
        trial: the selection's training, over all evaluation seeds.
        cost: until the selection is known, with nothing stored.
        regret: the oracle's score less this one's; None where a score is undefined.
        gain: on the primary alone; None where a score is undefined.
        gain_spread: standard deviation of the gain over the seeds; None with one seed.
        test_gain: gain on the test set; None where a side was not scored on it, or is undefined.
        interval: the gain with its interval; None where nothing was selected.
        test_interval: the same on the test set; None also where it was not scored.
        gain_agreement: Kendall's tau between the ranking and the gains of single candidates; None
            where there is no such figure.
    """

    selection: Selection
    ranking: Mapping[str, float] | None
    trial: Trial
    cost: Cost
    regret: Score
    gain: Score
    gain_spread: Score
    test_gain: Score
    gain_agreement: float | None
    interval: Gain | None = None
    test_interval: Gain | None = None


@dataclass(frozen=True)
class PrimaryResult:
    """All methods for one primary.

    Attributes:
        alone: trained alone, over all evaluation seeds.
        oracle: the subset with the best mean score.
        subsets: every subset that was trained for the oracle, or was selected.
        methods: by name, in the order of the settings.
        oracle_interval: the oracle's gain with its interval, which does not know that it is the
            best of many; None where no auxiliary is best.
        notes: what has to be known before these scores are trusted, in sentences.
    """

    alone: Trial
    oracle: Trial
    subsets: tuple[Trial, ...]
    methods: Mapping[str, MethodResult]
    oracle_interval: Gain | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class MethodMeans:
    """What one method came to, averaged over the primaries.

    Attributes:
        regret: mean; None where one is undefined.
        gain: mean; None where one is undefined.
        worst_gain: the smallest over the primaries; None where one is undefined.
        test_gain: mean; None where a primary was not scored on a test set.
        agreement: mean of the gain agreements where there are any; None where there is none.
        num_steps: mean cost in optimiser steps.
        num_examples: mean cost in instances trained on or probed.
        seconds: mean cost in time.
    """

    regret: Score
    gain: Score
    worst_gain: Score
    test_gain: Score
    agreement: float | None
    num_steps: float
    num_examples: float
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """All primaries.

    Attributes:
        seeds: evaluation seeds.
        primaries: by name, in the order of the settings.
    """

    seeds: int
    primaries: Mapping[str, PrimaryResult]

    derived: ClassVar[tuple[str, ...]] = ("means",)

    @property
    def means(self) -> dict[str, MethodMeans]:
        """Each method's means over the primaries, in the order of the settings."""
        by_method: dict[str, list[MethodResult]] = {}
        for result in self.primaries.values():
            for name, found in result.methods.items():
                by_method.setdefault(name, []).append(found)
        return {name: _means_of(found) for name, found in by_method.items()}

    def tied_with(self, name: str) -> list[str]:
        """The other methods whose scores differ from one's by no more than chance.

        The means over the primaries are compared seed by seed (Student's t, 95 %): the noise is
        that of the difference. With one seed nobody knows, and none is ahead.

        Args:
            name: of the method.
        """
        own = self._scores_by_seed(name)
        return [
            other
            for other in self.means
            if other != name and _is_chance(own, self._scores_by_seed(other))
        ]

    def _scores_by_seed(self, name: str) -> list[Score]:
        """Mean score over the primaries, for each seed."""
        rows = [
            result.methods[name].trial.scores
            for result in self.primaries.values()
            if name in result.methods
        ]
        return [mean_score(column) for column in zip(*rows, strict=False)]

    @property
    def best_method(self) -> str:
        """The method with the least mean regret; of equal ones the one that costs least time."""

        def rank(name: str) -> tuple[float, float]:
            found = means[name]
            return math.inf if found.regret is None else found.regret, found.seconds

        means = self.means
        return min(means, key=rank)


def _is_chance(scores: Sequence[Score], others: Sequence[Score]) -> bool:
    """Whether the mean difference of paired scores has 0 in its 95 % interval."""
    from scipy.stats import t

    differences = score_differences(scores, others)
    defined = [each for each in differences if each is not None]
    if len(defined) < max(2, len(differences)):
        return True
    error = float(np.std(defined, ddof=1)) / math.sqrt(len(defined))
    return abs(float(np.mean(defined))) <= float(t.ppf(0.975, len(defined) - 1)) * error


def method_result(
    selection: Selection,
    ranking: Mapping[str, float] | None,
    trial: Trial,
    cost: Cost,
    *,
    alone: Trial,
    oracle: Trial,
    subsets: tuple[Trial, ...],
) -> MethodResult:
    """A method's result beside the primary alone, the oracle and all trained subsets."""
    same_seeds = len(trial.scores) == len(alone.scores)
    interval, test_interval = dev_and_test_gain(trial, alone, subsets)
    return MethodResult(
        selection=selection,
        ranking=ranking,
        trial=trial,
        cost=cost,
        regret=score_difference(oracle.score, trial.score),
        gain=score_difference(trial.score, alone.score),
        # Both share the seeds' heads and data order, so their differences vary less than each.
        gain_spread=(
            score_spread(score_differences(trial.scores, alone.scores)) if same_seeds else None
        ),
        test_gain=score_difference(mean_score(trial.test_scores), mean_score(alone.test_scores)),
        gain_agreement=None if ranking is None else gain_agreement(subsets, ranking),
        interval=interval,
        test_interval=test_interval,
    )


def gain_agreement(subsets: tuple[Trial, ...], values: Mapping[str, float]) -> float | None:
    """How well a ranking foretells what each candidate alone adds: Kendall's tau-b.

    Args:
        subsets: trained; hold every single candidate.
        values: task -> what it was ranked by.

    Returns:
        In [-1, 1]; None where a side is constant, or a single was not trained or has no score.
    """
    from scipy.stats import kendalltau

    scores = {trial.auxiliary_tasks: trial.score for trial in subsets}
    singles = [score for name in values if (score := scores.get((name,))) is not None]
    if len(values) < 2 or len(singles) < len(values):
        return None
    # Places, not values: forward selection's need not fall. Equal neighbours share a place.
    figures = np.array(list(values.values()))
    places = np.concatenate([[0], np.cumsum(figures[1:] != figures[:-1])])
    tau = kendalltau(-places, singles).statistic
    return None if np.isnan(tau) else float(tau)


def _means_of(found: list[MethodResult]) -> MethodMeans:
    gains = [each.gain for each in found]
    defined = [gain for gain in gains if gain is not None]
    return MethodMeans(
        regret=mean_score([each.regret for each in found]),
        gain=mean_score(gains),
        worst_gain=min(defined) if len(defined) == len(gains) else None,
        test_gain=mean_score([each.test_gain for each in found]),
        agreement=mean_score(
            [each.gain_agreement for each in found if each.gain_agreement is not None]
        ),
        num_steps=float(np.mean([each.cost.num_steps for each in found])),
        num_examples=float(np.mean([each.cost.num_examples for each in found])),
        seconds=float(np.mean([each.cost.seconds for each in found])),
    )
