"""What a multi-task framework offers: the host, the models it lends, and what steers it.

Symbols: N instances, L layers, H heads, n = L * H.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from gradts_plugin.json_forms import JsonObject
from gradts_plugin.records import (
    FloatArray,
    IntArray,
    KeptInstances,
    ProbeBatch,
    Recipe,
    Selection,
    TaskInfo,
    TaskShares,
    TrainingPlan,
    TrainingResult,
)
from gradts_plugin.scores import Score
from gradts_plugin.settings.training import TrainingSettings

if TYPE_CHECKING:
    from torch import nn


#: A host's configuration, JSON values in the host's own format: only the host knows its keys.
HostConfig = dict[str, Any]


class ProbeTarget(Protocol):
    """A trained model (or an untrained one) and the instances of the tasks it has a head for."""

    @property
    def model(self) -> nn.Module:
        """The encoder with its task heads."""
        ...

    @property
    def encoder(self) -> nn.Module:
        """The Transformer inside the model."""
        ...

    @property
    def result(self) -> TrainingResult:
        """Of the training; empty where nothing was trained, or is not yet."""
        ...

    def batches(
        self,
        *,
        batch_size: int,
        max_instances: int | None,
        seed: int,
        task_name: str | None = None,
        phase: Literal["train", "val"] = "train",
    ) -> Iterator[ProbeBatch]:
        """Yields a task's instances (all, or a seeded sample), sorted by length.

        Args:
            batch_size: instances per batch.
            max_instances: how many at most; None: all.
            seed: of the sample.
            task_name: any task the host knows; None: the one the model was trained for.
                `instance_losses` needs a head, so only trained tasks have it.
            phase: training or dev instances.
        """
        ...


class TaskScheduler(Protocol):
    """Decides, round by round inside one training run, which task is trained next (AUTOSEM)."""

    def next_task(self) -> str:
        """The task of the next round's steps."""
        ...

    def observe(self, score: Score) -> None:
        """Told the primary's dev score after each round; None where it is undefined."""
        ...

    def state(self) -> JsonObject:
        """Everything the scheduler knows, as JSON values, so that a killed run can go on."""
        ...

    def restore(self, state: JsonObject) -> None:
        """Takes a state back."""
        ...


@dataclass(frozen=True)
class Schedule:
    """How a scheduler steers a training run.

    Attributes:
        scheduler: decides.
        steps_per_round: optimiser steps between two decisions; the dev set is scored after each
            round.
        identity: everything its decisions depend on, as JSON values; part of the run's key.
    """

    scheduler: TaskScheduler
    steps_per_round: int
    identity: JsonObject


@dataclass(frozen=True)
class Looks:
    """Looks at a model while it is trained.

    Attributes:
        look: given the model as it is after a step; it leaves it as it was and draws from no global
            random stream, so that the training goes on as if nobody had looked. The `result` of
            what it is given is empty.
        number: how often.
    """

    look: Callable[[ProbeTarget], None]
    number: int

    def steps(self, num_steps: int) -> set[int]:
        """After which steps, of so many: evenly spread, once each, the last one included."""
        shares = range(1, self.number + 1)
        return {max(1, round(num_steps * share / self.number)) for share in shares}


