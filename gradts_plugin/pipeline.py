"""The method from end to end: load, probe, rank, select, rewrite, train."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pluggy
import torch

from gradts_plugin.errors import ConfigError, SelectionError, TrainingError, nearest
from gradts_plugin.plugins import Registry
from gradts_plugin.probing.convex import fit_head, fitted_batches
from gradts_plugin.probing.prober import frozen, probe
from gradts_plugin.protocols import Correlation, Host, ProbeTarget, Schedule
from gradts_plugin.ranking.taus import common_profile, instance_taus
from gradts_plugin.records import (
    TEST_SCORE,
    Cost,
    FloatArray,
    IntArray,
    KeptInstances,
    ProbeBatch,
    Purpose,
    Ranking,
    Selection,
    TaskInfo,
    TrainingPlan,
    TrainingResult,
    Trial,
)
from gradts_plugin.selection.threshold import num_reaching_threshold
from gradts_plugin.selection.trial import prefix_sizes
from gradts_plugin.settings.probing import ProbingSettings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.stores.computed import ComputedValues
from gradts_plugin.stores.files import write_json_atomic
from gradts_plugin.stores.importances import GradientStore, StoredImportance
from gradts_plugin.stores.keys import ProbeKey
from gradts_plugin.stores.trainings import TrialLedger

Sources = Mapping[str, Sequence[StoredImportance]]

#: Name of the rewritten host configuration in the output folder.
REWRITTEN_CONFIG = "selected_config.json"

#: A training run's best weights, in the host's format, inside its output folder.
WEIGHTS_FILE = "best_model.p"

#: The selection methods that train the prefixes of a ranking.
TRY_PREFIXES = ("trial", "fg")


@dataclass
class Counters:
    """What a run really did, and what it found stored."""

    training_steps: int = 0
    training_runs: int = 0
    training_runs_reused: int = 0
    probes: int = 0
    probes_reused: int = 0


@dataclass
class Session:
    """One run: the host, the settings, the plugins and the places where results are kept.

    Attributes:
        host: the framework that loads and trains.
        settings: checked settings.
        manager: its hooks are told of everything.
        registry: what the settings can name.
        store: raw importances, shared between runs.
        ledger: finished training runs, shared between runs.
        computed: what rankers computed, shared between runs.
        output_dir: where this run writes.
        counters: what was done and what was reused.
        seconds: wall time per phase.
        costs: what each probe, training run and computed value took when it was made, by digest:
            what this run would take with nothing stored.
    """

    host: Host
    settings: GradTSSettings
    manager: pluggy.PluginManager
    registry: Registry
    store: GradientStore
    ledger: TrialLedger
    computed: ComputedValues
    output_dir: Path
    counters: Counters = field(default_factory=Counters)
    seconds: dict[str, float] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)  # digests of the runs made or found
    kept_trials: list[Trial] = field(default_factory=list)  # whose weights are on disk
    selection_trained: bool = False  # from then on its weights stay, whatever scores better
    sources: dict[str, list[StoredImportance]] | None = None  # once they are probed
    controls: list[StoredImportance] = field(default_factory=list)  # the same

    @property
    def cost(self) -> Cost:
        """What everything used so far took when it was computed."""
        return sum(self.costs.values(), Cost())

    @property
    def hook(self) -> Any:
        """The hooks; pluggy builds them at run time."""
        return self.manager.hook

    @contextlib.contextmanager
    def phase(self, name: str, num_units: int) -> Iterator[None]:
        """Announces and times a phase."""
        self.hook.before_phase(phase=name, num_units=num_units)
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.hook.after_phase(phase=name, seconds=self.seconds[name])


@dataclass(frozen=True)
class Outcome:
    """Everything a finished run has to say.

    Attributes:
        ranking: candidates, best first; None where the method needs no ranking.
        selection: what was selected and why.
        config_path: the rewritten host configuration.
        selected: the selection's training run; None where nothing was trained.
        alone: the primary's own training run; None where nothing was trained.
        counters: what was done and what was reused.
        seconds: wall time per phase.
        cost: what it takes to know the selection with nothing stored: fine-tuning, probes and
            trials, each as measured when it was made.
    """

    ranking: Ranking | None
    selection: Selection
    config_path: Path
    selected: Trial | None
    alone: Trial | None
    counters: Counters
    seconds: Mapping[str, float]
    cost: Cost


def run(session: Session) -> Outcome:
    """Runs all phases, and the training that was asked for.

    Args:
        session: the run.

    Returns:
        The outcome; also written to `result.json` in the output folder.
    """
    outcome = choose(session)
    selected, alone = train_selection(session, outcome.selection)
    outcome = dataclasses.replace(outcome, selected=selected, alone=alone)
    write_json_atomic(session.output_dir / "result.json", outcome_as_dict(outcome))
    return outcome


def choose(session: Session, config_path: Path | None = None) -> Outcome:
    """Probes, ranks, selects and rewrites; the training is left to the host.

    Args:
        session: the run.
        config_path: where the rewritten configuration goes; None: into the output folder.

    Returns:
        The outcome, without final training; also written to `result.json`.
    """
    method = session.registry.method(session.settings.method)
    ranking = rank(session) if getattr(method, "uses_ranking", True) else None
    selection = select(session, ranking)
    cost = session.cost
    path = config_path or session.output_dir / REWRITTEN_CONFIG
    outcome = Outcome(
        ranking=ranking,
        selection=selection,
        config_path=rewrite(session, selection, ranking, path),
        selected=None,
        alone=None,
        counters=session.counters,
        seconds=session.seconds,
        cost=cost,
    )
    write_json_atomic(session.output_dir / "result.json", outcome_as_dict(outcome))
    return outcome


def final_plan(session: Session, selection: Selection) -> TrainingPlan:
    """The selection's training, as the hooks are told of it."""
    tasks = (selection.primary_task, *selection.auxiliary_tasks)
    return _plan(
        session,
        tasks,
        purpose="training",
        seed=session.settings.seed,
        settings=session.settings.training,
        kept_instances=selection.kept_instances,
        mixing_ratios=selection.mixing_ratios,
    )


