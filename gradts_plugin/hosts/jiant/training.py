"""Training through jiant's own runner: one task before its probe, trials, and the final run."""

from __future__ import annotations

import contextlib
import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradts_plugin.errors import ConfigError, HostError, TrainingError, nearest
from gradts_plugin.hosts.jiant import faults
from gradts_plugin.hosts.jiant.compat import apply_mends, keep_zero_gradients
from gradts_plugin.protocols import Schedule
from gradts_plugin.records import TEST_SCORE, Purpose, TrainingResult, TrainStep
from gradts_plugin.settings.training import TrainingSettings

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
import jiant.proj.main.runner as jiant_runner
import transformers
from jiant.proj.main import runscript
from jiant.proj.main.components import container_setup, task_sampler
from jiant.shared import caching, initialization, model_setup
from jiant.utils import torch_utils
from jiant.utils.zlog import BaseZLogger

#: Fine-tuning scores this many dev examples, only to say whether anything was learned.
QUICK_DEV_EXAMPLES = 256

#: The container's sampler that a recipe need not name: that of every run file.
_PROPORTIONAL = {"sampler_type": "ProportionalMultiTaskSampler"}

#: A scheduled run is saved between rounds, but not more often than this.
CHECKPOINT_SECONDS = 60.0

#: Told of every optimiser step.
StepObserver = Callable[[TrainStep], None]


@dataclass(frozen=True)
class HostArguments:
    """jiant's own command-line arguments that a run starts from.

    Attributes:
        hf_pretrained_model_name_or_path: hub name or folder of architecture and tokenizer.
        model_path: weights that jiant exported (`model.p`).
        model_config_path: architecture that jiant exported; jiant 2.2.0 itself ignores it.
        model_load_mode: how jiant loads `model_path`.
        learning_rate: used where the settings give none.
        max_grad_norm: used where the settings give none.
        no_cuda: train on the CPU even where CUDA is available.
    """

    hf_pretrained_model_name_or_path: str
    model_path: str
    model_config_path: str | None = None
    model_load_mode: str = "from_transformers"
    learning_rate: float = 1e-5
    max_grad_norm: float = 1.0
    no_cuda: bool = False

    def with_paths(self, shown: Callable[[Path], str]) -> HostArguments:
        """The same arguments with every path written as `shown` writes it."""
        paths: dict[str, Any] = {
            name: shown(Path(value))
            for name in ("hf_pretrained_model_name_or_path", "model_path", "model_config_path")
            if (value := getattr(self, name)) and Path(value).exists()
        }
        return replace(self, **paths)


@dataclass(frozen=True)
class FaultSwitches:
    """Which of the host's faults are mended (see `faults.mended`)."""

    seeded_sampler: bool = True
    reshuffle_epochs: bool = True
    trim_batches: bool = True
    exact_resume: bool = True


