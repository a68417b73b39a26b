"""What the host contract's tests are made of: short plans, a scheduler, shapes, ids and hooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gradts_plugin.json_forms import JsonObject
from gradts_plugin.protocols import Host, ProbeTarget
from gradts_plugin.records import (
    IntArray,
    KeptInstances,
    Purpose,
    TaskInfo,
    TrainingPlan,
    TrainStep,
)
from gradts_plugin.settings.training import TrainingSettings

#: Length of the short trainings.
STEPS = 4

SHORT = TrainingSettings(max_steps=STEPS, batch_size=4, learning_rate=1e-3)


@dataclass(frozen=True)
class OpenedHost:
    """A host to be tested.

    Attributes:
        host: knows at least two tasks, of 8 training instances or more; the first is the primary.
        steps: what the host's step listener is told, in order.
    """

    host: Host
    steps: list[TrainStep] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        """The tasks, the primary first."""
        return tuple(info.name for info in self.host.tasks())

    def plan(
        self,
        *,
        seed: int = 5,
        settings: TrainingSettings = SHORT,
        kept_instances: KeptInstances | None = None,
        **recipe: Any,
    ) -> TrainingPlan:
        """A short training of the first two tasks; what else is given changes the recipe."""
        tasks, kept = self.names[:2], kept_instances or {}
        return TrainingPlan(
            purpose="trial",
            train_tasks=tasks,
            primary_task=tasks[0],
            seed=seed,
            recipe=replace(self.host.recipe(settings, tasks, kept), **recipe),
            kept_instances=kept,
        )

    def alone(self, name: str, *, purpose: Purpose = "fine-tuning") -> TrainingPlan:
        """A short training of one task."""
        recipe = self.host.recipe(SHORT, (name,), {})
        return TrainingPlan(purpose, (name,), name, 7, recipe)

    def steps_of(self, plan: TrainingPlan, output_dir: Path) -> list[TrainStep]:
        """Trains a plan and returns what the listener was told."""
        self.steps.clear()
        self.host.train(plan, output_dir)
        return list(self.steps)

    def some_ids(self, task_name: str, count: int) -> IntArray:
        """Example ids of a task, ascending."""
        with self.host.untrained((task_name,), 0) as target:
            ids: IntArray = np.sort(ids_of(target, task_name, max_instances=count))
        return ids


class Alternating:
    """A scheduler that takes the tasks in turn and remembers what it was told."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names, self.asked, self.told = names, 0, list[float | None]()

    def next_task(self) -> str:
        """The next in turn."""
        self.asked += 1
        return self.names[self.asked % len(self.names)]

    def observe(self, score: float | None) -> None:
        """Remembers."""
        self.told.append(score)

    def state(self) -> JsonObject:
        """What it knows."""
        return {"asked": self.asked, "told": list(self.told)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes a state back."""
        self.asked, self.told = state["asked"], list(state["told"])


def is_sha256(text: str) -> bool:
    """True for 64 hexadecimal digits."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def ids_of(target: ProbeTarget, task_name: str | None, **given: Any) -> IntArray:
    """Example ids of a task in the order of its batches."""
    options = {"batch_size": 3, "max_instances": None, "seed": 0, **given}
    batches = target.batches(task_name=task_name, **options)
    ids: IntArray = np.concatenate([batch.example_ids for batch in batches])
    return ids


def check_shapes(target: ProbeTarget, info: TaskInfo) -> None:
    """Asserts what `ProbeBatch` says of its parts."""
    for batch in target.batches(batch_size=3, max_instances=7, seed=0, task_name=info.name):
        size, mask = len(batch.example_ids), batch.attention_mask
        assert batch.example_ids.dtype == np.int64
        assert size <= 3
        losses = batch.instance_losses()
        assert losses.shape == (size,)
        assert losses.isfinite().all()
        assert losses.requires_grad
        assert mask.dtype == torch.bool
        assert mask.any(dim=-1).all()
        assert mask.dim() == (3 if info.kind == "multiple_choice" else 2)
        states = batch.hidden_states()
        assert states.shape[:-1] == mask.shape
        assert states.shape[0] == size
        if info.kind == "tagging":
            assert batch.labels.shape == mask.shape
            assert (batch.labels[~mask] == -100).all()
        else:
            assert batch.labels.shape == (size,)
        assert batch.labels.is_floating_point() == (info.kind == "regression")


def weights_in(model: nn.Module) -> torch.Tensor:
    """A copy of all parameters, in one row."""
    return torch.cat([value.detach().flatten().clone() for value in model.parameters()])


def hooks_of(model: nn.Module) -> list[Any]:
    """All hooks but those that transformers keeps on its models after their first forward pass."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks = [
        hook for part in model.modules() for kind in kinds for hook in getattr(part, kind).values()
    ]
    return [
        hook for hook in hooks if not getattr(hook, "__module__", "").startswith("transformers.")
    ]