# --- phase 1: what the host loaded ---------------------------------------------------------------


def candidate_tasks(settings: GradTSSettings, known: Sequence[str]) -> tuple[str, ...]:
    """The tasks among which auxiliaries are sought, in the order in which they were given.

    Args:
        settings: name the primary and, if they like, the candidates.
        known: names of all tasks.

    Raises:
        ConfigError: the primary or a candidate is unknown, or there is no candidate.
    """
    primary = settings.primary_task
    if not primary:
        raise ConfigError(f"key 'primary_task' is missing; valid: {', '.join(known)}")
    if primary not in known:
        raise ConfigError(f"primary_task: unknown task {primary!r}; {nearest(primary, known)}")
    candidates = settings.candidate_tasks
    if candidates is None:
        candidates = tuple(name for name in known if name != primary)
    for name in candidates:
        if name not in known:
            raise ConfigError(f"candidate_tasks: unknown task {name!r}; {nearest(name, known)}")
    if not candidates:
        raise ConfigError(f"there is no candidate beside the primary task {primary!r}")
    return candidates


def tasks_of(session: Session) -> dict[str, TaskInfo]:
    """The primary and the candidates, by name; the primary first."""
    infos = {info.name: info for info in session.host.tasks()}
    names = (session.settings.primary_task, *candidate_tasks(session.settings, list(infos)))
    return {name: infos[name] for name in names}


# --- phase 3: probing ----------------------------------------------------------------------------


def probe_tasks(session: Session) -> dict[str, list[StoredImportance]]:
    """Fine-tunes and probes the primary and every candidate, or finds their probes stored.

    Returns:
        Task name -> one record per fine-tuning seed; the primary first.
    """
    if session.sources is not None:
        return session.sources
    infos = tasks_of(session)
    names = tuple(infos)
    session.hook.after_tasks_loaded(tasks=tuple(infos.values()))
    seeds = probe_seeds(session.settings)
    num_controls = session.settings.probing.shuffled_controls
    sources: dict[str, list[StoredImportance]] = {name: [] for name in names}
    with session.phase("probe", len(names) * len(seeds) + (len(names) - 1) * num_controls):
        for seed in seeds:
            for name in names:
                sources[name].append(_probe_task(session, infos[name], seed))
        for shuffle_seed in range(1, num_controls + 1):
            for name in names[1:]:
                session.controls.append(_probe_task(session, infos[name], seeds[0], shuffle_seed))
    session.sources = sources
    return sources


def probe_controls(session: Session) -> Sequence[StoredImportance]:
    """The candidates' probes with shuffled labels; empty where none are asked for."""
    probe_tasks(session)
    return session.controls


