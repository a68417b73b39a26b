"""The complete training settings of a run, as plain JSON values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gradts_plugin.errors import ConfigError
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.container import restrict_sampler_config
from gradts_plugin.settings.training import TrainingSettings

#: The container's sampler that a recipe need not name: that of every run file.
_PROPORTIONAL = {"sampler_type": "ProportionalMultiTaskSampler"}


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
    max_steps, warmup_steps = _length(
        settings, container_config["global_train_config"], steps_per_epoch
    )
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


def _length(
    settings: TrainingSettings, own_train: Mapping[str, Any], steps_per_epoch: int
) -> tuple[int, int]:
    """How many steps are trained, and how many of them warm up."""
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
    return max_steps, warmup_steps


def resolve_precision(precision: str, *, no_cuda: bool) -> str:
    """fp32 or bf16: `auto` is bf16 only where the device computes in it."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available() and not no_cuda:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch has no public question for this; without these instructions bf16 is emulated, slowly.
    questions = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bf16" if any(getattr(torch.cpu, name, bool)() for name in questions) else "fp32"


def evaluation_steps(max_steps: int, evaluations: int) -> set[int]:
    """Steps after which the dev set is scored: evenly spread, the last step included."""
    return {max(1, round(max_steps * index / evaluations)) for index in range(1, evaluations + 1)}