def resolve_recipe(
    settings: TrainingSettings,
    container_config: Mapping[str, Any],
    arguments: HostArguments,
    train_tasks: Sequence[str],
    num_train: Mapping[str, int],
) -> dict[str, Any]:
    """Fills what the settings leave to the host.

    Args:
        settings: training settings.
        container_config: jiant's task-container config.
        arguments: jiant's command-line arguments.
        train_tasks: tasks of the run.
        num_train: training instances per task.

    Returns:
        Plain JSON values that describe the training completely.

    Raises:
        ConfigError: neither the settings nor the container config say how long to train.
    """
    sizes = {}
    for name in train_tasks:
        own = container_config["task_specific_configs_dict"][name]
        accumulation = settings.gradient_accumulation_steps or own["gradient_accumulation_steps"]
        sizes[name] = {
            "train_batch_size": settings.batch_size or own["train_batch_size"],
            "gradient_accumulation_steps": accumulation,
        }
    steps_per_epoch = sum(
        math.ceil(
            num_train[name] / (size["train_batch_size"] * size["gradient_accumulation_steps"])
        )
        for name, size in sizes.items()
    )
    own_train = container_config["global_train_config"]
    if settings.epochs is not None:
        max_steps = max(1, round(settings.epochs * steps_per_epoch))
    elif settings.max_steps is not None:
        max_steps = settings.max_steps
    else:
        max_steps = own_train["max_steps"]
    if max_steps is None or max_steps <= 0:
        raise ConfigError(
            f"global_train_config.max_steps is {max_steps!r}: give training.epochs or "
            f"training.max_steps"
        )
    if settings.warmup_proportion is not None:
        warmup_steps = round(settings.warmup_proportion * max_steps)
    elif settings.epochs is None and settings.max_steps is None:
        warmup_steps = own_train["warmup_steps"]
    else:
        warmup_steps = round(0.1 * max_steps)
    sampler: str | dict[str, Any] = settings.sampler
    own_sampler = restrict_sampler_config(container_config["sampler_config"], train_tasks)
    if sampler == "host" and len(train_tasks) > 1 and own_sampler != _PROPORTIONAL:
        sampler = own_sampler  # another sampler gives another run
    return {
        "max_steps": max_steps,
        "warmup_steps": warmup_steps,
        "steps_per_epoch": steps_per_epoch,
        "batches": sizes,
        "learning_rate": settings.learning_rate or arguments.learning_rate,
        "optimizer": settings.optimizer,
        "max_grad_norm": settings.max_grad_norm or arguments.max_grad_norm,
        "clip_once_per_step": settings.clip_once_per_step,
        "sampler": sampler,
        "evaluations": settings.evaluations or max(1, math.ceil(settings.epochs or 1)),
        "precision": resolve_precision(settings.precision, no_cuda=arguments.no_cuda),
    }


def resolve_precision(precision: str, *, no_cuda: bool) -> str:
    """fp32 or bf16: `auto` is bf16 only where the device computes in it."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available() and not no_cuda:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch has no public question for this; without these instructions bf16 is emulated, slowly.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16" if any(getattr(torch.cpu, name, bool)() for name in questions) else "fp32"


def restrict_container_config(
    container_config: Mapping[str, Any],
    *,
    train_tasks: Sequence[str],
    scored_tasks: Sequence[str],
) -> dict[str, Any]:
    """Narrows a task-container config to some tasks.

    Args:
        container_config: jiant's config; it is not changed.
        train_tasks: tasks to train on.
        scored_tasks: tasks whose dev set is scored.

    Returns:
        A new config in which only these tasks have a head, a sampler entry and a place in the
        run lists.
    """
    config = copy.deepcopy(dict(container_config))
    known = list(dict.fromkeys([*train_tasks, *scored_tasks]))
    heads = config["taskmodels_config"]["task_to_taskmodel_map"]
    config["taskmodels_config"]["task_to_taskmodel_map"] = {name: heads[name] for name in known}
    config["task_run_config"] = {
        "train_task_list": list(train_tasks),
        "train_val_task_list": list(scored_tasks),
        "val_task_list": list(scored_tasks),
        "test_task_list": [],
    }
    for key in ("task_config_path_dict", "task_cache_config_dict", "task_specific_configs_dict"):
        config[key] = {name: config[key][name] for name in known}
    config["sampler_config"] = restrict_sampler_config(config["sampler_config"], train_tasks)
    config["metric_aggregator_config"] = {"metric_aggregator_type": "EqualMetricAggregator"}
    return config


def restrict_sampler_config(
    sampler_config: Mapping[str, Any], train_tasks: Sequence[str]
) -> dict[str, Any]:
    """Narrows a sampler config to the tasks that are trained; jiant demands equal keys.

    Raises:
        ConfigError: a task has no probability.
    """
    restricted = copy.deepcopy(dict(sampler_config))
    for key in ("task_to_unweighted_probs", "task_to_unnormalized_prob_funcs_dict"):
        if key in restricted:
            for name in train_tasks:
                if name not in restricted[key]:
                    raise ConfigError(
                        f"sampler_config.{key} has no entry for task {name!r}; "
                        f"{nearest(name, restricted[key])}"
                    )
            restricted[key] = {name: restricted[key][name] for name in train_tasks}
    return restricted


def specified_sampler(mixing_ratios: Mapping[str, int]) -> dict[str, Any]:
    """jiant's sampler config that trains each task as often as its ratio says."""
    return {
        "sampler_type": "SpecifiedProbMultiTaskSampler",
        "task_to_unweighted_probs": dict(mixing_ratios),
    }


