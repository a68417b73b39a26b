"""jiant's runner, observed and under autocast, and how it is set up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.mends.zero_gradients import keep_zero_gradients
from gradts_plugin.hosts.jiant.training.observing import ObservingLog, QuietLog, StepObserver
from gradts_plugin.hosts.jiant.training.recipe import OwnSettings, warmups_of_parts
from gradts_plugin.hosts.jiant.training.samplers import BlockTaskSampler, epoch_sampler
from gradts_plugin.records import Recipe

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
import jiant.proj.main.runner as jiant_runner
import transformers
from jiant.proj.main import runscript
from jiant.shared import initialization, model_setup


class ObservedRunner(jiant_runner.JiantRunner):  # type: ignore[misc]
    """jiant's runner; tells of each step, refuses broken losses, can run under bf16 autocast."""

    def __init__(
        self, *, observe: StepObserver | None = None, precision: str = "fp32", **own: Any
    ) -> None:
        if observe is not None:
            num_steps = own["jiant_task_container"].global_train_config.max_steps
            own["log_writer"] = ObservingLog(own["log_writer"], num_steps, observe)
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


def _logits_to_float(_module: Any, _inputs: Any, output: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**output, "logits": output["logits"].float()}


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[Any]:
    """bf16 autocast on the device, or nothing for fp32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def observed_host_runs(
    observe: StepObserver | None, recipe: Recipe | None, seed: int
) -> Iterator[None]:
    """jiant's own `run_loop` trains by a recipe and tells of its steps, for the duration.

    Args:
        observe: told of every step.
        recipe: what jiant's arguments cannot say is taken from it; None: nothing is.
        seed: of the task order.
    """
    original = jiant_runner.JiantRunner

    def make(**given: Any) -> ObservedRunner:
        if recipe is None:
            return ObservedRunner(observe=observe, **given)
        own = OwnSettings.of(recipe)
        container, scheduler = given["jiant_task_container"], given["optimizer_scheduler"]
        given["optimizer_scheduler"] = _by_recipe(container, scheduler, recipe, seed)
        return ObservedRunner(observe=observe, precision=own.precision, **given)

    jiant_runner.JiantRunner = make
    try:
        yield
    finally:
        jiant_runner.JiantRunner = original


def set_up_runner(
    container: Any,
    recipe: Recipe,
    arguments: HostArguments,
    seed: int,
    observe: StepObserver,
) -> ObservedRunner:
    """jiant's runner on a container, from the pretrained weights, with fresh heads."""
    own = OwnSettings.of(recipe)
    runner = _own_runner(container, own, arguments, seed)
    return ObservedRunner(
        jiant_task_container=container,
        jiant_model=runner.jiant_model,
        optimizer_scheduler=_by_recipe(container, runner.optimizer_scheduler, recipe, seed),
        device=runner.device,
        rparams=runner.rparams,
        log_writer=runner.log_writer,
        observe=observe,
        precision=own.precision,
    )


def _by_recipe(container: Any, optimizer_scheduler: Any, recipe: Recipe, seed: int) -> Any:
    """Gives a container the recipe's task order, and returns the recipe's optimizer."""
    own = OwnSettings.of(recipe)
    if recipe.block_steps:
        container.task_sampler = BlockTaskSampler(
            container.task_dict, recipe.mixing_ratios, recipe.block_steps
        )
    elif own.sampler == "epoch" and not recipe.mixing_ratios and not recipe.task_steps:
        container.task_sampler = epoch_sampler(container, recipe.batches, seed)
    if own.optimizer == "adamax":
        optimizer_scheduler = _with_adamax(optimizer_scheduler, own, recipe.max_steps)
    if recipe.last_task:
        return _in_two_parts(optimizer_scheduler, recipe)
    return optimizer_scheduler


def _own_runner(container: Any, own: OwnSettings, arguments: HostArguments, seed: int) -> Any:
    """The runner as jiant's own run script sets it up."""
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
        learning_rate=own.learning_rate,
        max_grad_norm=own.max_grad_norm,
        optimizer_type=own.optimizer_type,
        no_cuda=arguments.no_cuda,
        seed=seed,
    )
    return runscript.setup_runner(
        args=run_arguments,
        jiant_task_container=container,
        quick_init_out=initialization.QuickInitContainer(
            device=device, n_gpu=n_gpu, log_writer=QuietLog()
        ),
        verbose=False,
    )


def _in_two_parts(optimizer_scheduler: Any, recipe: Recipe) -> Any:
    """The same optimizer; its learning rate rises and falls once more for the last task's steps."""
    last = recipe.task_steps[recipe.last_task]
    first = recipe.max_steps - last
    warmups = warmups_of_parts(recipe)

    def factor(step: int) -> float:
        if step < first:
            return _linear_factor(step, first, warmups[0])
        return _linear_factor(step - first, last, warmups[1])

    optimizer = optimizer_scheduler.optimizer
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]  # the other schedule has begun
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return model_setup.OptimizerScheduler(optimizer=optimizer, scheduler=scheduler)


def _linear_factor(step: int, num_steps: int, warmup_steps: int) -> float:
    """Share of the peak learning rate as transformers' linear schedule has it."""
    if step < warmup_steps:
        return step / warmup_steps
    return max(0.0, (num_steps - step) / max(1, num_steps - warmup_steps))


def _with_adamax(optimizer_scheduler: Any, own: OwnSettings, num_steps: int) -> Any:
    """jiant's parameter groups and schedule, under Adamax."""
    groups = [
        {"params": group["params"], "weight_decay": group["weight_decay"]}
        for group in optimizer_scheduler.optimizer.param_groups
        if group["params"]
    ]
    optimizer = keep_zero_gradients(torch.optim.Adamax(groups, lr=own.learning_rate))
    scheduler = transformers.get_linear_schedule_with_warmup(  # type: ignore[no-untyped-call]
        optimizer,
        num_warmup_steps=own.warmup_steps,
        num_training_steps=num_steps,
    )
    return model_setup.OptimizerScheduler(optimizer=optimizer, scheduler=scheduler)
