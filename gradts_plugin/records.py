"""The records that travel between the parts, with their shapes, and the protocols they meet.

Symbols used everywhere: N instances, L layers, H heads, n = L * H.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]

#: Keeps these training instances of an auxiliary task: task name -> example ids, int64 (kept,).
KeptInstances = Mapping[str, IntArray]

Purpose = Literal["fine-tuning", "trial", "training"]


# --- what a host offers -----------------------------------------------------------------------


@dataclass(frozen=True)
class TaskInfo:
    """A task as the host loaded it.

    Attributes:
        name: unique within a run.
        kind: the task type: classification, regression, tagging or multiple_choice.
        num_train: number of training instances.
        fingerprint: sha256 (hex) of what the task trains on: its cached training data.
        dev_fingerprint: sha256 (hex) of what it is scored on; empty where it has no dev set.
    """

    name: str
    kind: str
    num_train: int
    fingerprint: str
    dev_fingerprint: str = ""


@dataclass(frozen=True)
class TrainingPlan:
    """One training run of the host, described completely.

    Attributes:
        purpose: why it is run; reported to the hooks, and not part of its identity.
        train_tasks: tasks to train on, the primary first.
        primary_task: the only task whose dev set is scored.
        seed: seeds weights of the heads, data order, task order and dropout.
        recipe: the training settings as plain JSON values (`config.TrainingSettings`).
        kept_instances: subsets of auxiliary training data (GradTS-fg); absent tasks are whole.
    """

    purpose: Purpose
    train_tasks: tuple[str, ...]
    primary_task: str
    seed: int
    recipe: Mapping[str, Any]
    kept_instances: KeptInstances = field(default_factory=dict)


@dataclass(frozen=True)
class TrainStep:
    """One optimiser step.

    Attributes:
        task_name: the task whose batch was used.
        global_step: counts from 1.
        num_steps: how many the run will take.
        loss: mean training loss of the step.
    """

    task_name: str
    global_step: int
    num_steps: int
    loss: float


@dataclass(frozen=True)
class TrainingResult:
    """What a training run came to.

    Attributes:
        score: the primary's dev metric at the best evaluation.
        metrics: all dev metrics of the primary at the best evaluation.
        history: the dev score at each evaluation, in order.
        num_steps: optimiser steps taken.
        num_examples: training instances seen, counted with repetition.
        seconds: wall time.
        output_dir: the host's own output folder of this run; None where nothing was kept.
    """

    score: float
    metrics: Mapping[str, float]
    history: tuple[float, ...]
    num_steps: int
    num_examples: int
    seconds: float
    output_dir: Path | None


@dataclass(frozen=True)
class ProbeBatch:
    """One batch of training instances, ready to be probed.

    Attributes:
        example_ids: int64 array of shape (B,), the instances' stable keys.
        instance_losses: runs the forward pass and returns each instance's own mean loss,
            a differentiable tensor of shape (B,).
    """

    example_ids: IntArray
    instance_losses: Callable[[], torch.Tensor]


class ProbeTarget(Protocol):
    """A fine-tuned model and the instances to probe it on."""

    model: nn.Module
    encoder: nn.Module
    result: TrainingResult

    def batches(
        self, *, batch_size: int, max_instances: int | None, seed: int
    ) -> Iterator[ProbeBatch]:
        """Yields the training instances (all, or a seeded sample), sorted by length."""
        ...


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
        """Trains one task alone and lends the trained model; releases it on exit."""
        ...

    def train(self, plan: TrainingPlan, output_dir: Path) -> TrainingResult:
        """Runs a plan from the pretrained weights, with the host's own output in output_dir."""
        ...

    def rewrite(self, selection: Selection, output_dir: Path) -> dict[str, Any]:
        """The host's configuration that trains exactly the selection; writes filtered data."""
        ...


# --- probing ------------------------------------------------------------------------------------


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


# --- correlation and ranking --------------------------------------------------------------------


class Correlation(Protocol):
    """Correlates one importance profile with many."""

    def __call__(self, reference: FloatArray, others: FloatArray) -> FloatArray:
        """Args: reference (n,), others (M, n). Returns: float64 (M,), in [-1, 1]."""
        ...


