"""The method from end to end: load, probe, rank, select, rewrite, train."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pluggy
import torch

from gradts_plugin.config import GradTSSettings, TrainingSettings
from gradts_plugin.errors import ConfigError, SelectionError, nearest
from gradts_plugin.files import write_json_atomic
from gradts_plugin.plugins import Registry
from gradts_plugin.probing.prober import probe
from gradts_plugin.ranking import instance_taus, rank_candidates
from gradts_plugin.records import (
    FloatArray,
    Host,
    IntArray,
    KeptInstances,
    ProbeTarget,
    Purpose,
    Ranking,
    Selection,
    TaskInfo,
    TrainingPlan,
    TrainingResult,
    Trial,
)
from gradts_plugin.store import GradientStore, ProbeKey, StoredImportance
from gradts_plugin.trials import TrialLedger

Sources = Mapping[str, Sequence[StoredImportance]]

#: Name of the rewritten host configuration in the output folder.
REWRITTEN_CONFIG = "selected_config.json"

#: A training run's best weights, in the host's format, inside its output folder.
WEIGHTS_FILE = "best_model.p"


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
        output_dir: where this run writes.
        counters: what was done and what was reused.
        seconds: wall time per phase.
    """

    host: Host
    settings: GradTSSettings
    manager: pluggy.PluginManager
    registry: Registry
    store: GradientStore
    ledger: TrialLedger
    output_dir: Path
    counters: Counters = field(default_factory=Counters)
    seconds: dict[str, float] = field(default_factory=dict)
    trained: set[str] = field(default_factory=set)  # digests of the runs made or found
    best_trial: Trial | None = None  # the trial whose weights are on disk

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
        ranking: candidates with intervals.
        selection: what was selected and why.
        config_path: the rewritten host configuration.
        selected: the selection's training run; None where nothing was trained.
        alone: the primary's own training run; None where nothing was trained.
        counters: what was done and what was reused.
        seconds: wall time per phase.
    """

    ranking: Ranking
    selection: Selection
    config_path: Path
    selected: Trial | None
    alone: Trial | None
    counters: Counters
    seconds: Mapping[str, float]


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
    sources = probe_tasks(session)
    ranking = rank(session, sources)
    selection = select(session, sources, ranking)
    path = config_path or session.output_dir / REWRITTEN_CONFIG
    outcome = Outcome(
        ranking=ranking,
        selection=selection,
        config_path=rewrite(session, selection, ranking, path),
        selected=None,
        alone=None,
        counters=session.counters,
        seconds=session.seconds,
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


# --- phase 3: probing ----------------------------------------------------------------------------


def probe_tasks(session: Session) -> dict[str, list[StoredImportance]]:
    """Fine-tunes and probes the primary and every candidate, or finds their probes stored.

    Returns:
        Task name -> one record per fine-tuning seed; the primary first.
    """
    infos = {info.name: info for info in session.host.tasks()}
    names = (session.settings.primary_task, *candidate_tasks(session.settings, list(infos)))
    session.hook.after_tasks_loaded(tasks=tuple(infos[name] for name in names))
    seeds = range(session.settings.seed, session.settings.seed + session.settings.seeds)
    sources: dict[str, list[StoredImportance]] = {name: [] for name in names}
    with session.phase("probe", len(names) * len(seeds)):
        for seed in seeds:
            for name in names:
                sources[name].append(_probe_task(session, infos[name], seed))
    return sources


def _probe_task(session: Session, info: TaskInfo, seed: int) -> StoredImportance:
    probing = session.settings.probing
    plan = _plan(
        session,
        (info.name,),
        purpose="fine-tuning",
        seed=seed,
        settings=session.settings.fine_tuning,
        kept_instances={},
    )
    provider = session.registry.providers["head importance measure", probing.importance]
    identity = probing.model_dump(exclude={"batch_size"} if not probing.train_mode else set())
    key = ProbeKey(
        encoder=session.host.encoder_fingerprint,
        task_name=info.name,
        task_data=info.fingerprint,
        fine_tuning=_identity_of(session, plan),
        probing={**identity, "provider": provider},
        seed=seed,
    )
    try:
        found = session.store.find(key)
        if found is not None:
            session.counters.probes_reused += 1
        else:
            session.registry.measure(probing.importance)  # a misspelt name costs no training
            with _training(session, plan) as finish, session.host.fine_tuned(plan) as target:
                finish(target.result)
                found = _probe_target(session, target, key, info)
            session.counters.probes += 1
            session.hook.after_task_probed(
                task_name=info.name, seed=seed, num_instances=found.shape[0], reused=False
            )
            return found
    except BaseException as error:
        session.hook.on_probing_error(task_name=info.name, seed=seed, error=error)
        raise
    session.hook.after_task_probed(
        task_name=info.name, seed=seed, num_instances=found.shape[0], reused=True
    )
    return found


def _probe_target(
    session: Session, target: ProbeTarget, key: ProbeKey, info: TaskInfo
) -> StoredImportance:
    probing = session.settings.probing
    num_instances = min(info.num_train, probing.max_instances or info.num_train)
    session.hook.before_task_probed(task_name=info.name, seed=key.seed, num_instances=num_instances)
    torch.manual_seed(key.seed)  # dropout of train-mode probes

    def observed() -> Iterator[tuple[IntArray, FloatArray]]:
        done = 0
        for ids, raw in probe(
            target.model,
            target.encoder,
            target.batches(
                batch_size=probing.batch_size,
                max_instances=probing.max_instances,
                seed=probing.seed,
            ),
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
        key,
        observed(),
        provenance={
            **session.host.provenance,
            "dev_score_after_fine_tuning": target.result.score,
            "fine_tuning_steps": target.result.num_steps,
            "fine_tuning_seconds": target.result.seconds,
        },
    )


# --- phase 4: ranking and selection --------------------------------------------------------------


def rank(session: Session, sources: Sources) -> Ranking:
    """Ranks the candidates by correlation with the primary."""
    settings = session.settings.ranking
    with session.phase("rank", 1), _selection_errors(session):
        ranking = rank_candidates(
            session.settings.primary_task,
            sources,
            correlation=session.registry.correlation(settings.correlation),
            bootstrap=settings.bootstrap,
            confidence=settings.confidence,
            seed=settings.seed,
        )
        session.hook.after_candidates_ranked(ranking=ranking)
    return ranking


@dataclass
class _Context:
    """What a selection method may ask for (see `records.SelectionContext`)."""

    session: Session
    sources: Sources
    ranking: Ranking

    @property
    def primary_task(self) -> str:
        return self.session.settings.primary_task

    @property
    def settings(self) -> GradTSSettings:
        return self.session.settings

    def score(
        self, auxiliary_tasks: Sequence[str], kept_instances: KeptInstances | None = None
    ) -> Trial:
        return score_tasks(self.session, tuple(auxiliary_tasks), kept_instances or {})

    def instance_taus(self, task_name: str) -> tuple[IntArray, FloatArray]:
        return instance_taus(
            self.sources[self.primary_task],
            self.sources[task_name],
            correlation=self.session.registry.correlation(
                self.session.settings.ranking.correlation
            ),
        )


def select(session: Session, sources: Sources, ranking: Ranking) -> Selection:
    """Chooses auxiliaries (and instances) with the method that the settings name."""
    settings = session.settings
    method = session.registry.method(settings.method)
    limit = settings.trial.max_auxiliaries or len(ranking.candidates)
    num_trials = (1 + min(limit, len(ranking.candidates))) * settings.trial.seeds
    with session.phase("select", num_trials), _selection_errors(session):
        selection = method(_Context(session, sources, ranking))
        unknown = [name for name in selection.auxiliary_tasks if name not in ranking.task_order]
        if unknown:
            raise SelectionError(
                f"method {settings.method!r} selected {unknown[0]!r}, which is no candidate; "
                f"{nearest(unknown[0], ranking.task_order)}"
            )
        session.hook.after_tasks_selected(selection=selection)
    return selection


def score_tasks(
    session: Session,
    auxiliary_tasks: tuple[str, ...],
    kept_instances: KeptInstances,
    *,
    weights_needed: bool = False,
) -> Trial:
    """Trains the primary with some auxiliaries over all trial seeds, or finds those runs stored.

    Weights are large: only those of the best trial so far stay on disk.

    Args:
        session: the run.
        auxiliary_tasks: what the primary is trained with; empty: alone.
        kept_instances: subsets of auxiliary training data.
        weights_needed: train again where a stored run's weights were not kept.

    Returns:
        Scores of the primary's dev set and the cost.
    """
    settings = session.settings
    session.hook.before_trial(primary_task=settings.primary_task, auxiliary_tasks=auxiliary_tasks)
    results = []
    trained = 0
    for seed in range(settings.seed, settings.seed + settings.trial.seeds):
        plan = _plan(
            session,
            (settings.primary_task, *auxiliary_tasks),
            purpose="trial",
            seed=seed,
            settings=settings.training,
            kept_instances=kept_instances,
        )
        key = _ledger_key(session, plan)
        found = session.ledger.find(key)
        if found is None or (weights_needed and not _has_weights(found)):
            output_dir = session.output_dir / "trials" / session.ledger.digest(key)[:16]
            with _training(session, plan) as finish:
                found = session.host.train(plan, output_dir)
                finish(found)
            session.ledger.record(key, found)
            session.trained.add(session.ledger.digest(key))
            trained += 1
        elif session.ledger.digest(key) not in session.trained:
            session.counters.training_runs_reused += 1
            session.trained.add(session.ledger.digest(key))  # counted once
        results.append(found)
    trial = Trial(
        auxiliary_tasks=auxiliary_tasks,
        scores=tuple(result.score for result in results),
        num_kept={name: len(ids) for name, ids in kept_instances.items()},
        num_steps=sum(result.num_steps for result in results),
        seconds=sum(result.seconds for result in results),
        reused=trained == 0,
        output_dirs=tuple(result.output_dir for result in results if result.output_dir),
    )
    if trained and not weights_needed:
        _keep_best_weights(session, trial)
    session.hook.after_trial(primary_task=settings.primary_task, trial=trial)
    return trial


def _has_weights(result: TrainingResult) -> bool:
    return result.output_dir is not None and (result.output_dir / WEIGHTS_FILE).exists()


def _keep_best_weights(session: Session, trial: Trial) -> None:
    """Removes the weights of this trial, or of the best one before it, whichever scored less."""
    loser = trial
    if session.best_trial is None or trial.score > session.best_trial.score:
        loser, session.best_trial = session.best_trial or Trial((), (), {}, 0, 0.0, False), trial
    for folder in loser.output_dirs:
        (folder / WEIGHTS_FILE).unlink(missing_ok=True)


def rewrite(session: Session, selection: Selection, ranking: Ranking, path: Path) -> Path:
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


def _provenance(session: Session, selection: Selection, ranking: Ranking) -> dict[str, Any]:
    fingerprints = {info.name: info.fingerprint for info in session.host.tasks()}
    return {
        **session.host.provenance,
        "encoder_fingerprint": session.host.encoder_fingerprint,
        "task_fingerprints": {name: fingerprints[name] for name in ranking.task_names},
        **selection_as_dict(selection),
        "ranking": ranking_as_dict(ranking)["candidates"],
    }


# --- the training that was asked for -------------------------------------------------------------


def train_selection(session: Session, selection: Selection) -> tuple[Trial, Trial]:
    """Trains the selection, and the primary alone to compare; stored runs are not repeated.

    Returns:
        The selection's run and the primary's own.
    """
    with session.phase("train", 2 * session.settings.trial.seeds):
        selected = score_tasks(
            session, selection.auxiliary_tasks, selection.kept_instances, weights_needed=True
        )
        alone = selected
        if selection.auxiliary_tasks:
            alone = score_tasks(session, (), {})
    return selected, alone


# --- shared --------------------------------------------------------------------------------------


def _plan(
    session: Session,
    train_tasks: tuple[str, ...],
    *,
    purpose: Purpose,
    seed: int,
    settings: TrainingSettings,
    kept_instances: KeptInstances,
) -> TrainingPlan:
    return TrainingPlan(
        purpose=purpose,
        train_tasks=train_tasks,
        primary_task=train_tasks[0],
        seed=seed,
        recipe=session.host.recipe(settings, train_tasks, kept_instances),
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
        "confidence": ranking.confidence,
        "interval_covers": list(ranking.covers),
        "num_seeds": ranking.num_seeds,
        "num_heads": ranking.num_heads_total,
        "null_sd": ranking.null_sd,
        "candidates": [
            {
                "task": candidate.task_name,
                "tau": candidate.tau,
                "interval": list(candidate.interval),
                "probability_above_next": candidate.probability_above_next,
            }
            for candidate in ranking.candidates
        ],
        "task_names": list(ranking.task_names),
        "task_taus": ranking.task_taus.tolist(),
    }


def trial_as_dict(trial: Trial) -> dict[str, Any]:
    """A trial as JSON values."""
    return {
        "auxiliary_tasks": list(trial.auxiliary_tasks),
        "score": trial.score,
        "spread": trial.spread,
        "scores": list(trial.scores),
        "num_kept": dict(trial.num_kept),
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
        "reason": selection.reason,
        "trials": [
            {"auxiliary_tasks": list(trial.auxiliary_tasks), "scores": list(trial.scores)}
            for trial in selection.trials
        ],
    }


def outcome_as_dict(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON values."""
    return {
        "ranking": ranking_as_dict(outcome.ranking),
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
    }