def find_probes(session: Session) -> list[tuple[TaskInfo, int, StoredImportance | None]]:
    """Every probe that ranking by heads needs, controls included; nothing is computed.

    Returns:
        (task, fine-tuning seed, its record or None where it is still to be made).
    """
    infos = tuple(tasks_of(session).values())
    seeds, probing = probe_seeds(session.settings), session.settings.probing
    needed: list[tuple[TaskInfo, int, int | None]] = [
        (info, seed, None) for seed in seeds for info in infos
    ]
    for shuffle_seed in range(1, session.settings.probing.shuffled_controls + 1):
        needed += [(info, seeds[0], shuffle_seed) for info in infos[1:]]
    return [
        (info, seed, session.store.find(_probe_key(session, info, seed, shuffle_seed, probing)))
        for info, seed, shuffle_seed in needed
    ]


def probe_seeds(settings: GradTSSettings) -> range:
    """The fine-tuning seeds that every task is probed with."""
    # A frozen encoder with a convex head has no seed: all probes would be the same.
    num_seeds = 1 if settings.probing.model == "frozen" else settings.seeds
    return range(settings.seed, settings.seed + num_seeds)


def _probe_task(
    session: Session,
    info: TaskInfo,
    seed: int,
    shuffle_seed: int | None = None,
    *,
    probing: ProbingSettings | None = None,
) -> StoredImportance:
    """Probes a task as the settings say, or as `probing` does."""
    probing = probing or session.settings.probing
    key = _probe_key(session, info, seed, shuffle_seed, probing)
    try:
        found = session.store.find(key)
        reused = found is not None
        if found is None:
            session.registry.measure(session.settings.probing.importance)  # before any training
            found = _make_probe(session, info, key, seed, shuffle_seed, probing)
    except BaseException as error:
        session.hook.on_probing_error(task_name=info.name, seed=seed, error=error)
        raise
    session.counters.probes_reused += reused
    session.counters.probes += not reused
    session.costs[key.digest] = _probe_cost(found)
    session.hook.after_task_probed(
        task_name=info.name, seed=seed, num_instances=found.shape[0], reused=reused
    )
    return found


def _probe_key(
    session: Session,
    info: TaskInfo,
    seed: int,
    shuffle_seed: int | None,
    probing: ProbingSettings,
) -> ProbeKey:
    is_frozen = probing.model == "frozen"
    if info.num_train <= (probing.max_instances or 0):
        probing = probing.model_copy(update={"max_instances": None})  # a sample of all is all
    left_out = {"shuffled_controls"} | (set() if probing.train_mode else {"batch_size"})
    fine_tuning: dict[str, Any] = {}
    if not is_frozen:
        fine_tuning = _identity_of(session, _fine_tuning_plan(session, info.name, seed))
    return ProbeKey(
        encoder=session.host.encoder_fingerprint,
        task_name=info.name,
        task_data=info.fingerprint,
        fine_tuning=fine_tuning,
        probing={
            **probing.model_dump(exclude=left_out),
            "provider": session.registry.providers["head importance measure", probing.importance],
            **({} if shuffle_seed is None else {"shuffled_labels": shuffle_seed}),
        },
        seed=0 if is_frozen else seed,
    )


def _fine_tuning_plan(session: Session, task_name: str, seed: int) -> TrainingPlan:
    return _plan(
        session,
        (task_name,),
        purpose="fine-tuning",
        seed=seed,
        settings=session.settings.fine_tuning,
    )


def _make_probe(
    session: Session,
    info: TaskInfo,
    key: ProbeKey,
    seed: int,
    shuffle_seed: int | None,
    probing: ProbingSettings,
) -> StoredImportance:
    if probing.model == "frozen":
        with session.host.untrained((info.name,), seed) as target:
            return _probe_frozen(session, target, key, info, shuffle_seed, probing)
    plan = _fine_tuning_plan(session, info.name, seed)
    with _training(session, plan) as finish, session.host.fine_tuned(plan) as target:
        finish(target.result)
        return _probe_target(
            session,
            target,
            key,
            info,
            probing,
            _probe_batches(probing, target),
            {
                "dev_score_after_fine_tuning": target.result.score,
                "fine_tuning_steps": target.result.num_steps,
                "fine_tuning_examples": target.result.num_examples,
                "fine_tuning_seconds": target.result.seconds,
            },
        )


def _probe_frozen(
    session: Session,
    target: ProbeTarget,
    key: ProbeKey,
    info: TaskInfo,
    shuffle_seed: int | None,
    probing: ProbingSettings,
) -> StoredImportance:
    start = time.perf_counter()
    batches = list(_probe_batches(probing, target))
    with frozen(target.model):
        try:
            head = fit_head(batches, shuffle_seed=shuffle_seed, precision=probing.precision)
        except TrainingError as error:
            raise TrainingError(f"task {info.name!r}: {error}") from error
    return _probe_target(
        session,
        target,
        key,
        info,
        probing,
        fitted_batches(batches, head, shuffle_seed=shuffle_seed),
        {
            "fine_tuning_steps": 0,
            "fine_tuning_examples": sum(len(batch.example_ids) for batch in batches),
            "fine_tuning_seconds": time.perf_counter() - start,
        },
    )


