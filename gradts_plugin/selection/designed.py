"""Designed trials: a few sets, chosen beforehand, tell what each candidate adds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from gradts_plugin.gains.shrinkage import shrunk_mean
from gradts_plugin.offers import Method, SelectionContext, TrialOf
from gradts_plugin.records import IntArray, RankedTask, Selection
from gradts_plugin.scores import Effect
from gradts_plugin.selection.additive import AdditiveModel
from gradts_plugin.selection.designs import design
from gradts_plugin.selection.search import Search, SearchSettings

#: No further round is made once each effect is above or below 0 with this probability.
_SETTLED = 0.95


class DesignedSettings(SearchSettings):
    """How designed trials search.

    Attributes:
        certainty: as of any search; surer than a race has to be, since what no set was trained for
            again rests on the model alone.
        max_candidates: so many of the best-ranked are searched, fewer where the budget is small.
        max_together: of more than six at most so many are trained together, since each gets the
            smaller a part the more there are; None: half of them.
        confirm: the best set and the primary alone are trained with at least so many further seeds
            in the end, and with what is left of the budget.
        donor_prior: effects are expected to be what the candidates gained other primaries in the
            same store, as the ranker `donors` has it, before anything is trained. A run that is
            repeated once the store holds more may then try other sets.
    """

    certainty: Annotated[float, Field(ge=0.5, lt=1)] = 0.9
    max_candidates: Annotated[int, Field(gt=0, le=19)] = 6
    max_together: Annotated[int, Field(ge=2, le=10_000)] | None = 3
    confirm: Annotated[int, Field(gt=0, le=1000)] = 1
    donor_prior: bool = False

    @property
    def standard_error(self) -> float:
        """About that of an effect in the end, in spreads of a score between seeds.

        A candidate is in half of the trainings: sqrt(2 / budget + 2 / budget).
        """
        return 2 / math.sqrt(self.budget)


def select_by_design(context: SelectionContext, settings: DesignedSettings) -> Selection:
    """Selects the set of the best-ranked candidates that is expected to gain most, if it helps.

    The primary is trained alone and with the sets of a design (`designs.design`; Plackett and
    Burman 1946), each with the first training seed. Every training tells of every candidate in it,
    so with 8 of them each effect is known as exactly as with 32 that try one at a time. An additive
    model (`additive.AdditiveModel`), with the ranking and what the candidates gained other
    primaries (`ranking.donors`) as what is believed before, says what each candidate and each set
    adds, and how sure that is.

    While the budget lasts and an effect is in doubt, the same sets are trained with the next seed.
    In the end the set with the largest expected gain, tried or not, is trained beside the primary
    alone with further seeds, and the model has the last word: with less than `certainty` that the
    set helps, nothing is selected.

    Args:
        context: the ranking; `score_all` trains a round.
        settings: the budget, and how sure the answer must be.

    Returns:
        The selection, with every round.
    """
    candidates = context.ranking.candidates[: settings.max_candidates]
    search = Search(context, settings)
    alone = search.cost([TrialOf((), 1)])
    confirm = settings.confirm
    while confirm > 1 and _most_rows(settings.budget, alone, confirm) < 2:
        confirm -= 1
    most_rows = _most_rows(settings.budget, alone, confirm)
    sets = design(len(candidates), most_rows, settings.max_together)
    for_others = context.gains_for_others() if settings.donor_prior else {}
    expected = {name: shrunk_mean(gains) for name, gains in for_others.items()}
    designed = _Designed(search, candidates[: sets.shape[1]], sets, expected)

    num_seeds = 1
    model = designed.round_with(num_seeds)
    while model is not None and not designed.is_settled:
        following = designed.trials(num_seeds + 1)
        if search.cost(following) + _reserve(alone, num_seeds + 1, confirm) > search.num_left:
            break
        num_seeds += 1
        model = designed.round_with(num_seeds)
    if model is not None:
        designed.confirm(model.best(designed.largest), num_seeds + confirm)
    return search.selection("designed")


def _reserve(alone: int, num_seeds: int, confirm: int) -> int:
    """What a confirmation costs where the best set was not tried with any of its seeds."""
    return num_seeds + confirm + confirm * alone


def _most_rows(budget: int, alone: int, confirm: int) -> int:
    """How many sets a budget has room for, the primary alone among them."""
    return 1 + budget - alone - _reserve(alone, 1, confirm)


@dataclass(frozen=True)
class _Designed:
    """A search among candidates, by sets of shape (m, k); `expected` are effects beforehand."""

    search: Search
    candidates: tuple[RankedTask, ...]
    sets: IntArray
    expected: Mapping[str, float]

    @property
    def largest(self) -> int:
        """Candidates in the largest set."""
        return int(self.sets.sum(axis=1).max())

    @property
    def is_settled(self) -> bool:
        """True where every effect's sign is known."""
        known = [effect.gain.p_helps for effect in self.search.rounds[-1].effects]
        return all(p is not None and not 1 - _SETTLED < p < _SETTLED for p in known)

    def trials(self, num_seeds: int) -> list[TrialOf]:
        """The sets with so many seeds."""
        return [TrialOf(self.named(row), num_seeds) for row in self.sets]

    def named(self, row: IntArray) -> tuple[str, ...]:
        """The tasks of a set of shape (k,)."""
        pairs = zip(self.candidates, row, strict=True)
        return tuple(candidate.task_name for candidate, is_on in pairs if is_on)

    def round_with(self, num_seeds: int) -> AdditiveModel | None:
        """Makes a round of trials; None where too many scores are undefined."""
        self.search.make(self.trials(num_seeds))
        return self._end_round()

    def confirm(self, best: IntArray, num_seeds: int) -> None:
        """Trains the best set and the primary alone with what is left of the budget.

        Args:
            best: the set, shape (k,).
            num_seeds: how many seeds at least; where all is settled, no more.
        """

        def trials(number: int) -> list[TrialOf]:
            return [TrialOf((), number), TrialOf(self.named(best), number)]

        number = num_seeds
        while not self.is_settled and self.search.cost(trials(number + 1)) <= self.search.num_left:
            number += 1
        if self.search.cost(trials(number)) <= self.search.num_left:
            self.search.make(trials(number))
            self._end_round()

    def _end_round(self) -> AdditiveModel | None:
        """Notes what the scores so far say."""
        names = [candidate.task_name for candidate in self.candidates]
        scored = [
            ([name in trial.auxiliary_tasks for name in names], seed, score)
            for trial in self.search.trials.values()
            for seed, score in enumerate(trial.scores)
            if score is not None
        ]
        rows = np.array([row for row, _, _ in scored], dtype=np.int64).reshape(-1, len(names))
        if len(np.unique(rows, axis=0)) < 2:
            self.search.end_round([], None)
            return None
        _, seeds, scores = zip(*scored, strict=True)
        values = [candidate.tau for candidate in self.candidates]
        offsets = [self.expected.get(name, 0.0) for name in names]
        model = AdditiveModel(rows, seeds, scores, values, offsets=offsets)
        singles = np.eye(len(names), dtype=np.int64)
        self.search.end_round(
            [self._effect(model, row) for row in singles],
            self._effect(model, model.best(self.largest)),
            model.fit,
        )
        return model

    def _effect(self, model: AdditiveModel, row: IntArray) -> Effect:
        return Effect(self.named(row), model.gain(row))


METHOD = Method(
    name="designed",
    select=select_by_design,
    title="Designed trials",
    summary="The set that is expected to gain most, from a few designed sets and an additive model "
    "(Plackett and Burman 1946).",
    settings=DesignedSettings,
)