class Host(Protocol):
    """What a run needs of a multi-task framework. jiant is one."""

    @property
    def encoder_fingerprint(self) -> str:
        """sha256 (hex) of the pretrained weights and architecture the runs start from."""
        ...

    @property
    def provenance(self) -> JsonObject:
        """Versions and paths of the host and encoder, for the record."""
        ...

    def tasks(self) -> Sequence[TaskInfo]:
        """The tasks the host knows, in its own order."""
        ...

    def nothing_to_learn(
        self, task_name: str, *, max_instances: int | None, seed: int
    ) -> str | None:
        """Why there is nothing to be learned from a task's training instances.

        Args:
            task_name: the task.
            max_instances: looks at as many as `ProbeTarget.batches` would yield; None: at all.
            seed: of that sample.

        Returns:
            What all of them have in common, their label, score or text, in half a sentence; None
            where they differ, or where that cannot be told.
        """
        ...

    def recipe(
        self, settings: TrainingSettings, train_tasks: Sequence[str], kept_instances: KeptInstances
    ) -> Recipe:
        """Completes training settings for a run over these tasks; part of each training's key."""
        ...

    def fine_tuned(
        self, plan: TrainingPlan, looks: Looks | None = None
    ) -> AbstractContextManager[ProbeTarget]:
        """Trains a plan's tasks and lends the trained model; releases it on exit.

        Args:
            plan: what to train.
            looks: lends the model while it is trained, too.
        """
        ...

    def untrained(
        self, task_names: Sequence[str], seed: int
    ) -> AbstractContextManager[ProbeTarget]:
        """Lends the pretrained encoder with fresh heads for these tasks; releases it on exit."""
        ...

    def train(
        self, plan: TrainingPlan, output_dir: Path, schedule: Schedule | None = None
    ) -> TrainingResult:
        """Runs a plan from the pretrained weights, with the host's own output in output_dir.

        Args:
            plan: what to train.
            output_dir: the host's own output folder.
            schedule: decides the task of each step in the sampler's place. A run that was killed
                goes on after its last finished round.
        """
        ...

    def weights_of(self, output_dir: Path) -> Path:
        """The file with a training's kept weights, given its output folder; it need not exist."""
        ...

    def rewrite(self, selection: Selection, recipe: Recipe, output_dir: Path) -> HostConfig:
        """The host's configuration that trains exactly the selection; writes filtered data.

        Args:
            selection: what is trained.
            recipe: of its training: length, batch sizes, and how often each task is trained.
            output_dir: where filtered data goes.
        """
        ...

    def training_command(
        self,
        config_path: Path,
        training: TrainingSettings,
        *,
        seed: int,
        output_dir: Path,
        shown: Callable[[Path], str] = str,
    ) -> str:
        """What to type to train a rewritten configuration with the host itself.

        Args:
            config_path: the configuration.
            training: its settings.
            seed: of the training.
            output_dir: where the host writes.
            shown: how a path is written.
        """
        ...

    def task_shares(
        self,
        rewritten: HostConfig | None = None,
        kept_instances: KeptInstances | None = None,
    ) -> TaskShares | None:
        """How often each task is trained; None where the host cannot say.

        Args:
            rewritten: the configuration that trains a selection; None: the run's original.
            kept_instances: of that selection.
        """
        ...

    def sampled_ids(self, task_name: str, *, max_instances: int | None, seed: int) -> IntArray:
        """Example ids of the training instances that `ProbeTarget.batches` yields, ascending.

        Args:
            task_name: the task.
            max_instances: how many at most; None: all.
            seed: of the sample.
        """
        ...

    def instance_texts(self, task_name: str, example_ids: Sequence[int]) -> dict[int, str]:
        """What the encoder reads of some training instances, by example id, for people to read."""
        ...


class ImportanceSource(Protocol):
    """Raw head importances of one probed task and seed, wherever they are kept."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(num_instances, num_layers, num_heads)."""
        ...

    def batches(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yields (example_ids of shape (b,), raw importances of shape (b, L, H)), in order."""
        ...


class HostOpening(Protocol):
    """A host that was named, and is not prepared yet."""

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the run file."""
        ...

    def check(self) -> None:
        """Reads everything that the host will read, and writes nothing.

        Raises:
            GradTSError: the encoder, a task or its data is wrong.
        """
        ...

    @property
    def unprepared_tasks(self) -> tuple[str, ...]:
        """Tasks whose data `prepare_task` would prepare; empty where that takes no time."""
        ...

    def prepare_task(self, task_name: str, *, log_file: Path) -> None:
        """Prepares the data of one task in the run's output folder, in a worker.

        Args:
            task_name: one of `unprepared_tasks`.
            log_file: where the host's own output goes.
        """
        ...

    def prepare(
        self,
        *,
        log_file: Path,
        prepared_in: Path | None = None,
        made_now: Collection[str] = (),
    ) -> Host:
        """Prepares the host in the run's output folder; what is there and fits is kept.

        Args:
            log_file: where the host's own output goes.
            prepared_in: another output folder, whose prepared tasks are used where they fit.
            made_now: tasks that workers have prepared for just this start: not told as reused.
        """
        ...
