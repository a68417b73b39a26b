"""The complete training settings of a run under jiant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gradts_plugin.errors import ConfigError
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.container import ContainerConfig, restrict_sampler_config
from gradts_plugin.json_forms import JsonObject, JsonValue, from_json, to_json
from gradts_plugin.records import BatchSize, Recipe
from gradts_plugin.settings.training import TrainingSettings

#: Of how trainings run here; raised when the same recipe gives other numbers.
HOST_VERSION = 2

#: The container's sampler that a recipe need not name: that of every run file.
_PROPORTIONAL = {"sampler_type": "ProportionalMultiTaskSampler"}


@dataclass(frozen=True)
class OwnSettings:
    """What jiant's trainings depend on beside what every host's do (`Recipe.own`).

    Attributes:
        warmup_steps: optimiser steps with rising learning rate.
        learning_rate: peak learning rate.
        optimizer: adamw, adamax or radam.
        max_grad_norm: gradient norms are clipped to this.
        clip_once_per_step: clip once per optimiser step, not at every accumulated batch.
        sampler: `host`, `epoch`, or jiant's config of another sampler than the usual one.
        precision: fp32 or bf16.
        heads: jiant's config of heads that tasks share or that have options; None without any.
    """

    warmup_steps: int
    learning_rate: float
    optimizer: str
    max_grad_norm: float
    clip_once_per_step: bool
    sampler: str | dict[str, JsonValue]
    precision: str
    heads: JsonObject | None

    @property
    def optimizer_type(self) -> str:
        """The optimizer as jiant's arguments name it; it has no Adamax, which comes later."""
        return "radam" if self.optimizer == "radam" else "adam"

    @classmethod
    def of(cls, recipe: Recipe) -> OwnSettings:
        """Those of a recipe that `resolve_recipe` made."""
        return from_json(cls, recipe.own, where="the recipe")


def resolve_recipe(
    settings: TrainingSettings,
    container_config: ContainerConfig,
    arguments: HostArguments,
    train_tasks: Sequence[str],
    num_train: Mapping[str, int],
) -> Recipe:
    """Fills what the settings leave to the host.

    Args:
        settings: training settings.
        container_config: jiant's task-container config.
        arguments: jiant's command-line arguments.
        train_tasks: tasks of the run.
        num_train: training instances per task.

    Returns:
        The training, described completely.

    Raises:
        ConfigError: neither the settings nor the container config say how long to train.
    """
    sizes = {}
    for name in train_tasks:
        own = container_config["task_specific_configs_dict"][name]
        sizes[name] = BatchSize(
            settings.batch_size or own["train_batch_size"],
            settings.gradient_accumulation_steps or own["gradient_accumulation_steps"],
        )
    steps_per_epoch = sum(math.ceil(num_train[name] / sizes[name].per_step) for name in sizes)
    max_steps, warmup_steps = _length(
        settings, container_config["global_train_config"], steps_per_epoch
    )
    own_settings = OwnSettings(
        warmup_steps=warmup_steps,
        learning_rate=settings.learning_rate or arguments.learning_rate,
        optimizer=settings.optimizer,
        max_grad_norm=settings.max_grad_norm or arguments.max_grad_norm,
        clip_once_per_step=settings.clip_once_per_step,
        sampler=_sampler(settings, container_config, train_tasks),
        precision=resolve_precision(settings.precision, no_cuda=arguments.no_cuda),
        heads=_heads(container_config, train_tasks),
    )
    return Recipe(
        host="jiant",
        host_version=HOST_VERSION,
        max_steps=max_steps,
        evaluations=settings.evaluations or max(1, math.ceil(settings.epochs or 1)),
        batches=sizes,
        own=to_json(own_settings),
    )


def global_train_config(recipe: Recipe) -> dict[str, int]:
    """How long a recipe trains, as a container config says it."""
    return {"max_steps": recipe.max_steps, "warmup_steps": OwnSettings.of(recipe).warmup_steps}


def _sampler(
    settings: TrainingSettings, container_config: ContainerConfig, train_tasks: Sequence[str]
) -> str | dict[str, JsonValue]:
    """The settings' word, or the container's sampler where it is not that of every run file."""
    own = restrict_sampler_config(container_config["sampler_config"], train_tasks)
    is_another = settings.sampler == "host" and len(train_tasks) > 1 and own != _PROPORTIONAL
    return own if is_another else settings.sampler


def _heads(container_config: ContainerConfig, train_tasks: Sequence[str]) -> JsonObject | None:
    """What the container says of heads that are shared or have options."""
    heads = container_config["taskmodels_config"]
    shared = {name: heads["task_to_taskmodel_map"][name] for name in train_tasks}
    options = heads.get("taskmodel_config_map") or {}
    used = {name: options[name] for name in shared.values() if options.get(name)}
    if not used and len(set(shared.values())) == len(shared):
        return None
    return {"task_to_taskmodel_map": shared, "taskmodel_config_map": used}


def _length(
    settings: TrainingSettings, own_train: ContainerConfig, steps_per_epoch: int
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
    """fp32 or bf16: `auto` is bf16 only where the device is faster in it."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available() and not no_cuda:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    # torch has no public question for this. Without tiles bf16 is slower than fp32, even where the
    # processor has AVX-512 instructions for it: 87 against 140 GFLOP/s in one layer's product.
    return "bf16" if getattr(torch.cpu, "_is_amx_tile_supported", bool)() else "fp32"


def evaluation_steps(recipe: Recipe) -> set[int]:
    """Steps after which the dev set is scored: evenly spread, the last step included.

    Before the steps of a last task there is nothing to score.
    """
    last = recipe.task_steps[recipe.last_task] if recipe.last_task else recipe.max_steps
    shares = (number / recipe.evaluations for number in range(1, recipe.evaluations + 1))
    return {recipe.max_steps - last + max(1, round(last * share)) for share in shares}


def warmups_of_parts(recipe: Recipe) -> tuple[int, int]:
    """Steps with rising learning rate before the last task's steps, and of these."""
    last, warmup_steps = recipe.task_steps[recipe.last_task], OwnSettings.of(recipe).warmup_steps
    first = recipe.max_steps - last
    return round(warmup_steps * first / recipe.max_steps), round(
        warmup_steps * last / recipe.max_steps
    )