class EpochTaskSampler(task_sampler.BaseMultiTaskSampler):  # type: ignore[misc]
    """Every batch of every task once per epoch, in random task order (MT-DNN's schedule)."""

    def __init__(self, task_dict: Mapping[str, Any], rng: int, steps: Mapping[str, int]) -> None:
        super().__init__(task_dict=task_dict, rng=rng)
        self._steps = dict(steps)
        self._upcoming: list[str] = []

    def pop(self) -> tuple[str, Any]:
        """Returns the next step's task."""
        if not self._upcoming:
            epoch = [name for name, count in self._steps.items() for _ in range(count)]
            self._upcoming = [str(name) for name in self.rng.permutation(epoch)]
        name = self._upcoming.pop()
        return name, self.task_dict[name]


class BlockTaskSampler(task_sampler.BaseMultiTaskSampler):  # type: ignore[misc]
    """Every task in a block of its own, in turn, as long as its mixing ratio says.

    The authors of GradTS trained AUTOSEM's mixtures so: ratios 2 and 1 are 2 * block_steps steps
    of the first task and block_steps of the second, over and over.
    """

    def __init__(
        self, task_dict: Mapping[str, Any], mixing_ratios: Mapping[str, int], block_steps: int
    ) -> None:
        super().__init__(task_dict=task_dict, rng=0)  # it draws nothing
        self._cycle = [name for name in task_dict for _ in range(mixing_ratios[name] * block_steps)]
        self._step = 0

    def pop(self) -> tuple[str, Any]:
        """Returns the next step's task."""
        name = self._cycle[self._step % len(self._cycle)]
        self._step += 1
        return name, self.task_dict[name]


class ScheduledTaskSampler(task_sampler.BaseMultiTaskSampler):  # type: ignore[misc]
    """Asks a scheduler for the task of each round of steps (AUTOSEM's first stage)."""

    def __init__(self, task_dict: Mapping[str, Any], schedule: Schedule) -> None:
        super().__init__(task_dict=task_dict, rng=0)  # it draws nothing; the scheduler does
        self._schedule = schedule
        self._task_name = ""
        self._left = 0

    def pop(self) -> tuple[str, Any]:
        """Returns the next step's task."""
        if not self._left:
            self._task_name = self._schedule.scheduler.next_task()
            self._left = self._schedule.steps_per_round
        self._left -= 1
        return self._task_name, self.task_dict[self._task_name]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as plain values."""
        return {
            "task_name": self._task_name,
            "left": self._left,
            "scheduler": self._schedule.scheduler.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on where a checkpoint was taken."""
        self._task_name, self._left = state["task_name"], state["left"]
        self._schedule.scheduler.restore(state["scheduler"])