def _probe_batches(probing: ProbingSettings, target: ProbeTarget) -> Iterator[ProbeBatch]:
    return target.batches(
        batch_size=probing.batch_size, max_instances=probing.max_instances, seed=probing.seed
    )


def _probe_cost(found: StoredImportance) -> Cost:
    """What a probe took when it was made, its fine-tuning included."""
    made = found.provenance
    return Cost(
        num_steps=int(made.get("fine_tuning_steps", 0)),
        num_examples=int(made.get("fine_tuning_examples", 0)) + found.shape[0],
        seconds=float(made.get("fine_tuning_seconds", 0.0)) + float(found.metadata["seconds"]),
    )


def _probe_target(
    session: Session,
    target: ProbeTarget,
    key: ProbeKey,
    info: TaskInfo,
    probing: ProbingSettings,
    batches: Iterable[ProbeBatch],
    provenance: Mapping[str, Any],
) -> StoredImportance:
    num_instances = min(info.num_train, probing.max_instances or info.num_train)
    session.hook.before_task_probed(task_name=info.name, seed=key.seed, num_instances=num_instances)
    torch.manual_seed(key.seed)  # dropout of train-mode probes

    def observed() -> Iterator[tuple[IntArray, FloatArray]]:
        done = 0
        for ids, raw in probe(
            target.model,
            target.encoder,
            batches,
            session.registry.measure(probing.importance),
            train_mode=probing.train_mode,
            precision=probing.precision,
        ):
            yield ids, raw
            done += len(ids)
            session.hook.after_batch_probed(
                task_name=info.name, seed=key.seed, num_done=done, num_instances=num_instances
            )

    return session.store.write(
        key, observed(), provenance={**session.host.provenance, **provenance}
    )


# --- phase 4: ranking and selection --------------------------------------------------------------


def rank(session: Session) -> Ranking:
    """Ranks the candidates with the ranker that the settings name."""
    ranker = session.registry.ranker(session.settings.ranking.ranker)
    if getattr(ranker, "uses_probes", False):
        probe_tasks(session)  # before, so that it is a phase of its own
    with session.phase("rank", 1), _selection_errors(session):
        ranking = ranker(_Context(session))
        session.hook.after_candidates_ranked(ranking=ranking)
    return ranking


@dataclass
class _Context:
    """What rankers and selection methods may ask for (see `protocols.SelectionContext`)."""

    session: Session
    known_ranking: Ranking | None = None

    @property
    def primary_task(self) -> str:
        return self.session.settings.primary_task

    @property
    def candidate_tasks(self) -> tuple[str, ...]:
        return tuple(self.tasks)[1:]

    @property
    def tasks(self) -> Mapping[str, TaskInfo]:
        return tasks_of(self.session)

    @property
    def settings(self) -> GradTSSettings:
        return self.session.settings

    @property
    def correlation(self) -> Correlation:
        return self.session.registry.correlation(self.settings.ranking.correlation)

    @property
    def ranking(self) -> Ranking:
        if self.known_ranking is None:
            raise SelectionError(
                f"method {self.settings.method!r} asked for the ranking but says that it uses none"
            )
        return self.known_ranking

    def probes(self) -> Mapping[str, Sequence[StoredImportance]]:
        return probe_tasks(self.session)

    def score(
        self,
        auxiliary_tasks: Sequence[str],
        kept_instances: KeptInstances | None = None,
        mixing_ratios: Mapping[str, int] | None = None,
        *,
        num_seeds: int | None = None,
    ) -> Trial:
        return score_tasks(
            self.session,
            tuple(auxiliary_tasks),
            kept_instances or {},
            mixing_ratios or {},
            num_seeds=num_seeds,
        )

    def train_with_schedule(
        self, schedule: Schedule, *, num_rounds: int, seed: int
    ) -> TrainingResult:
        return _train_with_schedule(self.session, schedule, num_rounds, seed)

    def controls(self) -> Sequence[StoredImportance]:
        return probe_controls(self.session)

    def computed(
        self,
        name: str,
        identity: Mapping[str, Any],
        task_names: Sequence[str],
        compute: Callable[[], tuple[dict[str, Any], Cost]],
    ) -> dict[str, Any]:
        return _computed(self.session, name, identity, task_names, compute)

    def fine_tuning_identity(self, task_names: Sequence[str]) -> Mapping[str, Any]:
        return _identity_of(self.session, self._fine_tuning(task_names, self.settings.seed))

    def _fine_tuning(self, task_names: Sequence[str], seed: int) -> TrainingPlan:
        return _plan(
            self.session,
            tuple(task_names),
            purpose="fine-tuning",
            seed=seed,
            settings=self.settings.fine_tuning,
        )

    @contextlib.contextmanager
    def fine_tuned(self, task_names: Sequence[str], seed: int) -> Iterator[ProbeTarget]:
        plan = self._fine_tuning(task_names, seed)
        with _training(self.session, plan) as finish, self.session.host.fine_tuned(plan) as target:
            finish(target.result)
            yield target

    def untrained(
        self, task_names: Sequence[str], seed: int
    ) -> contextlib.AbstractContextManager[ProbeTarget]:
        return self.session.host.untrained(task_names, seed)

    def instance_taus(self, task_name: str) -> tuple[IntArray, FloatArray]:
        return candidate_instance_taus(self.session, task_name, complete=True)


