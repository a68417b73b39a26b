"""Trainings: found stored by what they depend on, or made by the host."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradts_plugin.engine.exposure import (
    PrimaryExposure,
    equal_exposure,
    num_auxiliary_steps,
    size_weights,
)
from gradts_plugin.engine.jobs import (
    MOST_TIMES,
    Executor,
    Job,
    ScheduledRequest,
    TrialRequest,
    not_seen,
)
from gradts_plugin.engine.session import Session
from gradts_plugin.engine.trials import trial_of
from gradts_plugin.engine.weights import Weights
from gradts_plugin.gains.gain import gain_among
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.protocols import Looks, ProbeTarget, Schedule
from gradts_plugin.records import (
    Cost,
    Purpose,
    Recipe,
    TrainingPlan,
    TrainingResult,
    Trial,
)
from gradts_plugin.scores import Gain, Score
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.stores.keys import training_identity, training_key, with_test_set


@dataclass(frozen=True)
class _Training:
    """One training of the host: what is trained, and what it is stored under."""

    plan: TrainingPlan
    key: JsonObject
    key_with_test: JsonObject
    digest: str


class Trainings:
    """Finds or makes the trainings that a run needs.

    Attributes:
        weights: those that are kept.
        trials: all that were scored so far, in their order.
    """

    def __init__(self, session: Session, weights: Weights) -> None:
        self._session = session
        self.weights = weights
        self.trials: list[Trial] = []
        self._made_now: dict[str, TrainingResult] = {}  # by digest, until a trial counts them

    # --- what is needed --------------------------------------------------------------------------

    def trial_seeds(self, num_seeds: int | None = None) -> range:
        """Training seeds, from the first one on; None: as many as the settings say."""
        settings = self._session.settings
        return range(settings.seed, settings.seed + (num_seeds or settings.training_seeds))

    def trial_plan(self, request: TrialRequest, seed: int, purpose: Purpose) -> TrainingPlan:
        """The training of a trial with one seed."""
        settings = self._session.settings
        # The same tasks are the same training, in whatever order a ranking has them.
        chosen = [
            info.name for info in self._session.host.tasks() if info.name in request.auxiliary_tasks
        ]
        tasks = (settings.primary_task, *chosen)
        return TrainingPlan(
            purpose=purpose,
            train_tasks=tasks,
            primary_task=tasks[0],
            seed=seed,
            recipe=self.trial_recipe(request, tasks),
            kept_instances=request.kept_instances,
        )

    def trial_recipe(self, request: TrialRequest, train_tasks: tuple[str, ...]) -> Recipe:
        """How a trial's tasks are trained, the primary first.

        With equal exposure the primary has as many steps as alone, and auxiliaries have theirs on
        top; without, the settings' length is that of all tasks together.
        """
        settings, host = self._session.settings.training, self._session.host
        task_steps: dict[str, int] = {}
        if settings.exposure == "equal":
            alone = host.recipe(settings, train_tasks[:1], {})
            num_steps = alone.max_steps
            if len(train_tasks) > 1:
                task_steps = self._task_steps(request, train_tasks, num_steps)
                num_steps = sum(task_steps.values())
            elif request.longer:
                num_steps += num_auxiliary_steps(num_steps, settings.auxiliary_ratio)
            else:
                return alone
            length = {"max_steps": num_steps, "epochs": None, "evaluations": alone.evaluations}
            settings = settings.model_copy(update=length)
        block_steps = request.block_steps if request.mixing_ratios else None
        in_sequence = task_steps and settings.order == "sequential" and block_steps is None
        return dataclasses.replace(
            host.recipe(settings, train_tasks, request.kept_instances),
            mixing_ratios=dict(request.mixing_ratios),
            task_steps=task_steps,
            last_task=train_tasks[0] if in_sequence else "",
            block_steps=block_steps,
        )

    def _task_steps(
        self, request: TrialRequest, train_tasks: tuple[str, ...], num_primary_steps: int
    ) -> dict[str, int]:
        """The steps of each task with equal exposure: auxiliaries share theirs by ratio or size."""
        settings = self._session.settings.training
        primary, *auxiliaries = train_tasks
        sizes = {info.name: info.num_train for info in self._session.host.tasks()}
        sizes |= {name: len(ids) for name, ids in request.kept_instances.items()}
        shares = request.mixing_ratios or size_weights(sizes, settings.temperature)
        return equal_exposure(
            primary,
            num_primary_steps,
            num_auxiliary_steps(num_primary_steps, settings.auxiliary_ratio),
            {name: shares[name] for name in auxiliaries},
        )

    def primary_exposure(self, request: TrialRequest) -> PrimaryExposure | None:
        """What the primary gets of a trial; None where its sampler decides while it runs."""
        session = self._session
        primary, settings = session.settings.primary_task, session.settings.training
        recipe = self.trial_plan(request, session.settings.seed, "trial").recipe
        shares: Mapping[str, float | None] = recipe.task_steps or recipe.mixing_ratios
        if not shares and settings.sampler == "epoch":
            shares = {info.name: info.num_train for info in session.host.tasks()}
            shares |= {name: len(ids) for name, ids in request.kept_instances.items()}
        elif not shares:
            found = session.host.task_shares(None, request.kept_instances)
            shares = {} if found is None else found.shares
        trained = [shares.get(name) for name in (primary, *request.auxiliary_tasks)]
        known = [share for share in trained if share is not None]
        if len(known) < len(trained) or not sum(known):
            return None
        alone = session.host.recipe(settings, (primary,), {}).max_steps
        return PrimaryExposure(recipe.max_steps * known[0] / sum(known), alone)

    def fine_tuning_plan(self, task_names: Sequence[str], seed: int) -> TrainingPlan:
        """The fine-tuning of the encoder on tasks; scored once, to say whether it learned."""
        return self._plan(
            tuple(task_names),
            purpose="fine-tuning",
            seed=seed,
            settings=self._session.settings.fine_tuning.model_copy(update={"evaluations": 1}),
        )

    def scheduled_plan(self, schedule: Schedule, num_rounds: int, seed: int) -> TrainingPlan:
        """The training of the primary and all candidates under a scheduler."""
        settings = self._session.settings.training
        steps = num_rounds * schedule.steps_per_round
        plan = self._plan(
            tuple(self._session.tasks),
            purpose="trial",
            seed=seed,
            settings=settings.model_copy(update={"max_steps": steps, "epochs": None}),
        )
        identity = {**schedule.identity, "steps_per_round": schedule.steps_per_round}
        recipe = dataclasses.replace(plan.recipe, evaluations=num_rounds, schedule=identity)
        return dataclasses.replace(plan, recipe=recipe)

    def fine_tuning_identity(self, task_names: Sequence[str]) -> JsonObject:
        """What decides a fine-tuning beside encoder, data and seed."""
        settings = self._session.settings
        return training_identity(settings, self.fine_tuning_plan(task_names, settings.seed).recipe)

    def _plan(
        self,
        train_tasks: tuple[str, ...],
        *,
        purpose: Purpose,
        seed: int,
        settings: TrainingSettings,
    ) -> TrainingPlan:
        return TrainingPlan(
            purpose=purpose,
            train_tasks=train_tasks,
            primary_task=train_tasks[0],
            seed=seed,
            recipe=self._session.host.recipe(settings, train_tasks, {}),
        )

    # --- found or made ---------------------------------------------------------------------------

    def score(self, request: TrialRequest, likely_next: Sequence[TrialRequest] = ()) -> Trial:
        """Trains the primary with some auxiliaries over some seeds, or finds those runs stored.

        With equal exposure the primary alone is trained for as long as with auxiliaries, too, so
        that no gain is that of a longer training; of both lengths the better one counts.

        Args:
            request: the trial.
            likely_next: what may be asked for next (see `make_ahead`).
        """
        self.make_ahead([request], likely_next)
        if not self.tries_both_lengths(request):
            return self._score(request)
        short, longer = (
            self._score(dataclasses.replace(request, longer=value)) for value in (False, True)
        )
        return longer if longer.beats(short) else short

    def tries_both_lengths(self, request: TrialRequest) -> bool:
        """True for the primary alone with equal exposure, whose better length counts."""
        is_open = not request.auxiliary_tasks and request.longer is None
        return is_open and self._session.settings.training.exposure == "equal"

    def _score(self, request: TrialRequest) -> Trial:
        session = self._session
        primary, auxiliaries = session.settings.primary_task, request.auxiliary_tasks
        session.hook.before_trial(primary_task=primary, auxiliary_tasks=auxiliaries)
        results = []
        trained = 0
        for number, seed in enumerate(request.seeds):
            keeps_weights = number < session.settings.training_seeds
            training = self._training(self.trial_plan(request, seed, "trial"))
            needs_weights = request.weights_needed and keeps_weights
            found = self._find(training, needs_weights)
            is_new = self._made_now.pop(training.digest, None) is not None
            if found is None:
                found, is_new = self._once(training, needs_weights)
            if is_new:
                trained += 1
                session.accounts.training_made(training.digest, found.cost)
                if not keeps_weights:
                    self.weights.remove(found.output_dir)
            else:
                session.accounts.training_found(training.digest, found.cost)
            results.append(found)
        trial = trial_of(request, results, session.settings.training_seeds, trained=trained)
        self.trials.append(trial)
        if trained and not request.weights_needed:
            self.weights.keep_best(trial)
        session.hook.after_trial(primary_task=primary, trial=trial)
        return trial

    def gain(self, trial: Trial, baseline: Trial) -> Gain:
        """What a trial gains, judged with all trials so far."""
        return gain_among(trial, baseline, self.trials)

    def score_all(
        self, requests: Sequence[TrialRequest], *, at_most: int | None = None
    ) -> list[Trial]:
        """Scores trials of which none depends on another one, in order.

        Args:
            requests: the trials.
            at_most: how many trainings may be made from here on; only a plan looks at it.
        """
        del at_most
        self.make_ahead(requests)
        return [self.score(request) for request in requests]

    def make(self, request: TrialRequest) -> None:
        """Makes those of a trial's trainings that are missing and that no other process makes.

        It is no trial of this run.
        """
        for seed in request.seeds:
            training = self._training(self.trial_plan(request, seed, "trial"))
            if self._find(training, request.weights_needed) is None:
                self._attempt(request, training, watch=True)

    def make_ahead(
        self, requests: Sequence[TrialRequest], likely_next: Sequence[TrialRequest] = ()
    ) -> None:
        """Has missing trainings made by workers; without, makes those first that nobody else makes.

        They are counted as made here, and their costs where they are asked for.

        Args:
            requests: trials that are needed now.
            likely_next: trials that may be asked for next; workers that have nothing else to do
                make of them what is missing.
        """
        session, executor = self._session, self._session.executor
        made: dict[str, TrainingResult] = {}
        given: Counter[str] = Counter()

        def look() -> dict[str, tuple[TrialRequest, _Training]]:
            return {digest: it for digest, it in self._missing(requests) if digest not in made}

        while free := session.to_make_ahead(look):
            if executor is None:
                results = [self._attempt(*it) for it in free.values()]
            else:
                if likely_next:
                    likely = dict(self._missing(likely_next))
                    new = (each for each in likely.items() if each[0] not in free)
                    free |= dict(itertools.islice(new, -len(free) % executor.num_workers))
                    likely_next = ()
                given.update(free.keys())
                is_last = given.most_common(1)[0][1] == MOST_TIMES
                works = list(free.values())
                results = list(self._make_elsewhere(executor, works, is_last=is_last))
            found = zip(free, results, strict=True)
            made |= {digest: result for digest, result in found if result is not None}
        self._made_now |= made

    def _make_elsewhere(
        self,
        executor: Executor,
        works: Sequence[tuple[TrialRequest | ScheduledRequest, _Training]],
        *,
        is_last: bool = True,
    ) -> Iterator[TrainingResult | None]:
        """Has workers make trainings; yields what they made, None where another run did."""
        session = self._session
        jobs = [Job(session.settings, session.output_dir, work) for work, _ in works]
        made = executor.make(jobs)
        for job, (_, training) in zip(jobs, works, strict=True):
            try:
                done = next(made)
                result = session.stores.trainings.find(training.key_with_test)
                if result is None and (done.training_runs or is_last):
                    raise not_seen(job, session.stores.root)
            except BaseException:
                with self._told(training.plan):
                    raise
            folder = Path(os.path.normpath(self._folder_of(training)))
            # A worker that found it may follow one that made it and died.
            if result is None or not (done.training_runs or result.output_dir == folder):
                yield None
                continue
            with self._told(training.plan) as finish:
                finish(result)
            yield result

    def forget_unused(self) -> None:
        """Removes the weights of what was made ahead and then not asked for."""
        for result in self._made_now.values():
            self.weights.remove(result.output_dir)
        self._made_now.clear()

    def _missing(
        self, requests: Sequence[TrialRequest]
    ) -> Iterator[tuple[str, tuple[TrialRequest, _Training]]]:
        """Digests of trainings that are to be made, each with its request of one seed."""
        kept = self.trial_seeds()
        for request in requests:
            lengths = (False, True) if self.tries_both_lengths(request) else (request.longer,)
            for longer, seed in itertools.product(lengths, request.seeds):
                one = dataclasses.replace(
                    request,
                    seeds=range(seed, seed + 1),
                    longer=longer,
                    weights_needed=request.weights_needed and seed in kept,
                )
                training = self._training(self.trial_plan(one, seed, "trial"))
                if self._find(training, one.weights_needed) is None:
                    yield training.digest, (one, training)

    def stored(self, request: TrialRequest) -> list[TrainingResult]:
        """Those of a trial's trainings that are stored; nothing is counted."""
        found = [
            self._session.stores.trainings.find(
                self._training(self.trial_plan(request, seed, "trial")).key_with_test
            )
            for seed in request.seeds
        ]
        return [result for result in found if result is not None]

    def num_trainings(self, request: TrialRequest) -> int:
        """How many trainings a trial takes where nothing of it is stored."""
        return len(request.seeds) * (2 if self.tries_both_lengths(request) else 1)

    def scheduled(self, schedule: Schedule, *, num_rounds: int, seed: int) -> TrainingResult:
        """Trains all tasks in one run under a scheduler, or finds that run stored."""
        session = self._session
        training = self._training(self.scheduled_plan(schedule, num_rounds, seed))
        training = dataclasses.replace(training, key_with_test=training.key)
        found, made = self._find(training), None
        if found is None and session.executor is not None:
            work = ScheduledRequest(schedule, num_rounds, seed)
            (made,) = self._make_elsewhere(session.executor, [(work, training)])
            found = made or self._find(training)
        if found is None:
            found, is_own = self._once(training, schedule=schedule)
            if is_own:
                return found
        if made is not None:
            session.accounts.training_made(training.digest, found.cost)
        else:
            session.accounts.training_found(training.digest, found.cost)
        schedule.scheduler.restore(found.scheduler_state or {})
        return found

    @contextlib.contextmanager
    def fine_tuned(
        self, task_names: Sequence[str], seed: int, looks: Looks | None = None
    ) -> Iterator[ProbeTarget]:
        """Fine-tunes the encoder on tasks and lends the model; nothing of it is stored."""
        plan = self.fine_tuning_plan(task_names, seed)
        with self._told(plan) as finish, self._session.host.fine_tuned(plan, looks) as target:
            finish(target.result)
            yield target

    def fine_tuned_elsewhere(
        self, task_names: Sequence[str], seed: int, score: Score, made: Cost
    ) -> None:
        """Tells of a fine-tuning that a worker made for a probe."""
        with self._told(self.fine_tuning_plan(task_names, seed)) as finish:
            done = (made.num_steps, made.num_examples, made.seconds)
            finish(TrainingResult(score, {}, (), *done, None))

    def _training(self, plan: TrainingPlan) -> _Training:
        session = self._session
        infos = {info.name: info for info in session.host.tasks()}
        encoder = session.host.encoder_fingerprint
        key = training_key(session.settings, plan, infos, encoder=encoder)
        digest = session.stores.trainings.digest(key)
        return _Training(plan, key, with_test_set(key, infos[plan.primary_task]), digest)

    def _folder_of(self, training: _Training) -> Path:
        """Where this run makes it."""
        return self._session.output_dir / "trials" / training.digest[:16]

    def _find(self, training: _Training, weights_needed: bool = False) -> TrainingResult | None:
        """A stored training; None also where its weights are needed and were not kept."""
        found = self._session.stores.trainings.find(training.key_with_test)
        if found is None or not weights_needed:
            return found
        return self.weights.brought(found, self._folder_of(training))

    def _once(
        self, training: _Training, weights_needed: bool = False, schedule: Schedule | None = None
    ) -> tuple[TrainingResult, bool]:
        """Makes a training, or waits for another process to do it; whether it was made here."""
        return self._session.once(
            training.digest,
            f"the training of {', '.join(training.plan.train_tasks)}",
            lambda: self._find(training, weights_needed),
            lambda: self._make(training, schedule),
        )

    def _attempt(
        self, request: TrialRequest, training: _Training, *, watch: bool = False
    ) -> TrainingResult | None:
        """A training that was made here; None where it was found, or another process makes it."""
        answer = self._session.stores.claims.attempt(
            training.digest,
            lambda: self._find(training, request.weights_needed),
            lambda: self._make(training),
            watch=watch,
        )
        return answer[0] if answer is not None and answer[1] else None

    def _make(self, training: _Training, schedule: Schedule | None = None) -> TrainingResult:
        session, ledger = self._session, self._session.stores.trainings
        output_dir = self._folder_of(training)
        with self._told(training.plan) as finish:
            made = session.host.train(training.plan, output_dir, schedule)
            finish(made)
        made = dataclasses.replace(made, weights_sha256=self.weights.checksum_in(output_dir))
        ledger.record(training.key_with_test, made)
        if training.key_with_test != training.key:  # for runs that do not ask for test scores
            ledger.record(training.key, made)
        session.accounts.training_made(training.digest, made.cost)
        return made

    @contextlib.contextmanager
    def _told(self, plan: TrainingPlan) -> Iterator[Any]:
        """Tells the hooks of a training; yields what its result is given to."""
        session = self._session
        session.hook.before_training(plan=plan)

        def finish(result: TrainingResult) -> None:
            session.accounts.training_ran(result.num_steps - result.found_steps)
            session.hook.after_training(plan=plan, result=result)

        try:
            yield finish
        except BaseException as error:
            session.hook.on_training_error(plan=plan, error=error)
            raise