class _Scheduled:
    """A run in which a scheduler picks the tasks; saved between rounds, in jiant's own format."""

    def __init__(self, runner: Any, schedule: Schedule, output_dir: Path | None) -> None:
        self._runner = runner
        self._schedule = schedule
        self._path = None if output_dir is None else output_dir / "checkpoint.p"
        self._num_steps = runner.jiant_task_container.global_train_config.max_steps
        self._saved_at = self._begun_at = time.perf_counter()
        self._seconds_before = 0.0

    def begin(self) -> tuple[Iterator[Any], list[Any], float]:
        """Starts the run, or goes on after its last saved round.

        Returns:
            (jiant's training states, one a step; the dev scores so far; seconds spent so far).
        """
        container = self._runner.jiant_task_container
        container.task_sampler = ScheduledTaskSampler(container.task_dict, self._schedule)
        if self._path is None or not self._path.exists():
            return self._runner.run_train_context(verbose=False), [], 0.0
        try:
            # Our own file, like jiant's: it holds numpy's random state, which is no tensor.
            saved = torch.load(self._path, weights_only=False)
            runner_state, train_state = saved["runner"], saved["train_state"]
            history, self._seconds_before = saved["history"], saved["seconds"]
        except Exception as error:  # a damaged file can raise nearly anything
            raise HostError(
                f"the checkpoint {self._path} is damaged; remove it and the run starts anew"
            ) from error
        self._runner.load_state(runner_state)
        states = self._runner.resume_train_context(train_state, verbose=False)
        return states, history, self._seconds_before

    def after_round(self, train_state: Any, history: Sequence[Any]) -> None:
        """Tells the scheduler of a round, and saves unless that was done a short while ago."""
        self._schedule.scheduler.observe(history[-1][0])
        if self._path is None:
            return
        if train_state.global_steps == self._num_steps:
            self._path.unlink(missing_ok=True)
        elif time.perf_counter() - self._saved_at >= CHECKPOINT_SECONDS:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            values = {
                "runner": self._runner.get_runner_state(),
                "train_state": train_state,
                "history": list(history),
                "seconds": self._seconds_before + time.perf_counter() - self._begun_at,
            }
            torch_utils.safe_save(values, str(self._path))
            self._saved_at = time.perf_counter()


class _ObservingLog(BaseZLogger):  # type: ignore[misc]
    """jiant's log writer, with an ear: refuses broken losses and tells of each step."""

    def __init__(self, inner: Any, num_steps: int, observe: StepObserver) -> None:
        self._inner = inner
        self._num_steps = num_steps
        self._observe = observe

    def log_context(self) -> Any:
        return self._inner.log_context()

    def write_entry(self, key: str, entry: Any, do_print: bool = False) -> None:  # noqa: ARG002
        if key == "loss_train":
            task_name = str(entry["task"])  # drawn from a numpy array
            if not math.isfinite(entry["loss_val"]):
                raise TrainingError(
                    f"task {task_name!r}: the loss is {entry['loss_val']} at step "
                    f"{entry['global_step']}; a lower learning rate or fp32 usually mends it"
                )
            self._observe(
                TrainStep(
                    task_name=task_name,
                    global_step=entry["global_step"],
                    num_steps=self._num_steps,
                    loss=float(entry["loss_val"]),
                )
            )
        self._inner.write_entry(key, entry)

    def write_obj(self, key: str, obj: Any, entry: Any) -> None:
        self._inner.write_obj(key, obj, entry)

    def flush(self, *arguments: Any) -> None:
        self._inner.flush(*arguments)


class _QuietLog(BaseZLogger):  # type: ignore[misc]
    """Keeps nothing: the hooks are told of every step instead."""

    def log_context(self) -> Any:
        return contextlib.nullcontext(self)

    def write_entry(self, key: str, entry: Any, do_print: bool = False) -> None:
        pass

    def flush(self, *arguments: Any) -> None:
        pass


class ObservedRunner(jiant_runner.JiantRunner):  # type: ignore[misc]
    """jiant's runner; tells of each step, refuses broken losses, can run under bf16 autocast."""

    def __init__(
        self, *, observe: StepObserver | None = None, precision: str = "fp32", **own: Any
    ) -> None:
        if observe is not None:
            num_steps = own["jiant_task_container"].global_train_config.max_steps
            own["log_writer"] = _ObservingLog(own["log_writer"], num_steps, observe)
        super().__init__(**own)
        self._precision = precision
        if precision == "bf16":
            # jiant turns logits into numpy arrays, which know no bf16.
            self.jiant_model.register_forward_hook(_logits_to_float)

    def run_train_step(self, *arguments: Any, **keywords: Any) -> None:
        """One optimiser step. Autocast is left after each step: its weight casts go stale."""
        with autocast(self.device, self._precision):
            super().run_train_step(*arguments, **keywords)

    def run_val(self, *arguments: Any, **keywords: Any) -> Any:
        """Scores dev sets."""
        with autocast(self.device, self._precision):
            return super().run_val(*arguments, **keywords)


