"""What the parts ask of each other: the host, its models, and what plugins add.

Symbols: N instances, L layers, H heads, n = L * H.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import nn

from gradts_plugin.records import (
    Cost,
    FloatArray,
    IntArray,
    KeptInstances,
    ProbeBatch,
    Ranking,
    Selection,
    TaskInfo,
    TaskShares,
    TrainingPlan,
    TrainingResult,
    Trial,
)
from gradts_plugin.scores import Score


class ProbeTarget(Protocol):
    """A trained model (or an untrained one) and the instances of the tasks it has a head for."""

    model: nn.Module
    encoder: nn.Module
    result: TrainingResult

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

    def state(self) -> dict[str, Any]:
        """Everything the scheduler knows, as JSON values, so that a killed run can go on."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
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
    identity: Mapping[str, Any]


class Host(Protocol):
    """What the pipeline needs of a multi-task framework. jiant is one."""

    @property
    def encoder_fingerprint(self) -> str:
        """sha256 (hex) of the pretrained weights and architecture the runs start from."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Versions and paths of the host and encoder, for the record."""
        ...

    def tasks(self) -> Sequence[TaskInfo]:
        """The tasks the host knows, in its own order."""
        ...

    def recipe(
        self, settings: Any, train_tasks: Sequence[str], kept_instances: KeptInstances
    ) -> dict[str, Any]:
        """Completes training settings (`config.TrainingSettings`) for a run over these tasks."""
        ...

    def fine_tuned(self, plan: TrainingPlan) -> AbstractContextManager[ProbeTarget]:
        """Trains a plan's tasks and lends the trained model; releases it on exit."""
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

    def rewrite(self, selection: Selection, output_dir: Path) -> dict[str, Any]:
        """The host's configuration that trains exactly the selection; writes filtered data."""
        ...

    def task_shares(
        self,
        rewritten: Mapping[str, Any] | None = None,
        kept_instances: KeptInstances | None = None,
    ) -> TaskShares | None:
        """How often each task is trained; None where the host cannot say.

        Args:
            rewritten: the configuration that trains a selection; None: the run's original.
            kept_instances: of that selection.
        """
        ...

    def instance_texts(self, task_name: str, example_ids: Sequence[int]) -> dict[int, str]:
        """What the encoder reads of some training instances, by example id, for people to read."""
        ...


class HeadImportanceMeasure(Protocol):
    """Computes head importance, one matrix per instance."""

    def __call__(
        self, encoder: nn.Module, instance_losses: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Runs the forward pass and returns importances.

        Args:
            encoder: the Transformer inside the model.
            instance_losses: runs the forward pass; returns losses of shape (B,).

        Returns:
            Non-negative float32 tensor of shape (B, L, H).
        """
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


class Correlation(Protocol):
    """Correlates one importance profile with many."""

    def __call__(self, reference: FloatArray, others: FloatArray) -> FloatArray:
        """Args: reference (n,), others (M, n). Returns: float64 (M,), in [-1, 1]."""
        ...


class RankingContext(Protocol):
    """What a ranker may ask for. Whatever it asks for is counted as the selection's cost."""

    @property
    def primary_task(self) -> str:
        """The task to help."""
        ...

    @property
    def candidate_tasks(self) -> tuple[str, ...]:
        """Where auxiliaries are sought, in the order in which they were given."""
        ...

    @property
    def tasks(self) -> Mapping[str, TaskInfo]:
        """The primary and the candidates, by name."""
        ...

    @property
    def settings(self) -> Any:
        """The run's settings (`config.GradTSSettings`)."""
        ...

    @property
    def correlation(self) -> Correlation:
        """The correlation that the settings name."""
        ...

    def probes(self) -> Mapping[str, Sequence[ImportanceSource]]:
        """Raw head importances of the primary and all candidates, one per fine-tuning seed."""
        ...

    def controls(self) -> Sequence[ImportanceSource]:
        """Raw head importances of the candidates with shuffled labels.

        As many of each as `probing.shuffled_controls` asks for.
        """
        ...

    def computed(
        self,
        name: str,
        identity: Mapping[str, Any],
        task_names: Sequence[str],
        compute: Callable[[], tuple[dict[str, Any], Cost]],
    ) -> dict[str, Any]:
        """Computes plain JSON values once, and finds them stored ever after.

        Args:
            name: of the computation.
            identity: everything it depends on beside the encoder and the tasks' data.
            task_names: the tasks whose data it depends on.
            compute: returns the values and what they cost.
        """
        ...

    def fine_tuning_identity(self, task_names: Sequence[str]) -> Mapping[str, Any]:
        """What decides a fine-tuning beside encoder, data and seed; for `computed`'s identity."""
        ...

    def fine_tuned(
        self, task_names: Sequence[str], seed: int
    ) -> AbstractContextManager[ProbeTarget]:
        """Fine-tunes the encoder on tasks (settings `fine_tuning`) and lends the model."""
        ...

    def untrained(
        self, task_names: Sequence[str], seed: int
    ) -> AbstractContextManager[ProbeTarget]:
        """Lends the pretrained encoder, with fresh heads for tasks."""
        ...


class Ranker(Protocol):
    """Orders the candidates, best first.

    A ranker that calls `probes` says so, and they become a phase of their own:
    `ranker.uses_probes = True`.
    """

    def __call__(self, context: RankingContext) -> Ranking:
        """Returns the ranking."""
        ...


class SelectionContext(RankingContext, Protocol):
    """What a selection method may ask for. It never touches disk or the host itself."""

    @property
    def ranking(self) -> Ranking:
        """The candidates, best first, by the ranker that the settings name."""
        ...

    def score(
        self,
        auxiliary_tasks: Sequence[str],
        kept_instances: KeptInstances | None = None,
        mixing_ratios: Mapping[str, int] | None = None,
        *,
        num_seeds: int | None = None,
    ) -> Trial:
        """Trains primary + auxiliaries from the pretrained weights, or finds that run stored.

        Args:
            auxiliary_tasks: what the primary is trained with; empty: alone.
            kept_instances: subsets of auxiliary training data.
            mixing_ratios: how often each task is trained, the primary included; None: as the
                host's sampler has it.
            num_seeds: training seeds, always from the first one on; None: `settings.trial.seeds`.
        """
        ...

    def train_with_schedule(
        self, schedule: Schedule, *, num_rounds: int, seed: int
    ) -> TrainingResult:
        """Trains the primary and all candidates in one run, a scheduler deciding who is next.

        Returns:
            The result; `history` holds the primary's dev score after each round. A finished run is
            found stored; the scheduler then has the state in which that run ended.
        """
        ...

    def instance_taus(self, task_name: str) -> tuple[IntArray, FloatArray]:
        """All of an auxiliary's training instances: ids (N,) and tau to the primary's matrix (N,).

        Probes those that the ranking did not look at.
        """
        ...


class SelectionMethod(Protocol):
    """Chooses auxiliaries (and instances) for the primary task.

    A method that never looks at `context.ranking` says so, and nothing is probed for it:
    `method.uses_ranking = False`.
    """

    def __call__(self, context: SelectionContext) -> Selection:
        """Returns the selection."""
        ...
