"""What a comparison will do, before it does it: every method, every scoring, the oracle."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from gradts_plugin.comparison.compare import evaluate_subset
from gradts_plugin.comparison.methods import MethodSettings, settings_of
from gradts_plugin.comparison.oracle import oracle_subsets
from gradts_plugin.comparison.trainings_left import shared_candidates
from gradts_plugin.engine.accounts import Accounts
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.engine.session import Session
from gradts_plugin.planning.booking import BookingEngine
from gradts_plugin.planning.books import Books, Piece, Training
from gradts_plugin.planning.plan import Plan, make_plan
from gradts_plugin.planning.pricing import Pricing
from gradts_plugin.planning.rates import Rates
from gradts_plugin.plugins import make_silent_manager
from gradts_plugin.settings.compare_file import CompareFile

#: The row of what is scored whatever any method selects.
ORACLE = "oracle, alone"


@dataclass(frozen=True)
class ComparedPart:
    """A method for a primary, or the oracle.

    Attributes:
        primary_task: the task to help.
        part: the method's name, or `ORACLE`.
        num_trainings: that select, and then score what was selected; at most, since methods that
            share trainings find them stored. None where that is not known beforehand.
        num_probes: at most, in the same way.
        num_steps: optimiser steps of both.
        seconds: estimated time; None where nothing was measured.
    """

    primary_task: str
    part: str
    num_trainings: int | None
    num_probes: int
    num_steps: int
    seconds: float | None


@dataclass(frozen=True)
class ComparisonPlan:
    """What a comparison will do at most.

    Attributes:
        parts: in the order in which they are done.
        measured: what the times rest on; empty where nothing was measured.
    """

    parts: tuple[ComparedPart, ...]
    measured: str

    @property
    def seconds(self) -> float | None:
        """All of it; None where nothing was measured."""
        found = [part.seconds for part in self.parts if part.seconds is not None]
        return sum(found) if len(found) == len(self.parts) else None


def plan_comparison(
    compare_file: CompareFile,
    first: Session,
    settings: MethodSettings,
    rates: Rates | None = None,
) -> ComparisonPlan:
    """Counts what a comparison will do; trains nothing and writes nothing.

    Args:
        compare_file: the comparison.
        first: the session on all tasks.
        settings: of every method for every primary.
        rates: measured times; None: no times.
    """
    measured = rates if rates is not None and rates.description else None
    dry = dataclasses.replace(first, manager=make_silent_manager(), accounts=Accounts())
    parts: list[ComparedPart] = []
    for primary in compare_file.primaries:
        scoring = _Scoring(compare_file, primary, dry, measured)
        for name in compare_file.methods:
            engine = Engine.of(dry.with_settings(settings[primary, name]))
            plan = make_plan(engine, final_training=False, rates=rates)
            parts.append(_part(primary, name, plan, scoring.of_selection(plan), scoring.pricing))
        pieces = scoring.of_oracle()
        parts.append(
            ComparedPart(
                primary,
                ORACLE,
                len(pieces),
                0,
                scoring.pricing.steps(pieces),
                scoring.pricing.seconds(pieces) if measured else None,
            )
        )
    return ComparisonPlan(tuple(parts), measured.description if measured else "")


class _Scoring:
    """What is trained with the seeds that score, for one primary."""

    def __init__(
        self, compare_file: CompareFile, primary: str, dry: Session, rates: Rates | None
    ) -> None:
        self._file = compare_file
        self._session = dry.with_settings(settings_of(compare_file, primary, None))
        self._books = Books()
        self._books.phase = "select"
        self._engine = BookingEngine.on(self._session, self._books, lambda high, _low: high)
        self.pricing = Pricing(dry.tasks, rates)

    def of_selection(self, plan: Plan) -> list[Piece]:
        """The selection's trainings, or the dearest that they may be."""
        if plan.auxiliary_tasks is not None:
            return self._new(plan.auxiliary_tasks)
        trainings = self._engine.trainings
        candidates = tuple(self._session.tasks)[1:]
        request = TrialRequest(candidates, trainings.trial_seeds())
        found = [trainings.trial_plan(request, seed, "trial") for seed in request.seeds]
        return [Training(each.train_tasks, each.recipe) for each in found]

    def of_oracle(self) -> list[Piece]:
        """The primary alone, and the oracle's subsets."""
        candidates = shared_candidates(self._session, self._session.settings)
        subsets = oracle_subsets(candidates, candidates) if self._file.oracle else []
        return [piece for subset in ((), *subsets) for piece in self._new(subset)]

    def _new(self, auxiliary_tasks: tuple[str, ...]) -> list[Piece]:
        """Trainings that are neither stored nor booked already."""
        page = self._books.at("select", "trials").to_do
        before = len(page)
        evaluate_subset(self._engine, auxiliary_tasks)
        return self._books.at("select", "trials").to_do[before:]


def _part(
    primary: str, name: str, plan: Plan, scored: list[Piece], pricing: Pricing
) -> ComparedPart:
    trainings = [part for part in plan.parts if "probes" not in part.what]
    probes = [part for part in plan.parts if "probes" in part.what]
    counts = [part.num_to_do for part in trainings]
    known = [count for count in counts if count is not None]
    seconds = [part.seconds for part in plan.parts] + [pricing.seconds(scored)]
    timed = [each for each in seconds if each is not None]
    return ComparedPart(
        primary_task=primary,
        part=name,
        num_trainings=sum(known) + len(scored) if len(known) == len(counts) else None,
        num_probes=sum(part.num_to_do or 0 for part in probes),
        num_steps=sum(part.num_steps for part in plan.parts) + pricing.steps(scored),
        seconds=sum(timed) if plan.measured and len(timed) == len(seconds) else None,
    )