def _logits_to_float(_module: Any, _inputs: Any, output: dict[str, Any]) -> dict[str, Any]:
    return {**output, "logits": output["logits"].float()}


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast on the device, or nothing for fp32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@dataclass
class TrainedRun:
    """A finished training with its model still in memory."""

    runner: Any
    result: TrainingResult


def train(
    container_config: Mapping[str, Any],
    recipe: Mapping[str, Any],
    arguments: HostArguments,
    *,
    purpose: Purpose,
    train_tasks: Sequence[str],
    primary_task: str,
    seed: int,
    switches: FaultSwitches,
    observe: StepObserver,
    output_dir: Path | None,
    schedule: Schedule | None = None,
) -> TrainedRun:
    """Trains from the pretrained weights through jiant's runner.

    Args:
        container_config: jiant's task-container config (already with filtered caches, if any).
        recipe: what `resolve_recipe` returned.
        arguments: jiant's command-line arguments.
        purpose: fine-tuning keeps the last weights (as published) and scores the first dev
            examples once; everything else scores the whole dev set at each evaluation and keeps
            the best weights.
        train_tasks: tasks to train on.
        primary_task: the task whose dev set is scored.
        seed: seeds heads, dropout, data order and task order.
        switches: which host faults are mended.
        observe: told of every step.
        output_dir: where the weights are written (`best_model.p`, jiant's format); None: nowhere.
        schedule: decides the task of each step in the sampler's place.

    Returns:
        The runner with the trained model, and the result.

    Raises:
        TrainingError: a NaN or infinite loss.
    """
    start = time.perf_counter()
    whole_dev_set = purpose != "fine-tuning"
    with faults.mended(
        seed=seed,
        seeded_sampler=switches.seeded_sampler,
        reshuffle_epochs=switches.reshuffle_epochs,
        trim_batches=switches.trim_batches,
        exact_resume=switches.exact_resume,
        clip_once_per_step=recipe["clip_once_per_step"],
    ):
        # Inside the mends: the container makes the task sampler, which draws from the seed.
        container = _make_container(container_config, recipe, train_tasks, primary_task)
        if not whole_dev_set:
            container.task_specific_configs[primary_task].eval_subset_num = QUICK_DEV_EXAMPLES
        runner = _set_up_runner(container, recipe, arguments, seed, observe)
        folders = container_config["task_cache_config_dict"][primary_task]
        history: list[tuple[float, dict[str, float]]] = []
        best_weights: dict[str, Any] | None = None
        at_steps = (
            {recipe["max_steps"]}
            if purpose == "fine-tuning"
            else evaluation_steps(recipe["max_steps"], recipe["evaluations"])
        )
        states = runner.run_train_context(verbose=False)
        scheduled: _Scheduled | None = None
        if schedule is not None:
            scheduled = _Scheduled(runner, schedule, output_dir if switches.exact_resume else None)
            states, history, seconds_before = scheduled.begin()
            start -= seconds_before
            output_dir = None  # its weights are of no use: what it selects is trained anew
        for state in states:
            if state.global_steps not in at_steps:
                continue
            scored = _score(runner, primary_task, whole_dev_set=whole_dev_set)
            if schedule is None and whole_dev_set and "test_labels" in folders:
                scored[1][TEST_SCORE] = _score_test(runner, primary_task, folders)
            if output_dir is not None and all(scored[0] > score for score, _ in history):
                best_weights = torch_utils.copy_state_dict(
                    torch_utils.get_model_for_saving(runner.jiant_model).state_dict(),
                    target_device=torch_utils.CPU_DEVICE,
                )
            history.append(scored)
            if scheduled is not None:
                scheduled.after_round(state, history)
    best = max(range(len(history)), key=lambda index: history[index][0])
    if output_dir is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
        torch_utils.safe_save(best_weights, str(output_dir / "best_model.p"))
    batches = recipe["batches"]
    counts = state.task_steps
    result = TrainingResult(
        score=history[best][0],
        metrics=history[best][1],
        history=tuple(score for score, _ in history),
        num_steps=state.global_steps,
        num_examples=sum(
            counts[name]
            * batches[name]["train_batch_size"]
            * batches[name]["gradient_accumulation_steps"]
            for name in counts
        ),
        seconds=time.perf_counter() - start,
        output_dir=output_dir,
        scheduler_state=None if schedule is None else schedule.scheduler.state(),
    )
    return TrainedRun(runner=runner, result=result)