def candidate_instance_taus(
    session: Session, task_name: str, *, complete: bool = False
) -> tuple[IntArray, FloatArray]:
    """Tau of a candidate's instances with the primary's task matrix.

    Args:
        session: the run.
        task_name: a candidate.
        complete: all training instances, those probed first that the ranking did not look at;
            otherwise those that were probed for the ranking.

    Returns:
        Instance ids (N,) and taus (N,).
    """
    sources = probe_tasks(session)
    settings = session.settings
    info = tasks_of(session)[task_name]
    of_candidate = sources[task_name]
    if complete and info.num_train > (settings.probing.max_instances or info.num_train):
        whole = settings.probing.model_copy(update={"max_instances": None})
        of_candidate = [
            _probe_task(session, info, seed, probing=whole) for seed in probe_seeds(settings)
        ]
    return instance_taus(
        sources[settings.primary_task],
        of_candidate,
        correlation=session.registry.correlation(settings.ranking.correlation),
        common=common_profile(sources) if settings.ranking.common == "remove" else None,
    )


def _computed(
    session: Session,
    name: str,
    identity: Mapping[str, Any],
    task_names: Sequence[str],
    compute: Callable[[], tuple[dict[str, Any], Cost]],
) -> dict[str, Any]:
    infos = tasks_of(session)
    key = {
        "name": name,
        "identity": dict(identity),
        "encoder": session.host.encoder_fingerprint,
        "tasks": [
            [task_name, infos[task_name].fingerprint, infos[task_name].dev_fingerprint]
            for task_name in task_names
        ],
    }
    found = session.computed.find(key)
    if found is None:
        values, cost = compute()
        found = {"values": values, "cost": dataclasses.asdict(cost)}
        session.computed.record(key, found)
    session.costs[session.computed.digest(key)] = Cost(**found["cost"])
    values = found["values"]
    return dict(values)


def select(session: Session, ranking: Ranking | None) -> Selection:
    """Chooses auxiliaries (and instances) with the method that the settings name."""
    settings = session.settings
    method = session.registry.method(settings.method)
    candidates = tuple(tasks_of(session))[1:]
    with (
        _selection_errors(session),
        session.phase("select", _most_trials(settings, ranking, len(candidates))),
    ):
        selection = method(_Context(session, ranking))
        unknown = [name for name in selection.auxiliary_tasks if name not in candidates]
        if unknown:
            raise SelectionError(
                f"method {settings.method!r} selected {unknown[0]!r}, which is no candidate; "
                f"{nearest(unknown[0], candidates)}"
            )
        session.hook.after_tasks_selected(selection=selection)
    return selection


def _most_trials(settings: GradTSSettings, ranking: Ranking | None, num_candidates: int) -> int:
    num_prefixes = min(settings.trial.max_auxiliaries or num_candidates, num_candidates)
    if ranking is not None and settings.method in TRY_PREFIXES:
        sizes = prefix_sizes(
            num_prefixes, settings, functools.partial(num_reaching_threshold, ranking, settings)
        )
        num_prefixes = len(sizes)
    return (1 + num_prefixes) * most_seeds(settings)


def most_seeds(settings: GradTSSettings) -> int:
    """With how many seeds a subset is trained at most: GradTS-trial and -fg confirm a new best."""
    confirms = settings.method in TRY_PREFIXES and not settings.faithful
    return settings.trial.seeds + (settings.trial.confirm if confirms else 0)


