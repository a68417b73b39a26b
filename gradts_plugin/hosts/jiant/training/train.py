"""Training through jiant's own runner: one task before its probe, trials, and the final run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.container import (
    ContainerConfig,
    restrict_container_config,
    specified_sampler,
)
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches, mended
from gradts_plugin.hosts.jiant.saving import save_whole
from gradts_plugin.hosts.jiant.training.evaluation import (
    Evaluation,
    best_evaluation,
    evaluate_dev,
    evaluate_test,
)
from gradts_plugin.hosts.jiant.training.observing import StepObserver
from gradts_plugin.hosts.jiant.training.recipe import (
    OwnSettings,
    evaluation_steps,
    global_train_config,
)
from gradts_plugin.hosts.jiant.training.runner import set_up_runner
from gradts_plugin.hosts.jiant.training.scheduled import ScheduledRun
from gradts_plugin.hosts.jiant.training.starts import FirstPart
from gradts_plugin.protocols import Schedule
from gradts_plugin.records import Recipe, TrainingPlan, TrainingResult

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.components import container_setup
from jiant.utils import torch_utils

#: Fine-tuning scores this many dev examples, only to say whether anything was learned.
QUICK_DEV_EXAMPLES = 256

#: A training's kept weights inside its output folder, in jiant's format and under its name.
WEIGHTS_FILE = "best_model.p"

#: The result of a model that is not trained, or not yet.
NOTHING = TrainingResult(None, {}, (), 0, 0, 0.0, None)


@dataclass
class TrainedRun:
    """A finished training with its model still in memory."""

    runner: Any
    result: TrainingResult


def train(
    container_config: ContainerConfig,
    plan: TrainingPlan,
    arguments: HostArguments,
    *,
    switches: FaultSwitches,
    observe: StepObserver,
    output_dir: Path | None,
    schedule: Schedule | None = None,
    after_step: Callable[[TrainedRun, int], None] = lambda *_: None,
    first_part_of: Callable[[Any], FirstPart | None] = lambda _: None,
) -> TrainedRun:
    """Trains from the pretrained weights through jiant's runner.

    Args:
        container_config: jiant's task-container config (already with filtered caches, if any).
        plan: what to train. Fine-tuning keeps the last weights (as published) and scores the first
            dev examples once; everything else scores the whole dev set at each evaluation and
            keeps the weights of the best one (see `best_evaluation`).
        arguments: jiant's command-line arguments.
        switches: which host faults are mended.
        observe: told of every step.
        output_dir: where the weights are written (`WEIGHTS_FILE`, jiant's format); None: nowhere.
        schedule: decides the task of each step in the sampler's place.
        after_step: given the run as it is, without a result, after every step.
        first_part_of: given the runner; what keeps the steps before a last task's, if anything.

    Returns:
        The runner with the trained model, and the result.

    Raises:
        TrainingError: a NaN or infinite loss.
    """
    start = time.perf_counter()
    recipe, primary = plan.recipe, plan.primary_task
    own = OwnSettings.of(recipe)
    with mended(
        seed=plan.seed,
        switches=switches,
        clip_once_per_step=own.clip_once_per_step,
        task_steps=recipe.task_steps,
        last_task=recipe.last_task,
    ):
        # Inside the mends: the container makes the task sampler, which draws from the seed.
        container = _make_container(container_config, recipe, plan.train_tasks)
        if plan.purpose == "fine-tuning":
            container.task_specific_configs[primary].eval_subset_num = QUICK_DEV_EXAMPLES
        runner = set_up_runner(container, recipe, arguments, plan.seed, observe)
        evaluations = _Evaluations(runner, plan)
        scheduled: ScheduledRun | None = None
        first_part: FirstPart | None = None
        if schedule is None:
            first_part = first_part_of(runner)
            if first_part is None:
                states = runner.run_train_context(verbose=False)
            else:
                states, seconds_before = first_part.begin()
                start -= seconds_before
            evaluations.caches = container_config["task_cache_config_dict"][primary]
            evaluations.keep_weights = output_dir is not None
        else:
            scheduled = ScheduledRun(
                runner, schedule, output_dir if switches.exact_resume else None
            )
            states, evaluations.history, seconds_before = scheduled.begin()
            start -= seconds_before
            output_dir = None  # its weights are of no use: what it selects is trained anew
        at_steps = evaluation_steps(recipe)
        for state in states:
            if first_part is not None:
                first_part.after_step(state)
            after_step(TrainedRun(runner, NOTHING), state.global_steps)
            if state.global_steps in at_steps:
                evaluations.add()
                if scheduled is not None:
                    scheduled.after_round(state, evaluations.history)
    if output_dir is not None:
        save_whole(evaluations.weights, output_dir / WEIGHTS_FILE)
    best = best_evaluation(evaluations.history)
    result = TrainingResult(
        score=best.score,
        metrics=best.metrics,
        history=tuple(found.score for found in evaluations.history),
        num_steps=state.global_steps,
        num_examples=sum(
            count * recipe.batches[name].per_step for name, count in state.task_steps.items()
        ),
        seconds=time.perf_counter() - start,
        output_dir=output_dir,
        scheduler_state=None if schedule is None else schedule.scheduler.state(),
        predictions=best.predictions,
        found_steps=0 if first_part is None else first_part.found_steps,
    )
    return TrainedRun(runner=runner, result=result)


@dataclass
class _Evaluations:
    """The evaluations of a training, and the weights of the best one.

    Attributes:
        runner: jiant's.
        plan: what is trained.
        caches: of the primary; its test set is scored where they hold a labelled one.
        keep_weights: the weights are wanted.
        history: all evaluations so far.
        weights: those of the best one.
    """

    runner: Any
    plan: TrainingPlan
    caches: Mapping[str, str] = field(default_factory=dict)
    keep_weights: bool = False
    history: list[Evaluation] = field(default_factory=list)
    weights: Mapping[str, Tensor] | None = None

    def add(self) -> None:
        """Evaluates the model as it is now."""
        self.history.append(_evaluate(self.runner, self.plan, self.caches))
        if self.keep_weights and best_evaluation(self.history) is self.history[-1]:
            self.weights = torch_utils.copy_state_dict(
                torch_utils.get_model_for_saving(self.runner.jiant_model).state_dict(),
                target_device=torch_utils.CPU_DEVICE,
            )


def _evaluate(runner: Any, plan: TrainingPlan, caches: Mapping[str, str]) -> Evaluation:
    """Scores the primary's dev set, and its test set where the caches hold a labelled one."""
    if plan.purpose == "fine-tuning":
        return evaluate_dev(runner, plan.primary_task, whole_dev_set=False)
    found = evaluate_dev(runner, plan.primary_task, whole_dev_set=True)
    if "test_labels" not in caches:
        return found
    return evaluate_test(runner, plan.primary_task, caches, found)


def set_up(
    container_config: ContainerConfig,
    recipe: Recipe,
    arguments: HostArguments,
    *,
    train_tasks: Sequence[str],
    seed: int,
    switches: FaultSwitches,
) -> TrainedRun:
    """The pretrained encoder with fresh heads, and nothing trained yet; arguments as in `train`."""
    with mended(seed=seed, switches=switches):
        container = _make_container(container_config, recipe, train_tasks)
        runner = set_up_runner(container, recipe, arguments, seed, lambda _: None)
    return TrainedRun(runner=runner, result=NOTHING)


def _make_container(
    container_config: ContainerConfig,
    recipe: Recipe,
    train_tasks: Sequence[str],
) -> Any:
    """jiant's container over tasks, the primary first: the only one that is scored."""
    config = restrict_container_config(
        container_config, train_tasks=train_tasks, scored_tasks=train_tasks[:1]
    )
    config["global_train_config"] = global_train_config(recipe)
    if recipe.mixing_ratios and not recipe.task_steps:
        config["sampler_config"] = specified_sampler(recipe.mixing_ratios)
    for name, sizes in recipe.batches.items():
        config["task_specific_configs_dict"][name].update(vars(sizes))
    return container_setup.create_jiant_task_container_from_dict(config, verbose=False)