def set_up(
    container_config: Mapping[str, Any],
    recipe: Mapping[str, Any],
    arguments: HostArguments,
    *,
    train_tasks: Sequence[str],
    seed: int,
    switches: FaultSwitches,
) -> TrainedRun:
    """The pretrained encoder with fresh heads, and nothing trained yet; arguments as in `train`."""
    with faults.mended(seed=seed, seeded_sampler=switches.seeded_sampler):
        container = _make_container(container_config, recipe, train_tasks, train_tasks[0])
        runner = _set_up_runner(container, recipe, arguments, seed, lambda _: None)
    return TrainedRun(
        runner=runner,
        result=TrainingResult(
            score=math.nan,
            metrics={},
            history=(),
            num_steps=0,
            num_examples=0,
            seconds=0.0,
            output_dir=None,
        ),
    )


def evaluation_steps(max_steps: int, evaluations: int) -> set[int]:
    """Steps after which the dev set is scored: evenly spread, the last step included."""
    return {max(1, round(max_steps * index / evaluations)) for index in range(1, evaluations + 1)}


def _make_container(
    container_config: Mapping[str, Any],
    recipe: Mapping[str, Any],
    train_tasks: Sequence[str],
    primary_task: str,
) -> Any:
    config = restrict_container_config(
        container_config, train_tasks=train_tasks, scored_tasks=[primary_task]
    )
    config["global_train_config"] = {
        "max_steps": recipe["max_steps"],
        "warmup_steps": recipe["warmup_steps"],
    }
    if recipe.get("mixing_ratios"):
        config["sampler_config"] = specified_sampler(recipe["mixing_ratios"])
    for name, sizes in recipe["batches"].items():
        config["task_specific_configs_dict"][name].update(sizes)
    return container_setup.create_jiant_task_container_from_dict(config, verbose=False)


def _set_up_runner(
    container: Any,
    recipe: Mapping[str, Any],
    arguments: HostArguments,
    seed: int,
    observe: StepObserver,
) -> ObservedRunner:
    device, n_gpu = initialization.init_cuda_from_args(
        no_cuda=arguments.no_cuda, local_rank=-1, fp16=False, verbose=False
    )
    if arguments.no_cuda:
        n_gpu = 0
    initialization.init_seed(given_seed=seed, n_gpu=n_gpu, verbose=False)
    run_arguments = runscript.RunConfiguration(
        jiant_task_container_config_path="",
        output_dir="",
        hf_pretrained_model_name_or_path=arguments.hf_pretrained_model_name_or_path,
        model_path=arguments.model_path,
        model_config_path=arguments.model_config_path,
        model_load_mode=arguments.model_load_mode,
        learning_rate=recipe["learning_rate"],
        max_grad_norm=recipe["max_grad_norm"],
        optimizer_type="radam" if recipe["optimizer"] == "radam" else "adam",
        no_cuda=arguments.no_cuda,
        seed=seed,
    )
    runner = runscript.setup_runner(
        args=run_arguments,
        jiant_task_container=container,
        quick_init_out=initialization.QuickInitContainer(
            device=device, n_gpu=n_gpu, log_writer=_QuietLog()
        ),
        verbose=False,
    )
    if recipe["optimizer"] == "adamax":
        runner.optimizer_scheduler = _with_adamax(runner.optimizer_scheduler, recipe)
    if recipe.get("block_steps"):
        container.task_sampler = BlockTaskSampler(
            container.task_dict, recipe["mixing_ratios"], recipe["block_steps"]
        )
    elif recipe["sampler"] == "epoch" and not recipe.get("mixing_ratios"):
        container.task_sampler = _epoch_sampler(container, recipe, seed)
    return ObservedRunner(
        jiant_task_container=container,
        jiant_model=runner.jiant_model,
        optimizer_scheduler=runner.optimizer_scheduler,
        device=runner.device,
        rparams=runner.rparams,
        log_writer=runner.log_writer,
        observe=observe,
        precision=recipe["precision"],
    )