def score_tasks(
    session: Session,
    auxiliary_tasks: tuple[str, ...],
    kept_instances: KeptInstances,
    mixing_ratios: Mapping[str, int] = MappingProxyType({}),
    *,
    num_seeds: int | None = None,
    weights_needed: bool = False,
) -> Trial:
    """Trains the primary with some auxiliaries over all trial seeds, or finds those runs stored.

    Weights are large: only those of the best trials so far stay on disk, of `trial.seeds` seeds.

    Args:
        session: the run.
        auxiliary_tasks: what the primary is trained with; empty: alone.
        kept_instances: subsets of auxiliary training data.
        mixing_ratios: how often each task is trained; empty: as the host's sampler has it.
        num_seeds: training seeds, from the first one on; None: `trial.seeds`.
        weights_needed: train again where a stored run's weights were not kept.

    Returns:
        Scores of the primary's dev set and the cost.
    """
    settings = session.settings
    session.hook.before_trial(primary_task=settings.primary_task, auxiliary_tasks=auxiliary_tasks)
    results = []
    trained = 0
    for number in range(num_seeds or settings.trial.seeds):
        keeps_weights = number < settings.trial.seeds
        seed = settings.seed + number
        plan = _plan(
            session,
            (settings.primary_task, *_in_host_order(session, auxiliary_tasks)),
            purpose="trial",
            seed=seed,
            settings=settings.training,
            kept_instances=kept_instances,
            mixing_ratios=mixing_ratios,
        )
        key = _ledger_key(session, plan)
        with_test = _with_test_set(session, plan, key)
        found = session.ledger.find(with_test)
        if found is None or (weights_needed and keeps_weights and not _has_weights(found)):
            output_dir = session.output_dir / "trials" / session.ledger.digest(key)[:16]
            with _training(session, plan) as finish:
                found = session.host.train(plan, output_dir)
                finish(found)
            session.ledger.record(with_test, found)
            if with_test != key:  # for runs that do not ask for test scores
                session.ledger.record(key, found)
            session.trained.add(session.ledger.digest(key))
            trained += 1
            if not keeps_weights:
                _remove_weights(found.output_dir)
        elif session.ledger.digest(key) not in session.trained:
            session.counters.training_runs_reused += 1
            session.trained.add(session.ledger.digest(key))  # counted once
        session.costs[session.ledger.digest(key)] = found.cost
        results.append(found)
    trial = Trial(
        auxiliary_tasks=auxiliary_tasks,
        scores=tuple(result.score for result in results),
        num_kept={name: len(ids) for name, ids in kept_instances.items()},
        num_steps=sum(result.num_steps for result in results),
        seconds=sum(result.seconds for result in results),
        reused=trained == 0,
        output_dirs=tuple(
            result.output_dir for result in results[: settings.trial.seeds] if result.output_dir
        ),
        mixing_ratios=dict(mixing_ratios),
        test_scores=tuple(
            result.metrics[TEST_SCORE] for result in results if TEST_SCORE in result.metrics
        ),
    )
    if trained and not weights_needed:
        _keep_best_weights(session, trial)
    session.hook.after_trial(primary_task=settings.primary_task, trial=trial)
    return trial


def _in_host_order(session: Session, task_names: Sequence[str]) -> list[str]:
    """The same tasks are the same run, in whatever order a ranking has them."""
    return [info.name for info in session.host.tasks() if info.name in task_names]


def _train_with_schedule(
    session: Session, schedule: Schedule, num_rounds: int, seed: int
) -> TrainingResult:
    """Trains all tasks in one run under a scheduler, or finds that run stored."""
    steps = num_rounds * schedule.steps_per_round
    plan = _plan(
        session,
        tuple(tasks_of(session)),
        purpose="trial",
        seed=seed,
        settings=session.settings.training.model_copy(update={"max_steps": steps, "epochs": None}),
    )
    recipe = {
        **plan.recipe,
        "evaluations": num_rounds,
        "schedule": {**schedule.identity, "steps_per_round": schedule.steps_per_round},
    }
    plan = dataclasses.replace(plan, recipe=recipe)
    key = _ledger_key(session, plan)
    found = session.ledger.find(key)
    if found is None:
        output_dir = session.output_dir / "trials" / session.ledger.digest(key)[:16]
        with _training(session, plan) as finish:
            found = session.host.train(plan, output_dir, schedule)
            finish(found)
        session.ledger.record(key, found)
    else:
        session.counters.training_runs_reused += 1
        schedule.scheduler.restore(found.scheduler_state or {})
    session.trained.add(session.ledger.digest(key))
    session.costs[session.ledger.digest(key)] = found.cost
    return found


def _has_weights(result: TrainingResult) -> bool:
    return result.output_dir is not None and (result.output_dir / WEIGHTS_FILE).exists()


