"""Task samplers that jiant does not have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.protocols import Schedule
from gradts_plugin.records import BatchSize

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.components import task_sampler

#: jiant's tasks by name.
TaskDict = Mapping[str, Any]


class EpochTaskSampler(task_sampler.BaseMultiTaskSampler):  # type: ignore[misc]
    """Every task for its own number of steps, in random order, then all of it anew.

    With the batches of an epoch as steps it is MT-DNN's schedule. The steps of a last task come
    after all others.
    """

    def __init__(
        self,
        task_dict: TaskDict,
        rng: int | np.random.RandomState,
        steps: Mapping[str, int],
        last_task: str = "",
    ) -> None:
        super().__init__(task_dict=task_dict, rng=rng)
        self._mixed = [name for name, n in steps.items() if name != last_task for _ in range(n)]
        self._last = [last_task] * steps.get(last_task, 0)
        self._upcoming: list[str] = []

    def pop(self) -> tuple[str, Any]:
        """Returns the next step's task."""
        if not self._upcoming:
            mixed = [str(name) for name in self.rng.permutation(self._mixed)]
            self._upcoming = [*self._last, *mixed]
        name = self._upcoming.pop()
        return name, self.task_dict[name]


class BlockTaskSampler(task_sampler.BaseMultiTaskSampler):  # type: ignore[misc]
    """Every task in a block of its own, in turn, as long as its mixing ratio says.

    The authors of GradTS trained AUTOSEM's mixtures so: ratios 2 and 1 are 2 * block_steps steps
    of the first task and block_steps of the second, over and over.
    """

    def __init__(
        self, task_dict: TaskDict, mixing_ratios: Mapping[str, int], block_steps: int
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

    def __init__(self, task_dict: TaskDict, schedule: Schedule) -> None:
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

    def state(self) -> tuple[str, int, JsonObject]:
        """What a checkpoint keeps: a round's task and steps left, what the scheduler knows."""
        return self._task_name, self._left, self._schedule.scheduler.state()

    def restore(self, state: tuple[str, int, JsonObject]) -> None:
        """Goes on where a checkpoint was taken."""
        self._task_name, self._left, of_scheduler = state
        self._schedule.scheduler.restore(of_scheduler)


def epoch_sampler(container: Any, batches: Mapping[str, BatchSize], seed: int) -> EpochTaskSampler:
    """MT-DNN's schedule over a container's tasks."""
    steps = {}
    for name in container.task_run_config.train_task_list:
        num_train = len(container.task_cache_dict[name]["train"])
        steps[name] = math.ceil(num_train / batches[name].per_step)
    task_dict = {name: container.task_dict[name] for name in steps}
    return EpochTaskSampler(task_dict=task_dict, rng=seed, steps=steps)