def _with_adamax(optimizer_scheduler: Any, recipe: Mapping[str, Any]) -> Any:
    """jiant's parameter groups and schedule, under Adamax."""
    groups = [
        {"params": group["params"], "weight_decay": group["weight_decay"]}
        for group in optimizer_scheduler.optimizer.param_groups
        if group["params"]
    ]
    optimizer = keep_zero_gradients(torch.optim.Adamax(groups, lr=recipe["learning_rate"]))
    scheduler = transformers.get_linear_schedule_with_warmup(  # type: ignore[no-untyped-call]
        optimizer,
        num_warmup_steps=recipe["warmup_steps"],
        num_training_steps=recipe["max_steps"],
    )
    return model_setup.OptimizerScheduler(optimizer=optimizer, scheduler=scheduler)


def _epoch_sampler(container: Any, recipe: Mapping[str, Any], seed: int) -> EpochTaskSampler:
    steps = {}
    for name in container.task_run_config.train_task_list:
        sizes = recipe["batches"][name]
        per_step = sizes["train_batch_size"] * sizes["gradient_accumulation_steps"]
        steps[name] = math.ceil(len(container.task_cache_dict[name]["train"]) / per_step)
    task_dict = {name: container.task_dict[name] for name in steps}
    return EpochTaskSampler(task_dict=task_dict, rng=seed, steps=steps)


def _score(
    runner: ObservedRunner, task_name: str, *, whole_dev_set: bool
) -> tuple[float, dict[str, float]]:
    """The major dev metric of one task, and all of them."""
    results = runner.run_val([task_name], use_subset=not whole_dev_set, verbose=False)[task_name]
    metrics = {
        key: float(value) for key, value in results["metrics"].minor.items() if _is_number(value)
    }
    metrics["loss"] = float(results["loss"])
    return float(results["metrics"].major), metrics


def _score_test(runner: ObservedRunner, task_name: str, folders: Mapping[str, str]) -> float:
    """The major metric on the labelled test split, which is cached like a dev split."""
    container = runner.jiant_task_container
    caches = container.task_cache_dict[task_name]
    container.task_cache_dict[task_name] = {
        **caches,
        "val": caching.ChunkedFilesDataCache(folders["test"]),
        "val_labels": caching.ChunkedFilesDataCache(folders["test_labels"]),
    }
    try:
        return _score(runner, task_name, whole_dev_set=True)[0]
    finally:
        container.task_cache_dict[task_name] = caches


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating | np.integer)


@contextlib.contextmanager
def observed_host_runs(observe: StepObserver) -> Iterator[None]:
    """jiant's own `run_loop` builds runners that tell of their steps, for the duration."""
    original = jiant_runner.JiantRunner

    def make(**own: Any) -> ObservedRunner:
        return ObservedRunner(observe=observe, **own)

    jiant_runner.JiantRunner = make
    try:
        yield
    finally:
        jiant_runner.JiantRunner = original