def _keep_best_weights(session: Session, trial: Trial) -> None:
    """Removes the weights of those that can no longer be selected: this trial, or one before it."""
    if session.selection_trained:
        losers = [trial]
    else:
        num_seeds = session.settings.trial.seeds
        others = [kept for kept in session.kept_trials if kept.output_dirs != trial.output_dirs]
        # Of equal ones the first. A new best that is not confirmed leaves it to the one before it.
        best_first = sorted(
            [*others, trial], key=lambda kept: kept.comparable(num_seeds), reverse=True
        )
        number = 2 if most_seeds(session.settings) > num_seeds else 1
        session.kept_trials, losers = best_first[:number], best_first[number:]
    for loser in losers:
        for folder in loser.output_dirs:
            _remove_weights(folder)


def _remove_weights(folder: Path | None) -> None:
    if folder is not None:
        (folder / WEIGHTS_FILE).unlink(missing_ok=True)


def rewrite(session: Session, selection: Selection, ranking: Ranking | None, path: Path) -> Path:
    """Writes the host configuration that trains exactly the selection."""
    with session.phase("rewrite", 1), _selection_errors(session):
        config = session.host.rewrite(selection, path.parent)
        config["gradts"] = {
            **session.settings.model_dump(mode="json", exclude_unset=True),
            "selection": {
                **config.get("gradts", {}).get("selection", {}),
                **_provenance(session, selection, ranking),
            },
        }
        write_json_atomic(path, config)
        session.hook.after_config_rewritten(path=path)
    return path


def _provenance(session: Session, selection: Selection, ranking: Ranking | None) -> dict[str, Any]:
    return {
        **session.host.provenance,
        "encoder_fingerprint": session.host.encoder_fingerprint,
        "task_fingerprints": {name: info.fingerprint for name, info in tasks_of(session).items()},
        **selection_as_dict(selection),
        "ranking": None if ranking is None else ranking_as_dict(ranking)["candidates"],
    }


# --- the training that was asked for -------------------------------------------------------------


def train_selection(session: Session, selection: Selection) -> tuple[Trial, Trial]:
    """Trains the selection, and the primary alone to compare; stored runs are not repeated.

    Returns:
        The selection's run and the primary's own.
    """
    num_seeds = _num_seeds_of(session, selection)
    with session.phase("train", 2 * num_seeds):
        selected = score_tasks(
            session,
            selection.auxiliary_tasks,
            selection.kept_instances,
            selection.mixing_ratios,
            num_seeds=num_seeds,
            weights_needed=True,
        )
        for other in session.kept_trials:
            for folder in set(other.output_dirs) - set(selected.output_dirs):
                _remove_weights(folder)
        session.kept_trials, session.selection_trained = [selected], True
        alone = selected
        if selection.auxiliary_tasks:
            alone = score_tasks(session, (), {}, num_seeds=num_seeds)
    return selected, alone


def _num_seeds_of(session: Session, selection: Selection) -> int:
    """With how many seeds the selection was tried: more than others', where it was confirmed."""
    numbers = [
        len(trial.scores)
        for trial in selection.trials
        if trial.auxiliary_tasks == selection.auxiliary_tasks
    ]
    return max([session.settings.trial.seeds, *numbers])


# --- shared --------------------------------------------------------------------------------------


def _plan(
    session: Session,
    train_tasks: tuple[str, ...],
    *,
    purpose: Purpose,
    seed: int,
    settings: TrainingSettings,
    kept_instances: KeptInstances = MappingProxyType({}),
    mixing_ratios: Mapping[str, int] = MappingProxyType({}),
) -> TrainingPlan:
    recipe = session.host.recipe(settings, train_tasks, kept_instances)
    if mixing_ratios:
        recipe["mixing_ratios"] = dict(mixing_ratios)
        if session.settings.faithful:
            recipe["block_steps"] = session.settings.autosem.steps_per_round
    return TrainingPlan(
        purpose=purpose,
        train_tasks=train_tasks,
        primary_task=train_tasks[0],
        seed=seed,
        recipe=recipe,
        kept_instances=kept_instances,
    )


def _identity_of(session: Session, plan: TrainingPlan) -> dict[str, Any]:
    """What decides a training run's numbers, as JSON values."""
    settings = session.settings
    return {
        "recipe": dict(plan.recipe),
        "seeded_sampler": settings.seeded_sampler,
        "reshuffle_epochs": settings.reshuffle_epochs,
        "trim_batches": settings.trim_batches,  # dropout draws other numbers for other lengths
    }


