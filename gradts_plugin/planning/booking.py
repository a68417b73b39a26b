"""An engine that computes nothing: what is stored is found, and what is not is booked."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import ProbeRequest, TrialRequest
from gradts_plugin.engine.probes import Probes
from gradts_plugin.engine.session import Session
from gradts_plugin.engine.trainings import Trainings
from gradts_plugin.engine.trials import trial_of
from gradts_plugin.engine.values import Values
from gradts_plugin.engine.weights import Weights
from gradts_plugin.offers import Computation, NamedValues
from gradts_plugin.planning.books import Books, Probing, Training
from gradts_plugin.protocols import Host, Looks, ProbeTarget, Schedule
from gradts_plugin.records import FloatArray, IntArray, TrainingPlan, TrainingResult, Trial
from gradts_plugin.scores import mean_score
from gradts_plugin.stores.importances import StoredImportance

FINAL_TRAININGS = "final trainings"

#: (the highest score so far, the lowest so far) -> a score that is made up.
Answer = Callable[[float, float], float]


class NotStoredError(Exception):
    """Something would have to be computed that cannot be made up.

    Attributes:
        all_is_booked: False where more may follow than was booked.
    """

    def __init__(self, *, all_is_booked: bool) -> None:
        super().__init__()
        self.all_is_booked = all_is_booked


class _DryHost:
    """A host without everything that computes or writes."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def __getattr__(self, name: str) -> Any:
        if name in ("fine_tuned", "untrained", "train", "rewrite"):
            return self._refuse
        return getattr(self._host, name)

    def _refuse(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        raise NotStoredError(all_is_booked=False)


class _KeptWeights(Weights):
    """Removes nothing."""

    def remove(self, folder: Path | None) -> None:
        """Leaves the folder as it is."""


class BookingTrainings(Trainings):
    """Finds trainings, or books them and makes their scores up.

    Attributes:
        order_is_known: False where the candidates' order is made up: then only the primary's own
            training can be looked up.
    """

    def __init__(self, session: Session, weights: Weights, books: Books, answer: Answer) -> None:
        super().__init__(session, weights)
        self.order_is_known = True
        self._books = books
        self._answer = answer
        self._seen = [0.0]  # scores, by mean
        self._num_lent = 0  # models that rankers were lent
        self._made_up: dict[str, float] = {}  # digest of a subset's first training -> score
        self._is_booked = False  # what is asked for was booked as what it may be

    def score_all(
        self, requests: Sequence[TrialRequest], *, at_most: int | None = None
    ) -> list[Trial]:
        """Looks trials up; where scores that are made up chose them, books the dearest instead."""
        if at_most is None or not self._books.made_up:
            return super().score_all(requests)
        if not self._books.guessed:
            self._books.may_make("trials", [self._dearest_of_all()] * at_most)
        self._is_booked = True
        try:
            return super().score_all(requests)
        finally:
            self._is_booked = False

    def make_ahead(
        self, requests: Sequence[TrialRequest], likely_next: Sequence[TrialRequest] = ()
    ) -> None:
        """Makes nothing."""

    def _score(self, request: TrialRequest) -> Trial:
        """Looks the trainings of a trial up; a subset keeps the score that was made up for it."""
        digests, found = zip(
            *(
                self._look_up(request, seed, is_kept=number < self._session.settings.training_seeds)
                for number, seed in enumerate(request.seeds)
            ),
            strict=True,
        )
        if None in found:
            self._books.made_up = True
        results = [result or self._made_up_result(digests[0], found) for result in found]
        trial = trial_of(request, results, self._session.settings.training_seeds, trained=0)
        self.trials.append(trial)
        if trial.score is not None:
            self._seen.append(trial.score)
        return trial

    def _made_up_result(self, first: str, found: Sequence[TrainingResult | None]) -> TrainingResult:
        """The subset's own score where one seed is known; else one by the way that is gone."""
        known = mean_score([result.score for result in found if result is not None])
        if first not in self._made_up:
            answer = self._answer(max(self._seen), min(self._seen))
            self._made_up[first] = answer if known is None else known
        return TrainingResult(self._made_up[first], {}, (), 0, 0, 0.0, None)

    def _look_up(
        self, request: TrialRequest, seed: int, *, is_kept: bool
    ) -> tuple[str, TrainingResult | None]:
        """A digest and the stored training; booked is also one whose weights were not kept."""
        what = FINAL_TRAININGS if self._books.phase == "train" else "trials"
        plan = self.trial_plan(request, seed, "trial")
        training = self._training(plan)
        found = None
        if self.order_is_known or not request.auxiliary_tasks:
            found = self._session.stores.trainings.find(training.key_with_test)
        needs_weights = request.weights_needed and is_kept
        if self._is_booked:
            self._books.take_as_known(training.digest)
        elif needs_weights and self._books.guessed:
            # Scores may choose another set, and only the best scores' weights are kept.
            self._books.may_make(what, [self._dearest_of_all()])
        elif found is not None and (not needs_weights or self.weights.has(found)):
            self._books.found(what, training.digest)
        else:
            self._books.to_make(what, training.digest, self._dearest(plan, request))
        return training.digest, found

    def _dearest_of_all(self) -> Training:
        """The training of all candidates."""
        candidates, seeds = tuple(self._session.tasks)[1:], self.trial_seeds()
        plan = self.trial_plan(TrialRequest(candidates, seeds), seeds[0], "trial")
        return Training(plan.train_tasks, plan.recipe)

    def _dearest(self, plan: TrainingPlan, request: TrialRequest) -> Training:
        """The training, or where its tasks or instances may be others the dearest such."""
        tasks = plan.train_tasks
        if request.mixing_ratios:  # chosen by scores that are not known
            tasks = tuple(self._session.tasks)
        elif not request.kept_instances:
            return Training(tasks, plan.recipe)
        return Training(tasks, self.trial_recipe(TrialRequest(tasks[1:], request.seeds), tasks))

    def scheduled(self, schedule: Schedule, *, num_rounds: int, seed: int) -> TrainingResult:
        """Looks a scheduled training up, or goes through its rounds with scores made up."""
        plan = self.scheduled_plan(schedule, num_rounds, seed)
        training = self._training(plan)
        found = self._session.stores.trainings.find(training.key)
        if found is not None:
            self._books.found("trials", training.digest)
            schedule.scheduler.restore(found.scheduler_state or {})
            return found
        self._books.to_make("trials", training.digest, Training(plan.train_tasks, plan.recipe))
        self._books.made_up = True
        history: list[float] = []
        for _ in range(num_rounds):
            schedule.scheduler.next_task()
            history.append(self._answer(max([0.0, *history]), min([0.0, *history])))
            schedule.scheduler.observe(history[-1])
        return TrainingResult(history[-1], {}, tuple(history), 0, 0, 0.0, None)

    @contextlib.contextmanager
    def fine_tuned(
        self, task_names: Sequence[str], seed: int, looks: Looks | None = None
    ) -> Iterator[ProbeTarget]:
        """Books a fine-tuning; a model cannot be made up."""
        del looks
        what = f"fine-tunings for {self._session.ranker[0].name}"
        self._num_lent += 1  # nothing of it is stored: each one is trained
        self.book_fine_tuning(task_names, seed, what, f"{what} {self._num_lent}")
        raise NotStoredError(all_is_booked=False)
        yield  # pragma: no cover  # makes this a generator

    def book_fine_tuning(
        self, task_names: Sequence[str], seed: int, what: str, digest: str
    ) -> None:
        """Books a fine-tuning, once for a digest of what it is for."""
        plan = self.fine_tuning_plan(task_names, seed)
        self._books.to_make(what, digest, Training(plan.train_tasks, plan.recipe, quick_dev=True))


class BookingProbes(Probes):
    """Finds probes, or books them."""

    def __init__(self, session: Session, trainings: BookingTrainings, books: Books) -> None:
        super().__init__(session, trainings)
        self._booking = trainings
        self._books = books

    def of_tasks(self) -> dict[str, list[StoredImportance]]:
        """Finds all, controls included, or books those that are missing."""
        if not self._books.num_heads_total or self._of_tasks is None:
            self._find_or_book([*self.needed(), *self.needed_controls()], "probes")
        return super().of_tasks()

    def whole(self, task_name: str) -> list[StoredImportance]:
        """Finds the probes of all instances of a task, or books them."""
        self._find_or_book(self.needed_whole(task_name), "probes of whole auxiliaries")
        return super().whole(task_name)

    def _find_or_book(self, requests: Sequence[ProbeRequest], what: str) -> None:
        is_missing = False
        for request in requests:
            digest = self._key(request).digest
            found = self.find(request)
            fits_head = request.probing.model == "frozen"
            fine_tuning = f"fine-tuning of {digest}"
            if found is not None:
                self._books.found(what, digest)
                if not fits_head:
                    self._books.found("fine-tunings", fine_tuning)
                self._books.num_heads_total = found.shape[1] * found.shape[2]
                continue
            is_missing = True
            if not fits_head:
                names = (request.info.name,)
                self._booking.book_fine_tuning(names, request.seed, "fine-tunings", fine_tuning)
            probing = Probing(request.info.name, request.num_instances, fits_head)
            self._books.to_make(what, digest, probing)
        if is_missing:
            raise NotStoredError(all_is_booked=True)


class BookingValues(Values):
    """Finds computed values, or books what computing them would train."""

    def __init__(self, session: Session, books: Books) -> None:
        super().__init__(session)
        self._books = books

    def all_of(self, computations: Sequence[Computation]) -> list[NamedValues]:
        """Finds all, or books those that are missing and takes what may be made up for them."""
        store, values = self._session.stores.computed, []
        for computation in computations:
            key = self.key(computation)
            found = store.find(key)
            if found is not None:
                values.append(found.values)
                if found.cost.num_steps:
                    ranker, _ = self._session.ranker
                    self._books.found(f"fine-tunings for {ranker.name}", store.digest(key))
                continue
            with contextlib.suppress(NotStoredError):
                computation.compute()
            if computation.made_up is not None:
                values.append(computation.made_up)
        if len(values) < len(computations):
            raise NotStoredError(all_is_booked=True)
        return values


@dataclasses.dataclass(frozen=True)
class BookingEngine(Engine):
    """An engine whose parts book."""

    trainings: BookingTrainings

    @classmethod
    def on(cls, session: Session, books: Books, answer: Answer) -> BookingEngine:
        """The engine of a session, whose host and hooks are left alone.

        Args:
            session: without listeners.
            books: where everything is booked.
            answer: makes scores up.
        """
        host: Any = _DryHost(session.host)
        dry = dataclasses.replace(session, host=host, executor=None)
        trainings = BookingTrainings(dry, _KeptWeights(host, dry.output_dir), books, answer)
        probes = BookingProbes(dry, trainings, books)
        return cls(dry, probes, trainings, BookingValues(dry, books))

    def instance_taus(
        self, task_name: str, *, complete: bool = False
    ) -> tuple[IntArray, FloatArray]:
        """Taus where all is stored; else so many that some are kept and some are not."""
        try:
            if complete:
                self.probes.whole(task_name)
            return super().instance_taus(task_name, complete=complete)
        except NotStoredError:
            num_train = self.session.tasks[task_name].num_train
            return np.arange(num_train), np.linspace(-1.0, 1.0, num_train)
