"""What the auxiliaries' steps before a last task leave, kept for trainings that begin alike.

With `order: sequential` those steps do not depend on the primary: what they leave is the same for
every primary, and for every way to train one after them. A training that finds it makes only the
last task's steps, and comes to what it would have come to without.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradts_plugin.errors import StoreError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches
from gradts_plugin.hosts.jiant.faults.random_streams import RandomStates
from gradts_plugin.hosts.jiant.faults.resuming import give_back_zero_gradients
from gradts_plugin.hosts.jiant.training.checkpoint import read_checkpoint, write_checkpoint
from gradts_plugin.hosts.jiant.training.recipe import OwnSettings, warmups_of_parts
from gradts_plugin.json_forms import to_json
from gradts_plugin.records import TrainingPlan
from gradts_plugin.stores.keys import digest_of

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.runner import TrainState
from jiant.utils import torch_utils

_GIB = 2**30


@dataclass(frozen=True)
class Starts:
    """A folder of kept starts.

    Attributes:
        folder: in a store; it need not exist.
        most_gib: what all of them may take; those that were not used for longest go first.
    """

    folder: Path
    most_gib: float

    def path(self, digest: str) -> Path:
        """Where a start lies."""
        return self.folder / f"{digest}.safetensors"

    def read(self, digest: str) -> Any:
        """What a kept start holds, which counts as used now; None where there is none.

        Raises:
            HostError: its file is damaged.
            StoreError: it cannot be read.
        """
        path = self.path(digest)
        try:
            os.utime(path)
            return read_checkpoint(path)
        except FileNotFoundError:
            return None
        except StoreError:
            if path.exists():
                raise
            return None  # another process has just made room

    def make_room(self) -> None:
        """Removes the starts that are too many; the latest stays."""
        sizes = {}
        for path in self.folder.glob("*.safetensors"):
            with suppress(FileNotFoundError):  # another process removed it
                found = path.stat()
                sizes[path] = found.st_mtime_ns, found.st_size
        total = 0
        for path in sorted(sizes, key=sizes.__getitem__, reverse=True):
            total += sizes[path][1]
            if total > self.most_gib * _GIB and total > sizes[path][1]:
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Left:
    """What the steps before the last task's leave: what a start's file holds.

    Attributes:
        tensors: weights and buffers by name, but for the last task's head.
        moments: weight's name -> what the optimizer knows of it.
        random: the attributes of `RandomStates`.
        seconds: what it took.
    """

    tensors: Mapping[str, Tensor]
    moments: Mapping[str, Mapping[str, Any]]
    random: Any
    seconds: float


class FirstPart:
    """The steps before the last task's: found, or made and kept."""

    def __init__(self, runner: Any, plan: TrainingPlan, starts: Starts, digest: str) -> None:
        self._runner = runner
        self._plan = plan
        self._starts = starts
        self._digest = digest
        self._begun_at = time.perf_counter()
        recipe = plan.recipe
        self._num_steps = recipe.max_steps - recipe.task_steps[recipe.last_task]
        self.found_steps = 0

    def begin(self) -> tuple[Iterator[Any], float]:
        """Starts the training, or goes on where a kept start is.

        Returns:
            (jiant's training states, one a step; the seconds that the start took).

        Raises:
            HostError: the file of the start is damaged.
            StoreError: it cannot be read.
        """
        found = self._starts.read(self._digest)
        if found is None:
            return self._runner.run_train_context(verbose=False), 0.0
        left = _Left(**found)
        self._take_up(left)
        self.found_steps = self._num_steps
        state = TrainState.from_task_name_list(self._plan.train_tasks)
        state.global_steps = self._num_steps
        for name, steps in self._plan.recipe.task_steps.items():
            if name != self._plan.recipe.last_task:
                state.task_steps[name] = steps
        return self._runner.resume_train_context(state, verbose=False), left.seconds

    def after_step(self, train_state: Any) -> None:
        """Keeps what the first part left, where it was made now."""
        if train_state.global_steps != self._num_steps or self.found_steps:
            return
        left = _Left(
            tensors=dict(self._tensors()),
            moments={
                name: dict(self._optimizer.state[weight])
                for name, weight in self._tensors().items()
                if self._optimizer.state.get(weight)
            },
            random=vars(RandomStates.now()),
            seconds=time.perf_counter() - self._begun_at,
        )
        write_checkpoint(self._starts.path(self._digest), vars(left))
        self._starts.make_room()

    def _take_up(self, left: _Left) -> None:
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.copy_(left.tensors[name])
                if name in left.moments:
                    self._optimizer.state[tensor] = {
                        key: _moved(value, tensor) for key, value in left.moments[name].items()
                    }
        give_back_zero_gradients(self._optimizer)
        for _ in range(self._num_steps):
            self._runner.jiant_task_container.task_sampler.pop()
        scheduler = self._runner.optimizer_scheduler.scheduler
        scheduler.last_epoch = self._num_steps - 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it misses the optimizer's steps before its own
            scheduler.step()
        # Last: what comes next is a training step.
        RandomStates(**left.random).restore()

    @property
    def _optimizer(self) -> Any:
        return self._runner.optimizer_scheduler.optimizer

    def _tensors(self) -> dict[str, Tensor]:
        """Weights and buffers of encoder and heads by name, without the last task's head."""
        model = torch_utils.get_model_for_saving(self._runner.jiant_model)
        own = f"taskmodels_dict.{model.task_to_taskmodel_map[self._plan.recipe.last_task]}."
        return {
            name: tensor
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
            if not name.startswith(own)
        }


def _moved(value: Any, weight: Tensor) -> Any:
    """A part of the optimizer's state where it belongs: counts of steps stay on the CPU."""
    is_like_weight = isinstance(value, Tensor) and value.shape == weight.shape
    return value.to(weight.device) if is_like_weight and value.dim() else value


def start_digest(
    plan: TrainingPlan,
    switches: FaultSwitches,
    *,
    encoder: str,
    task_data: Mapping[str, str],
    device: str,
) -> str | None:
    """What a plan's start is kept under: everything it depends on.

    Args:
        plan: the training.
        switches: which of jiant's faults are mended.
        encoder: fingerprint of the encoder.
        task_data: task -> fingerprint of its training data.
        device: kind of device that trains; the random numbers of others differ.

    Returns:
        None where there is no such start: tasks are mixed, or the primary has an influence on the
        steps before its own.
    """
    recipe = plan.recipe
    own = OwnSettings.of(recipe)
    is_independent = own.heads is None and all(vars(switches).values())
    if not recipe.last_task or not is_independent:
        return None
    first = [name for name in plan.train_tasks if name != recipe.last_task]
    steps = {name: recipe.task_steps[name] for name in first}
    part = dataclasses.replace(
        recipe,
        max_steps=sum(steps.values()),
        evaluations=0,
        task_steps=steps,
        batches={name: recipe.batches[name] for name in first},
        mixing_ratios={},
        last_task="",
        own={**recipe.own, "warmup_steps": warmups_of_parts(recipe)[0]},
    )
    return digest_of(
        {
            "start": 1,
            "encoder": encoder,
            "tasks": [[name, task_data[name]] for name in first],
            "seed": plan.seed,
            "recipe": to_json(part),
            "kept_instances": {
                name: hashlib.sha256(np.sort(ids).astype("<i8").tobytes()).hexdigest()
                for name, ids in plan.kept_instances.items()
            },
            "device": device,
        }
    )
