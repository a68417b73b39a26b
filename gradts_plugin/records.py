"""The records that travel between the parts, with their shapes, and the protocols they meet.

Symbols used everywhere: N instances, L layers, H heads, n = L * H.
"""

from __future__ import annotations

import math
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

#: Name of the primary's test score among a training run's metrics, where it was asked for.
TEST_SCORE = "test_score"

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
        num_dev: number of dev instances.
        test_fingerprint: sha256 (hex) of a labelled test split that is scored after each training,
            too; empty where there is none.
    """

    name: str
    kind: str
    num_train: int
    fingerprint: str
    dev_fingerprint: str = ""
    num_dev: int = 0
    test_fingerprint: str = ""


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
        scheduler_state: what the run's scheduler knew in the end; None without one.
    """

    score: float
    metrics: Mapping[str, float]
    history: tuple[float, ...]
    num_steps: int
    num_examples: int
    seconds: float
    output_dir: Path | None
    scheduler_state: Mapping[str, Any] | None = None

    @property
    def cost(self) -> Cost:
        """What it took."""
        return Cost(self.num_steps, self.num_examples, self.seconds)


@dataclass(frozen=True)
class Cost:
    """What computing something took, when it was computed.

    Attributes:
        num_steps: optimiser steps.
        num_examples: instances that went forward and backward through the encoder, or only
            forward, counted with repetition; scoring dev sets is not counted.
        seconds: wall time.
    """

    num_steps: int = 0
    num_examples: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Both together."""
        return Cost(
            self.num_steps + other.num_steps,
            self.num_examples + other.num_examples,
            self.seconds + other.seconds,
        )


@dataclass(frozen=True)
class ProbeBatch:
    """One batch of instances of one task, ready to be probed or encoded.

    Attributes:
        example_ids: int64 array of shape (B,), the instances' stable keys.
        instance_losses: runs the forward pass and returns each instance's own mean loss,
            a differentiable tensor of shape (B,).
        attention_mask: which tokens are no padding: bool tensor of shape (B, T), or (B, C, T)
            for C choices.
        hidden_states: runs the encoder alone and returns its last hidden states, a differentiable
            tensor of shape (B, T, d), or (B, C, T, d).
        labels: what the host's batch holds: class ids int64 (B,), scores float (B,), or tag ids
            int64 (B, T) with -100 where a token has no label.
    """

    example_ids: IntArray
    instance_losses: Callable[[], torch.Tensor]
    attention_mask: torch.Tensor
    hidden_states: Callable[[], torch.Tensor]
    labels: torch.Tensor


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

    def observe(self, score: float) -> None:
        """Told the primary's dev score after each round."""
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

    def rewrite(self, selection: Selection, output_dir: Path) -> dict[str, Any]:
        """The host's configuration that trains exactly the selection; writes filtered data."""
        ...

    def instance_texts(self, task_name: str, example_ids: Sequence[int]) -> dict[int, str]:
        """What the encoder reads of some training instances, by example id, for people to read."""
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
        tau: what it is ranked by: correlation with the primary, averaged over all pairs of
            fine-tuning seeds; another ranker's own figure where one was chosen.
        interval: (low, high), the confidence interval of tau; None where the ranker has none.
        probability_above_next: probability that it truly stands above the next candidate;
            None for the last one, and where the ranker has none.
    """

    task_name: str
    tau: float
    interval: tuple[float, float] | None
    probability_above_next: float | None


@dataclass(frozen=True)
class Ranking:
    """Candidates by correlation with the primary, best first.

    Attributes:
        primary_task: the task to help.
        candidates: best first; ties keep the order in which the candidates were given.
        confidence: level of the intervals, e.g. 0.95.
        num_seeds: fine-tuning seeds per task; 0 where nothing was fine-tuned.
        covers: the sources of uncertainty inside the intervals ("instances", "fine-tuning seeds").
        num_heads_total: n = L * H.
        task_names: rows and columns of `task_taus`: the primary, then the candidates as given.
        task_taus: float array of shape (T, T), all task-task correlations; None where the ranker
            has none.
        null_taus: taus of the primary with candidates whose labels were shuffled: what no
            relatedness looks like; empty where no such controls were probed.
        ranker: name of the ranker; `heads` is GradTS.
        measure: what `tau` is, in a word or two.
    """

    primary_task: str
    candidates: tuple[RankedTask, ...]
    confidence: float
    num_seeds: int
    covers: tuple[str, ...]
    num_heads_total: int
    task_names: tuple[str, ...]
    task_taus: FloatArray | None
    null_taus: tuple[float, ...] = ()
    ranker: str = "heads"
    measure: str = "tau"

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
        mixing_ratios: how often each task was trained; empty: as the host's sampler has it.
        num_steps: optimiser steps over all seeds (as measured when it ran).
        seconds: wall time over all seeds (as measured when it ran).
        reused: True where every run was found stored and nothing was trained.
        output_dirs: the host's output folder of each run whose weights may be kept: those of the
            first `trial.seeds` seeds.
        test_scores: the primary's test score, one per seed; empty where it was not asked for.
    """

    auxiliary_tasks: tuple[str, ...]
    scores: tuple[float, ...]
    num_kept: Mapping[str, int]
    num_steps: int
    seconds: float
    reused: bool
    output_dirs: tuple[Path, ...] = ()
    mixing_ratios: Mapping[str, int] = field(default_factory=dict)
    test_scores: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """Mean dev score over the seeds."""
        return float(np.mean(self.scores))

    def comparable(self, num_seeds: int | None = None) -> float:
        """Mean over the first seeds (None: all), -inf where it is undefined: that never wins."""
        score = float(np.mean(self.scores[:num_seeds]))
        return -math.inf if math.isnan(score) else score

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
        mixing_ratios: task name -> how many of every sum(ratios) steps train it (AUTOSEM), the
            primary included; empty: the host's own sampler.
        threshold: theta that the taus of auxiliaries (GradTS-thres) or of kept instances
            (GradTS-fg) reached; None where nothing was judged by one.
        reason: one sentence for the user.
    """

    method: str
    primary_task: str
    auxiliary_tasks: tuple[str, ...]
    reason: str
    kept_instances: KeptInstances = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    mixing_ratios: Mapping[str, int] = field(default_factory=dict)
    threshold: float | None = None


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
