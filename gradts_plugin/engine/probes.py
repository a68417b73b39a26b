"""Probes: found stored by what they depend on, or made."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from gradts_plugin.engine.jobs import MOST_TIMES, Executor, Job, ProbeRequest, not_seen
from gradts_plugin.engine.session import Session
from gradts_plugin.engine.trainings import Trainings
from gradts_plugin.errors import TrainingError
from gradts_plugin.plugins import MEASURE
from gradts_plugin.protocols import ProbeTarget
from gradts_plugin.records import Cost, FloatArray, IntArray, ProbeBatch
from gradts_plugin.stores.importances import Preparation, StoredImportance
from gradts_plugin.stores.keys import ProbeKey, probe_key


class Probes:
    """Finds or makes the raw head importances that a run needs."""

    def __init__(self, session: Session, trainings: Trainings) -> None:
        self._session = session
        self._trainings = trainings
        self._of_tasks: dict[str, list[StoredImportance]] | None = None
        self._controls: list[StoredImportance] = []
        self._made_now: set[str] = set()  # digests, until they are used

    # --- what is needed --------------------------------------------------------------------------

    def needed(self) -> list[ProbeRequest]:
        """The probes that a ranking by heads needs, seed by seed; the primary's first."""
        probing = self._session.settings.probing
        infos = self._session.rankable.values()
        return [ProbeRequest(info, seed, probing) for seed in self._seeds() for info in infos]

    def needed_controls(self) -> list[ProbeRequest]:
        """The candidates' probes with shuffled labels; empty where none are asked for."""
        settings = self._session.settings
        _, *candidates = self._session.rankable.values()
        return [
            ProbeRequest(info, self._seeds()[0], settings.probing, shuffle_seed)
            for shuffle_seed in range(1, settings.probing.shuffled_controls + 1)
            for info in candidates
        ]

    def needed_whole(self, task_name: str) -> list[ProbeRequest]:
        """The probes of all instances of a task, where the ranking sees a sample of them."""
        settings, info = self._session.settings, self._session.tasks[task_name]
        if info.num_train <= (settings.probing.max_instances or info.num_train):
            return []
        whole = settings.probing.model_copy(update={"max_instances": None})
        return [ProbeRequest(info, seed, whole) for seed in self._seeds()]

    def _seeds(self) -> range:
        settings = self._session.settings
        # A frozen encoder with a convex head has no seed: all probes would be the same.
        num_seeds = 1 if settings.probing.model == "frozen" else settings.seeds
        return range(settings.seed, settings.seed + num_seeds)

    # --- found or made ---------------------------------------------------------------------------

    def of_tasks(self) -> dict[str, list[StoredImportance]]:
        """Task name -> one record per fine-tuning seed; the primary first."""
        if self._of_tasks is None:
            session = self._session
            session.hook.after_tasks_loaded(tasks=tuple(session.tasks.values()))
            needed, controls = self.needed(), self.needed_controls()
            found: dict[str, list[StoredImportance]] = {name: [] for name in session.rankable}
            with session.phase("probe", len(needed) + len(controls)):
                for request, record in zip(needed, self.all_of(needed), strict=True):
                    found[request.info.name].append(record)
                self._controls = self.all_of(controls)
            self._of_tasks = found
        return self._of_tasks

    def controls(self) -> Sequence[StoredImportance]:
        """The candidates' probes with shuffled labels; empty where none are asked for."""
        self.of_tasks()
        return self._controls

    def whole(self, task_name: str) -> list[StoredImportance]:
        """Probes of all instances of a task, one per fine-tuning seed."""
        sampled = self.of_tasks()[task_name]
        needed = self.needed_whole(task_name)
        return self.all_of(needed) if needed else sampled

    @property
    def known(self) -> Mapping[str, Sequence[StoredImportance]]:
        """Those of the tasks, where they were asked for; else empty."""
        return self._of_tasks or {}

    def find(self, request: ProbeRequest) -> StoredImportance | None:
        """A stored probe; None where it is still to be made."""
        return self._session.stores.importances.find(self._key(request))

    def all_of(self, requests: Sequence[ProbeRequest]) -> list[StoredImportance]:
        """The probes of each request, found or made."""
        self.make_ahead(requests)
        return [self._find_or_make(request) for request in requests]

    def make(self, request: ProbeRequest) -> None:
        """Makes a probe, if it is missing and no other process makes it."""
        self._session.accounts.counters.probes += self._attempt(request, watch=True)

    def _attempt(self, request: ProbeRequest, *, watch: bool = False) -> bool:
        """True where a probe was made; it may have been found, or another process makes it."""
        key = self._key(request)
        if self._session.stores.importances.find(key) is not None:
            return False
        answer = self._session.stores.claims.attempt(
            key.digest, lambda: self.find(request), lambda: self._make(request, key), watch=watch
        )
        return answer is not None and answer[1]

    def make_ahead(self, requests: Sequence[ProbeRequest]) -> None:
        """Has missing probes made by workers; without, makes those first that nobody else makes."""
        session, executor = self._session, self._session.executor
        missing = {self._key(each).digest: each for each in requests}

        def look() -> dict[str, ProbeRequest]:
            for digest in [name for name, it in missing.items() if self.find(it) is not None]:
                del missing[digest]
            return missing

        given: Counter[str] = Counter()
        while free := session.to_make_ahead(look):
            if executor is not None:
                given.update(free.keys())
                self._make_elsewhere(
                    executor, free, is_last=given.most_common(1)[0][1] == MOST_TIMES
                )
                continue
            for digest, request in free.items():
                with self._errors_told(request):
                    if self._attempt(request):
                        self._made_now.add(digest)

    def _make_elsewhere(
        self, executor: Executor, requests: Mapping[str, ProbeRequest], *, is_last: bool
    ) -> None:
        """Has workers make probes, where no other process does it first."""
        session = self._session
        jobs = [Job(session.settings, session.output_dir, each) for each in requests.values()]
        made = executor.make(jobs)
        for job, (digest, request) in zip(jobs, requests.items(), strict=True):
            with self._errors_told(request):
                done = next(made)
                found = self.find(request)
                if found is None and (done.probes or is_last):
                    raise not_seen(job, session.stores.root)
            if found is None or found.made_for != session.place:
                continue  # another run made it, or does
            if request.probing.model == "fine-tuned":
                prepared, names = found.metadata.preparation, (request.info.name,)
                self._trainings.fine_tuned_elsewhere(
                    names, request.seed, prepared.score, prepared.cost
                )
            self._made_now.add(digest)

    @contextlib.contextmanager
    def _errors_told(self, request: ProbeRequest) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            told = {"task_name": request.info.name, "seed": request.seed, "error": error}
            self._session.hook.on_probing_error(**told)
            raise

    def _find_or_make(self, request: ProbeRequest) -> StoredImportance:
        session, key = self._session, self._key(request)
        name = request.info.name

        def make() -> StoredImportance:
            return self._make(request, key)

        with self._errors_told(request):
            is_own = key.digest in self._made_now
            self._made_now.discard(key.digest)
            found = session.stores.importances.find(key)
            if found is None:
                shown = f"the probe of {name} (seed {request.seed})"
                record, is_own = session.once(key.digest, shown, lambda: self.find(request), make)
            else:
                record = found
        session.accounts.probe_used(key.digest, record.cost, reused=not is_own)
        session.hook.after_task_probed(
            task_name=name, seed=request.seed, num_instances=record.shape[0], reused=not is_own
        )
        return record

    def _key(self, request: ProbeRequest) -> ProbeKey:
        session, name = self._session, request.info.name
        recipe = None
        if request.probing.model == "fine-tuned":
            recipe = self._trainings.fine_tuning_plan((name,), request.seed).recipe
        return probe_key(
            session.settings,
            request.info,
            encoder=session.host.encoder_fingerprint,
            probing=request.probing,
            measure=session.registry.identity(MEASURE, request.probing.importance),
            recipe=recipe,
            seed=request.seed,
            shuffle_seed=request.shuffle_seed,
        )

    # --- made ------------------------------------------------------------------------------------

    def _make(self, request: ProbeRequest, key: ProbeKey) -> StoredImportance:
        names = (request.info.name,)
        if request.probing.model == "frozen":
            with self._session.host.untrained(names, request.seed) as target:
                return _halving(request, lambda smaller: self._probe_frozen(target, smaller, key))
        with self._trainings.fine_tuned(names, request.seed) as target:
            made = Preparation(target.result.score, target.result.cost)
            return _halving(
                request,
                lambda smaller: self._probe(target, smaller, key, _batches(smaller, target), made),
            )

    def _probe_frozen(
        self, target: ProbeTarget, request: ProbeRequest, key: ProbeKey
    ) -> StoredImportance:
        from gradts_plugin.probing.convex import fit_head, fitted_batches
        from gradts_plugin.probing.prober import frozen

        start = time.perf_counter()
        batches = list(_batches(request, target))
        with frozen(target.model):
            try:
                head = fit_head(
                    batches,
                    shuffle_seed=request.shuffle_seed,
                    precision=request.probing.precision,
                )
            except TrainingError as error:
                raise TrainingError(f"task {request.info.name!r}: {error}") from error
        num_examples = sum(len(batch.example_ids) for batch in batches)
        made = Preparation(None, Cost(0, num_examples, time.perf_counter() - start))
        fitted = fitted_batches(batches, head, shuffle_seed=request.shuffle_seed)
        return self._probe(target, request, key, fitted, made)

    def _probe(
        self,
        target: ProbeTarget,
        request: ProbeRequest,
        key: ProbeKey,
        batches: Iterable[ProbeBatch],
        made: Preparation,
    ) -> StoredImportance:
        import torch

        from gradts_plugin.probing.prober import probe

        session, probing = self._session, request.probing
        told = {"task_name": request.info.name, "seed": key.seed}
        total = request.num_instances
        session.hook.before_task_probed(**told, num_instances=total)
        torch.manual_seed(key.seed)  # dropout of train-mode probes

        def observed() -> Iterator[tuple[IntArray, FloatArray]]:
            done = 0
            for ids, raw in probe(
                target.model,
                target.encoder,
                batches,
                session.registry.measure(probing.importance).compute,
                train_mode=probing.train_mode,
                precision=probing.precision,
            ):
                yield ids, raw
                done += len(ids)
                session.hook.after_batch_probed(**told, num_done=done, num_instances=total)

        provenance = {**session.host.provenance, "made_for": session.place}
        return session.stores.importances.write(key, observed(), provenance, made)


def _batches(request: ProbeRequest, target: ProbeTarget) -> Iterator[ProbeBatch]:
    probing = request.probing
    return target.batches(
        batch_size=probing.batch_size, max_instances=probing.max_instances, seed=probing.seed
    )


def _halving(
    request: ProbeRequest, probed: Callable[[ProbeRequest], StoredImportance]
) -> StoredImportance:
    """Probes; where memory runs out with batches of half the size, which gives the same numbers.

    Raises:
        TrainingError: it runs out with single instances; with dropout, where batches matter, at
            once.
    """
    import torch

    while True:
        probing = request.probing
        try:
            return probed(request)
        except torch.OutOfMemoryError as error:
            if probing.batch_size == 1 or probing.train_mode:
                raise TrainingError(
                    f"the probe of {request.info.name} ran out of memory with batches of "
                    f"{probing.batch_size} (probing.batch_size): {error}"
                ) from error
        # Here, where the error's traceback holds no tensors any more.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        smaller = probing.model_copy(update={"batch_size": probing.batch_size // 2})
        request = dataclasses.replace(request, probing=smaller)
