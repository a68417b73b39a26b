"""What methods that search with a budget have in common: accounts, rounds, the last word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Annotated

from pydantic import Field

from gradts_plugin.offers import SelectionContext, TrialOf
from gradts_plugin.records import Selection, Trial
from gradts_plugin.scores import Effect, Gain, Round
from gradts_plugin.settings.parsing import Settings

#: Standard deviations in half a 95 % interval.
_HALF_INTERVAL = NormalDist().inv_cdf(0.975)

#: More trainings than this are no plan.
_MANY = 100


class SearchSettings(Settings):
    """What a search may cost, and how sure its answer must be.

    Attributes:
        budget: trainings, those found stored counted like others.
        minutes: no round begins that would end later, by what the trainings before it took; the
            first one always does. None: no limit.
        certainty: auxiliaries are selected that help with at least this probability; else none.
    """

    budget: Annotated[int, Field(ge=8, le=10_000)] = 12
    minutes: Annotated[float, Field(gt=0)] | None = None
    certainty: Annotated[float, Field(ge=0.5, lt=1)] = 0.7

    @property
    def standard_error(self) -> float:
        """About that of a gain in the end, in spreads of a score between seeds.

        A set and the primary alone with two seeds each: sqrt(1 / 2 + 1 / 2).
        """
        return 1.0


class Search:
    """A search with a budget.

    Attributes:
        trials: the last trial of each set, with all its seeds; in the order of the first ones.
        rounds: what was known after each round.
    """

    def __init__(self, context: SelectionContext, settings: SearchSettings) -> None:
        """Has tried nothing yet."""
        self.trials: dict[tuple[str, ...], Trial] = {}
        self.rounds: list[Round] = []
        self._context = context
        self._settings = settings

    @property
    def num_trainings(self) -> int:
        """Trainings so far, stored ones counted like others."""
        return sum(self._cost_of(names, len(trial.scores)) for names, trial in self.trials.items())

    @property
    def num_left(self) -> int:
        """Trainings that the budget still has, and the minutes where they are limited."""
        used = self.num_trainings
        left = self._settings.budget - used
        seconds = sum(trial.seconds for trial in self.trials.values())
        if self._settings.minutes is None or not seconds:
            return left
        return min(left, math.floor((60 * self._settings.minutes - seconds) * used / seconds))

    def cost(self, trials: Sequence[TrialOf]) -> int:
        """How many trainings trials would add; each has a number of seeds."""
        return sum(
            self._cost_of(trial.auxiliary_tasks, trial.num_seeds or 0)
            - self._cost_of(trial.auxiliary_tasks, self.num_seeds(trial.auxiliary_tasks))
            for trial in trials
        )

    def num_seeds(self, auxiliary_tasks: tuple[str, ...]) -> int:
        """With how many seeds a set was tried; 0: not at all."""
        found = self.trials.get(auxiliary_tasks)
        return len(found.scores) if found else 0

    def _cost_of(self, auxiliary_tasks: tuple[str, ...], num_seeds: int) -> int:
        if not num_seeds:  # which a context would take for the settings' number
            return 0
        return self._context.num_trainings(TrialOf(auxiliary_tasks, num_seeds))

    def make(self, trials: Sequence[TrialOf]) -> None:
        """Makes the trials of a round; which they are may depend on the scores of earlier ones."""
        at_most = self._settings.budget - self.num_trainings if self.trials else None
        for trial in self._context.score_all(trials, at_most=at_most):
            self.trials[trial.auxiliary_tasks] = trial

    def end_round(
        self, effects: Sequence[Effect], best: Effect | None, fit: float | None = None
    ) -> None:
        """Notes what is known after a round, and tells of it."""
        ended = Round(
            number=len(self.rounds) + 1,
            effects=tuple(sorted(effects, key=lambda effect: -(effect.gain.gain or 0.0))),
            best=best,
            fit=fit,
            num_trainings=self.num_trainings,
            budget=self._settings.budget,
        )
        self.rounds.append(ended)
        self._context.tell(ended)

    def selection(self, method: str) -> Selection:
        """The best set of the last round where it is likely enough to help, else none."""
        best = self.rounds[-1].best
        primary, certainty = self._context.primary_task, self._settings.certainty
        chosen: tuple[str, ...] = ()
        if best is None or self._is_undefined(best):
            reason = f"the scores of {primary} are undefined, so none can be told to help"
        else:
            told = f"{', '.join(best.auxiliary_tasks)}, {best.gain.shown}"
            spent = f"after {self.num_trainings} of {self._settings.budget} trainings"
            if best.gain.p_helps is not None and best.gain.p_helps >= certainty:
                chosen, reason = best.auxiliary_tasks, f"{primary} with {told}, {spent}"
            else:
                reason = (
                    f"none of these is likely to help {primary}: the best guess is {told} "
                    f"(asked for: {certainty:g}), {spent}"
                    f"{_describe_more(num_more(best.gain, certainty, self.num_trainings))}"
                )
        return Selection(
            method=method,
            primary_task=primary,
            auxiliary_tasks=chosen,
            reason=reason,
            trials=tuple(self.trials.values()),
            rounds=tuple(self.rounds),
        )

    def _is_undefined(self, best: Effect) -> bool:
        found = self.trials.get(best.auxiliary_tasks)
        return found is not None and found.score is None


def num_more(gain: Gain, certainty: float, num_trainings: int) -> int | None:
    """About how many more trainings would settle whether a set helps.

    As if its gain stayed, and its standard error fell with the root of the number of trainings.

    Args:
        gain: what is known of the set.
        certainty: the probability with which it should help, or not help.
        num_trainings: on which that rests.

    Returns:
        0 where it is settled; None where it cannot be told.
    """
    if gain.low is None or gain.high is None or not gain.gain:
        return None
    standard_error = (gain.high - gain.low) / (2 * _HALF_INTERVAL)
    needed = (NormalDist().inv_cdf(certainty) * standard_error / gain.gain) ** 2
    return max(0, math.ceil(num_trainings * (needed - 1)))


def _describe_more(more: int | None) -> str:
    if more is None or more == 0:
        return ""
    number = f"more than {_MANY}" if more > _MANY else f"about {more}"
    return f"; {number} more trainings would settle it"