def _ledger_key(session: Session, plan: TrainingPlan) -> dict[str, Any]:
    infos = {info.name: info for info in session.host.tasks()}
    return {
        "encoder": session.host.encoder_fingerprint,
        "train_tasks": [[name, infos[name].fingerprint] for name in plan.train_tasks],
        "dev_set": [plan.primary_task, infos[plan.primary_task].dev_fingerprint],
        "seed": plan.seed,
        "training": _identity_of(session, plan),
        "kept_instances": {
            name: hashlib.sha256(np.sort(ids).astype("<i8").tobytes()).hexdigest()
            for name, ids in plan.kept_instances.items()
        },
    }


def _with_test_set(
    session: Session, plan: TrainingPlan, key: Mapping[str, Any]
) -> Mapping[str, Any]:
    """The key of a training that is also scored on a test set, where the host has one."""
    infos = {info.name: info for info in session.host.tasks()}
    test_set = infos[plan.primary_task].test_fingerprint
    return {**key, "test_set": test_set} if test_set else key


@contextlib.contextmanager
def _training(session: Session, plan: TrainingPlan) -> Iterator[Any]:
    """Tells the hooks of a training run; yields what its result is given to."""
    session.hook.before_training(plan=plan)

    def finish(result: TrainingResult) -> None:
        session.counters.training_runs += 1
        session.counters.training_steps += result.num_steps
        session.hook.after_training(plan=plan, result=result)

    try:
        yield finish
    except BaseException as error:
        session.hook.on_training_error(plan=plan, error=error)
        raise


@contextlib.contextmanager
def _selection_errors(session: Session) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        session.hook.on_selection_error(primary_task=session.settings.primary_task, error=error)
        raise


# --- as plain values, for JSON -------------------------------------------------------------------


def ranking_as_dict(ranking: Ranking) -> dict[str, Any]:
    """A ranking as JSON values."""
    return {
        "primary_task": ranking.primary_task,
        "ranker": ranking.ranker,
        "measure": ranking.measure,
        "confidence": ranking.confidence,
        "interval_covers": list(ranking.covers),
        "num_seeds": ranking.num_seeds,
        "num_heads": ranking.num_heads_total,
        "null_taus": list(ranking.null_taus),
        "null_sd": ranking.null_sd if ranking.num_heads_total > 1 else None,
        "candidates": [
            {
                "task": candidate.task_name,
                "tau": candidate.tau,
                "interval": None if candidate.interval is None else list(candidate.interval),
                "probability_above_next": candidate.probability_above_next,
            }
            for candidate in ranking.candidates
        ],
        "task_names": list(ranking.task_names),
        "task_taus": None if ranking.task_taus is None else ranking.task_taus.tolist(),
    }


def trial_as_dict(trial: Trial) -> dict[str, Any]:
    """A trial as JSON values."""
    return {
        "auxiliary_tasks": list(trial.auxiliary_tasks),
        "score": trial.score,
        "spread": trial.spread,
        "scores": list(trial.scores),
        "test_scores": list(trial.test_scores),
        "num_kept": dict(trial.num_kept),
        "mixing_ratios": dict(trial.mixing_ratios),
        "num_steps": trial.num_steps,
        "seconds": trial.seconds,
        "reused": trial.reused,
    }


def selection_as_dict(selection: Selection) -> dict[str, Any]:
    """A selection as JSON values; volatile costs of its trials are left out."""
    return {
        "method": selection.method,
        "primary_task": selection.primary_task,
        "auxiliary_tasks": list(selection.auxiliary_tasks),
        "num_kept": {name: len(ids) for name, ids in selection.kept_instances.items()},
        "mixing_ratios": dict(selection.mixing_ratios),
        "reason": selection.reason,
        "trials": [
            {"auxiliary_tasks": list(trial.auxiliary_tasks), "scores": list(trial.scores)}
            for trial in selection.trials
        ],
    }


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON values."""
    return {
        "ranking": None if outcome.ranking is None else ranking_as_dict(outcome.ranking),
        "selection": {
            **selection_as_dict(outcome.selection),
            "trials": [trial_as_dict(trial) for trial in outcome.selection.trials],
        },
        "selected": trial_as_dict(outcome.selected) if outcome.selected else None,
        "weights": [str(folder / WEIGHTS_FILE) for folder in outcome.selected.output_dirs]
        if outcome.selected
        else [],
        "alone": trial_as_dict(outcome.alone) if outcome.alone else None,
        "config_path": str(outcome.config_path),
        "done": vars(outcome.counters),
        "seconds": dict(outcome.seconds),
        "cost": dataclasses.asdict(outcome.cost),
    }