@dataclass(frozen=True)
class RankedTask:
    """A candidate's place in the ranking.

    Attributes:
        task_name: the candidate.
        tau: correlation with the primary, averaged over all pairs of fine-tuning seeds.
        interval: (low, high), the confidence interval of tau.
        probability_above_next: probability that it truly stands above the next candidate;
            None for the last one.
    """

    task_name: str
    tau: float
    interval: tuple[float, float]
    probability_above_next: float | None


@dataclass(frozen=True)
class Ranking:
    """Candidates by correlation with the primary, best first.

    Attributes:
        primary_task: the task to help.
        candidates: best first; ties keep the order in which the candidates were given.
        confidence: level of the intervals, e.g. 0.95.
        num_seeds: fine-tuning seeds per task.
        covers: the sources of uncertainty inside the intervals ("instances", "fine-tuning seeds").
        num_heads_total: n = L * H.
        task_names: rows and columns of `task_taus`: the primary, then the candidates as given.
        task_taus: float array of shape (T, T), all task-task correlations.
    """

    primary_task: str
    candidates: tuple[RankedTask, ...]
    confidence: float
    num_seeds: int
    covers: tuple[str, ...]
    num_heads_total: int
    task_names: tuple[str, ...]
    task_taus: FloatArray

    @property
    def task_order(self) -> tuple[str, ...]:
        """Candidate names, best first."""
        return tuple(candidate.task_name for candidate in self.candidates)

    @property
    def null_sd(self) -> float:
        """Standard deviation of Kendall's tau between unrelated rankings of n heads."""
        n = self.num_heads_total
        return float(np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))))


# --- selection ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trial:
    """A multi-task training run of the primary with some auxiliaries, over one or more seeds.

    Attributes:
        auxiliary_tasks: in ranking order; empty for the primary alone.
        scores: the primary's dev score, one per training seed.
        num_kept: kept training instances of each subsampled auxiliary; empty where all are whole.
        num_steps: optimiser steps over all seeds (as measured when it ran).
        seconds: wall time over all seeds (as measured when it ran).
        reused: True where every run was found stored and nothing was trained.
        output_dirs: the host's output folder of each seed's run.
    """

    auxiliary_tasks: tuple[str, ...]
    scores: tuple[float, ...]
    num_kept: Mapping[str, int]
    num_steps: int
    seconds: float
    reused: bool
    output_dirs: tuple[Path, ...] = ()

    @property
    def score(self) -> float:
        """Mean dev score over the seeds."""
        return float(np.mean(self.scores))

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None with one seed."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else None


@dataclass(frozen=True)
class Selection:
    """What to train with the primary, and why.

    Attributes:
        method: name of the selection method.
        primary_task: the task to help.
        auxiliary_tasks: selected auxiliaries, best-ranked first; empty: train the primary alone.
        kept_instances: subsets of auxiliary training data (GradTS-fg); absent tasks are whole.
        trials: the runs the decision rests on, in the order they were made.
        reason: one sentence for the user.
    """

    method: str
    primary_task: str
    auxiliary_tasks: tuple[str, ...]
    reason: str
    kept_instances: KeptInstances = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()


class SelectionContext(Protocol):
    """What a selection method may ask for. It never touches disk or the host itself."""

    @property
    def primary_task(self) -> str:
        """The task to help."""
        ...

    @property
    def ranking(self) -> Ranking:
        """The candidates, best first."""
        ...

    @property
    def settings(self) -> Any:
        """The run's settings (`config.GradTSSettings`)."""
        ...

    def score(
        self, auxiliary_tasks: Sequence[str], kept_instances: KeptInstances | None = None
    ) -> Trial:
        """Trains primary + auxiliaries from the pretrained weights, or finds that run stored."""
        ...

    def instance_taus(self, task_name: str) -> tuple[IntArray, FloatArray]:
        """An auxiliary's probed instances: ids (N,) and tau to the primary's task matrix (N,)."""
        ...


class SelectionMethod(Protocol):
    """Chooses auxiliaries (and instances) for the primary task."""

    def __call__(self, context: SelectionContext) -> Selection:
        """Returns the selection."""
        ...
