"""Every hook of the plugin, in the order in which a run calls them.

The name tells the kind: an imperative verb asks somebody to answer (the first answer that is not
None wins); `extend_` collects the answers of all; `before_`, `after_` and `on_..._error` only
notify. None means "not mine", nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from gradts_plugin.json_forms import JsonObject
from gradts_plugin.offers import Correlation, Measure, Method, Ranker
from gradts_plugin.protocols import HostConfig, HostOpening
from gradts_plugin.records import (
    Outcome,
    Ranking,
    Selection,
    TaskInfo,
    TrainingPlan,
    TrainingResult,
    TrainStep,
    Trial,
)
from gradts_plugin.scores import Round
from gradts_plugin.settings.run_file import RunFile

__all__ = [
    "PROJECT_NAME",
    "after_batch_probed",
    "after_candidates_ranked",
    "after_config_rewritten",
    "after_phase",
    "after_result_written",
    "after_round",
    "after_task_prepared",
    "after_task_probed",
    "after_tasks_loaded",
    "after_tasks_selected",
    "after_train_step",
    "after_training",
    "after_trial",
    "before_phase",
    "before_task_prepared",
    "before_task_probed",
    "before_training",
    "before_trial",
    "extend_correlations",
    "extend_head_importance_measures",
    "extend_rankers",
    "extend_selection_methods",
    "extend_task_configs",
    "hookimpl",
    "hookspec",
    "load_task",
    "on_probing_error",
    "on_selection_error",
    "on_training_error",
    "open_host",
    "rewrite_config",
]

PROJECT_NAME = "gradts"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


# --- around every phase -------------------------------------------------------------------------


@hookspec
def before_phase(phase: str, num_units: int) -> None:
    """Called when a phase begins: load, probe, rank, select, rewrite, train.

    Args:
        phase: its name.
        num_units: how many pieces of work it has (tasks to prepare, probes), of selection one for
            the primary alone and one for each candidate, with each training seed.
    """


@hookspec
def after_phase(phase: str, seconds: float) -> None:
    """Called when a phase ended well.

    Args:
        phase: its name.
        seconds: wall time it took.
    """


# --- phase 1: task loading ----------------------------------------------------------------------


@hookspec
def extend_task_configs() -> Mapping[str, Path]:  # type: ignore[empty-body]
    """Called when task names are resolved, to add task configs that can be named without a path.

    Returns:
        Task name -> path of its task config JSON.
    """


@hookspec(firstresult=True)
def open_host(run_file: RunFile, task_configs: Mapping[str, Path], hook: Any) -> HostOpening | None:
    """Called for a run file, to open the multi-task framework that its `host` names.

    Args:
        run_file: the run, with absolute paths.
        task_configs: task configs that can be named without a path.
        hook: the hooks: the host tells them of each task and each step, asks them to load tasks
            and to rewrite configurations.

    Returns:
        The host, not prepared yet, or None where another host is named.
    """


@hookspec(firstresult=True)
def load_task(config: JsonObject, base_path: Path) -> Any | None:
    """Called by the host for each task config, before the host's own task classes are tried.

    Args:
        config: the task config JSON, unchanged.
        base_path: folder of the task config; relative paths in it start here.

    Returns:
        A task object of the host, or None to leave the config to others.
    """


@hookspec
def before_task_prepared(task_name: str) -> None:
    """Called before a task of a run file is read and tokenised.

    Args:
        task_name: the task.
    """


@hookspec
def after_task_prepared(task_name: str, num_train: int, reused: bool) -> None:
    """Called when a task of a run file is tokenised and cached.

    Args:
        task_name: the task.
        num_train: its training instances.
        reused: True where the cache was found and still fits.
    """


@hookspec
def after_tasks_loaded(tasks: tuple[TaskInfo, ...]) -> None:
    """Called once, when all tasks of a run are loaded.

    Args:
        tasks: the tasks, in the host's order.
    """


# --- phase 2: training, by the host (fine-tuning, trials and the final run) ----------------------


@hookspec
def before_training(plan: TrainingPlan) -> None:
    """Called before each training run of the host.

    Args:
        plan: what will be trained, and why.
    """


@hookspec
def after_train_step(plan: TrainingPlan, step: TrainStep) -> None:
    """Called after each optimiser step of the host.

    Args:
        plan: the run the step belongs to.
        step: the step.
    """


@hookspec
def after_training(plan: TrainingPlan, result: TrainingResult) -> None:
    """Called after each training run that ended well.

    Args:
        plan: what was trained.
        result: what it came to.
    """


@hookspec
def on_training_error(plan: TrainingPlan, error: BaseException) -> None:
    """Called when a training run raised, before the error goes on its way.

    Args:
        plan: what was being trained.
        error: what was raised.
    """


# --- phase 3: probing ---------------------------------------------------------------------------


@hookspec
def extend_head_importance_measures() -> Sequence[Measure]:  # type: ignore[empty-body]
    """Called when settings are validated, to add head importance measures by name.

    Returns:
        The measures; each has the name that `probing.importance` chooses it by.
    """


@hookspec
def before_task_probed(task_name: str, seed: int, num_instances: int) -> None:
    """Called before a fine-tuned task is probed.

    Args:
        task_name: the task.
        seed: its fine-tuning seed.
        num_instances: how many instances will be probed.
    """


@hookspec
def after_batch_probed(task_name: str, seed: int, num_done: int, num_instances: int) -> None:
    """Called after each probed batch.

    Args:
        task_name: the task.
        seed: its fine-tuning seed.
        num_done: instances probed so far.
        num_instances: how many will be probed.
    """


@hookspec
def after_task_probed(task_name: str, seed: int, num_instances: int, reused: bool) -> None:
    """Called when the importances of a task are in the store.

    Args:
        task_name: the task.
        seed: its fine-tuning seed.
        num_instances: how many instances are in the record.
        reused: True where they were found stored and nothing was computed.
    """


@hookspec
def on_probing_error(task_name: str, seed: int, error: BaseException) -> None:
    """Called when fine-tuning or probing a task raised, before the error goes on its way.

    Args:
        task_name: the task.
        seed: its fine-tuning seed.
        error: what was raised.
    """


# --- phase 4: selection -------------------------------------------------------------------------


@hookspec
def extend_correlations() -> Mapping[str, Correlation]:  # type: ignore[empty-body]
    """Called when settings are validated, to add correlations by name.

    Returns:
        Correlation name (the `correlation` setting) -> correlation.
    """


@hookspec
def extend_rankers() -> Sequence[Ranker[Any]]:  # type: ignore[empty-body]
    """Called when settings are validated, to add other ways of ranking candidates by name.

    Returns:
        The rankers; each has the name that `ranking.ranker` chooses it by, and settings of its own.
    """


@hookspec
def after_candidates_ranked(ranking: Ranking) -> None:
    """Called when the candidates are ranked.

    Args:
        ranking: the candidates, best first, with confidence intervals.
    """


@hookspec
def extend_selection_methods() -> Sequence[Method[Any]]:  # type: ignore[empty-body]
    """Called when settings are validated, to add selection methods by name.

    Returns:
        The methods; each has the name that `method` chooses it by, and settings of its own.
    """


@hookspec
def before_trial(primary_task: str, auxiliary_tasks: tuple[str, ...]) -> None:
    """Called before the primary is trained with some auxiliaries to be scored.

    Args:
        primary_task: the task that is scored.
        auxiliary_tasks: what it is trained with.
    """


@hookspec
def after_trial(primary_task: str, trial: Trial) -> None:
    """Called after each trial, run or reused.

    Args:
        primary_task: the task that was scored.
        trial: scores and cost.
    """


@hookspec
def after_round(round_of_search: Round) -> None:
    """Called after each round of trials of a method that searches in rounds.

    Args:
        round_of_search: what is known so far: effects, the best set, trainings used.
    """


@hookspec
def after_tasks_selected(selection: Selection) -> None:
    """Called when the selection is known.

    Args:
        selection: auxiliaries, kept instances and the reason.
    """


@hookspec(firstresult=True)
def rewrite_config(config: HostConfig, selection: Selection, output_dir: Path) -> HostConfig | None:
    """Called to turn the host's configuration into one that trains the selection.

    Args:
        config: the host's configuration; it must not be changed.
        selection: what to train.
        output_dir: where filtered data may be written.

    Returns:
        The new configuration, or None to leave it to others.
    """


@hookspec
def after_config_rewritten(path: Path) -> None:
    """Called when the new configuration is on disk.

    Args:
        path: where it lies.
    """


@hookspec
def after_result_written(outcome: Outcome) -> None:
    """Called when the result is on disk: once it is selected, and again once that is trained.

    Args:
        outcome: selection, scores, gain and cost, as far as they are known.
    """


@hookspec
def on_selection_error(primary_task: str, error: BaseException) -> None:
    """Called when ranking, selecting or rewriting raised, before the error goes on its way.

    Args:
        primary_task: the task auxiliaries were sought for.
        error: what was raised.
    """
