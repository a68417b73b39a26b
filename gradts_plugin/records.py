"""The records that travel between the parts, with their shapes.

Symbols used everywhere: N instances, L layers, H heads, n = L * H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import PlainValidator

from gradts_plugin.json_forms import WRITTEN_IF_SET, JsonObject
from gradts_plugin.scores import Gain, Round, Score, mean_score, score_spread, shown_score

if TYPE_CHECKING:
    import torch

# Read back from lists, where a record is read from JSON.
FloatArray = Annotated[npt.NDArray[np.floating[Any]], PlainValidator(np.asarray)]
IntArray = Annotated[npt.NDArray[np.int64], PlainValidator(np.asarray)]

#: Keeps these training instances of an auxiliary task: task name -> example ids, int64 (kept,).
KeptInstances = Mapping[str, IntArray]

#: Name of the primary's test score among a training run's metrics, where it was asked for.
TEST_SCORE = "test_score"

Purpose = Literal["fine-tuning", "trial", "training"]


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
        test_fingerprint: likewise, of a labelled test split that is to be scored, too.
        batch_tokens: of an instance, with padding: a step's cost; 1 where the host cannot say.
    """

    name: str
    kind: str
    num_train: int
    fingerprint: str
    dev_fingerprint: str = ""
    num_dev: int = 0
    test_fingerprint: str = ""
    batch_tokens: float = 1.0


@dataclass(frozen=True)
class TaskShares:
    """How often each task is trained by one of the host's configurations.

    Attributes:
        sampler: what decides it, as the host calls it.
        shares: task -> its expected share of the steps; None where it changes while training runs.
    """

    sampler: str
    shares: Mapping[str, float | None]


@dataclass(frozen=True)
class BatchSize:
    """How many instances of a task an optimiser step takes.

    Attributes:
        train_batch_size: instances per batch.
        gradient_accumulation_steps: batches per optimiser step.
    """

    train_batch_size: int
    gradient_accumulation_steps: int

    @property
    def per_step(self) -> int:
        """Instances in one optimiser step."""
        return self.train_batch_size * self.gradient_accumulation_steps


@dataclass(frozen=True)
class Recipe:
    """How a training is run, with nothing left open; its JSON form is a part of every key.

    Attributes:
        host: name of the host that trains.
        host_version: of the code that trains; raised when the same recipe gives other numbers.
        max_steps: optimiser steps.
        evaluations: how often the primary's dev set is scored, evenly spread.
        batches: task -> what an optimiser step takes of it.
        mixing_ratios: task name -> how many of every sum(ratios) steps train it; empty: as the
            host's sampler has it.
        task_steps: task name -> its optimiser steps exactly, in an order that the seed decides;
            empty: as ratios or the host's sampler have it.
        last_task: of `task_steps`, the one whose steps come after the others', each part with a
            whole schedule of learning rates; empty: mixed.
        block_steps: so many steps of a task at a time for each unit of its ratio; None: mixed.
        schedule: what the decisions of a scheduler depend on; None without one.
        own: the host's own further settings, which only the host reads.
    """

    host: str
    host_version: int
    max_steps: int
    evaluations: int
    batches: Mapping[str, BatchSize]
    mixing_ratios: Mapping[str, int] = field(default_factory=dict)
    task_steps: Mapping[str, int] = field(default_factory=dict)
    last_task: str = field(default="", metadata=WRITTEN_IF_SET)
    block_steps: int | None = None
    schedule: JsonObject | None = None
    own: JsonObject = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingPlan:
    """One training run of the host, described completely.

    Attributes:
        purpose: why it is run; reported to the hooks, and not part of its identity.
        train_tasks: tasks to train on, the primary first.
        primary_task: the only task whose dev set is scored.
        seed: seeds weights of the heads, data order, task order and dropout.
        recipe: how it is trained (`Host.recipe`).
        kept_instances: subsets of auxiliary training data (GradTS-fg); absent tasks are whole.
    """

    purpose: Purpose
    train_tasks: tuple[str, ...]
    primary_task: str
    seed: int
    recipe: Recipe
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


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a score follows from, instance by instance, so that two trainings can be paired.

    Attributes:
        metric: name in `gains.metrics.METRICS`, which says what the columns of the values are.
        example_ids: int64 array of shape (N,), the instances' stable keys, in their order.
        values: float64 array of shape (N, q).
    """

    metric: str
    example_ids: IntArray
    values: FloatArray


@dataclass(frozen=True)
class TrainingResult:
    """What a training run came to.

    Attributes:
        score: the primary's dev metric at the best evaluation; None where the metric is undefined.
        metrics: all dev metrics of the primary at that evaluation; None where one is undefined.
        history: the dev score at each evaluation, in order; None where it is undefined.
        num_steps: optimiser steps taken.
        num_examples: training instances seen, counted with repetition.
        seconds: wall time.
        output_dir: the host's own output folder of this run; None where nothing was kept.
        scheduler_state: what the run's scheduler knew in the end; None without one.
        predictions: "dev", "test" -> what the best score follows from; absent where nobody can say.
        weights_sha256: of the host's file of weights; empty where none was kept.
        found_steps: of its steps, those another training had kept.
    """

    score: Score
    metrics: Mapping[str, Score]
    history: tuple[Score, ...]
    num_steps: int
    num_examples: int
    seconds: float
    output_dir: Path | None
    scheduler_state: JsonObject | None = None
    predictions: Mapping[str, Predictions] = field(default_factory=dict, compare=False, repr=False)
    weights_sha256: str = ""
    found_steps: int = field(default=0, compare=False, metadata=WRITTEN_IF_SET)

    unwritten: ClassVar[tuple[str, ...]] = ("predictions",)  # large; beside the record

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
        attention_mask: true without padding: bool tensor of shape (B, T), (B, C, T) for C choices.
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
        note: why it could not be ranked and is put last; None: it was ranked.
    """

    task_name: str
    tau: float
    interval: tuple[float, float] | None
    probability_above_next: float | None
    note: str | None = None


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
        task_names: rows and columns of `task_taus`: the primary, then the candidates as given,
            without those that could not be ranked.
        task_taus: float array of shape (T, T), all task-task correlations; None where the ranker
            has none.
        null_taus: taus of the primary with candidates whose labels were shuffled: what no
            relatedness looks like; empty where no such controls were probed.
        ranker: name of the ranker; `heads` is GradTS.
        measure: what `tau` is, in a word or two.
        ceiling: tau to which two samples of the primary's instances would agree; None where the
            ranker has none.
        num_instances: probed of the task of which the fewest were; None likewise.
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
    ceiling: float | None = None
    num_instances: int | None = None

    derived: ClassVar[tuple[str, ...]] = ("null_sd",)

    @property
    def task_order(self) -> tuple[str, ...]:
        """Candidate names, best first."""
        return tuple(candidate.task_name for candidate in self.candidates)

    @property
    def null_sd(self) -> float | None:
        """Standard deviation of Kendall's tau between unrelated rankings of n heads.

        None where no heads, or too few, were compared.
        """
        n = self.num_heads_total
        if n < 2 or self.task_taus is None:
            return None
        return float(np.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1))))


@dataclass(frozen=True)
class Trial:
    """A multi-task training run of the primary with some auxiliaries, over one or more seeds.

    Attributes:
        auxiliary_tasks: in ranking order; empty for the primary alone.
        scores: the primary's dev score, one per training seed; None where it is undefined.
        num_kept: kept training instances of each subsampled auxiliary; empty where all are whole.
        mixing_ratios: how often each task was trained; empty: as the host's sampler has it.
        num_steps: optimiser steps over all seeds (as measured when it ran).
        seconds: wall time over all seeds (as measured when it ran).
        reused: True where every run was found stored and nothing was trained.
        output_dirs: the host's output folder of each run whose weights may be kept: those of the
            first `training_seeds` seeds.
        test_scores: the primary's test score, one per seed, None where it is undefined; empty
            where it was not asked for.
        longer: True for the primary alone over as many steps as with auxiliaries.
        predictions, histories: of each seed's training, as `TrainingResult` has them.
    """

    auxiliary_tasks: tuple[str, ...]
    scores: tuple[Score, ...]
    num_kept: Mapping[str, int] = field(default_factory=dict)
    num_steps: int = 0
    seconds: float = 0.0
    reused: bool = False
    output_dirs: tuple[Path, ...] = ()
    mixing_ratios: Mapping[str, int] = field(default_factory=dict)
    test_scores: tuple[Score, ...] = ()
    longer: bool = False
    predictions: tuple[Mapping[str, Predictions], ...] = field(
        default=(), compare=False, repr=False
    )
    histories: tuple[tuple[Score, ...], ...] = field(default=(), compare=False, repr=False)

    derived: ClassVar[tuple[str, ...]] = ("score", "spread")
    unwritten: ClassVar[tuple[str, ...]] = ("predictions", "histories")

    @property
    def score(self) -> Score:
        """Mean dev score over the seeds; None where one of them is undefined."""
        return mean_score(self.scores)

    def comparable(self, num_seeds: int | None = None) -> float:
        """Mean over the first seeds (None: all), -inf where it is undefined: that never wins."""
        score = mean_score(self.scores[:num_seeds])
        return -math.inf if score is None else score

    def beats(self, other: Trial) -> bool:
        """Whether it scores higher over the seeds that both were trained with."""
        number = min(len(self.scores), len(other.scores))
        return self.comparable(number) > other.comparable(number)

    @property
    def spread(self) -> Score:
        """Standard deviation over the seeds (n - 1); None with one seed or an undefined score."""
        return score_spread(self.scores)

    @property
    def shown(self) -> str:
        """The score in words, with its spread where there is one."""
        return shown_score(self.score, spread=self.spread)


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
        threshold: theta that the taus of auxiliaries reached (GradTS-thres); None where they were
            not judged by one.
        instance_threshold: theta that the taus of kept instances reached (GradTS-fg); None where
            instances were not judged by one.
        instance_measure: what they were judged by, in a word.
        reason: one sentence for the user.
        rounds: what was known after each round of a search; empty where there were none.
    """

    method: str
    primary_task: str
    auxiliary_tasks: tuple[str, ...]
    reason: str
    kept_instances: KeptInstances = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    mixing_ratios: Mapping[str, int] = field(default_factory=dict)
    block_steps: int | None = None
    threshold: float | None = None
    instance_threshold: float | None = None
    instance_measure: str = "tau"
    rounds: tuple[Round, ...] = ()

    derived: ClassVar[tuple[str, ...]] = ("num_kept",)
    unwritten: ClassVar[tuple[str, ...]] = ("kept_instances",)  # large; in the host's caches

    @property
    def num_kept(self) -> dict[str, int]:
        """Kept training instances of each auxiliary that lost some."""
        return {name: len(ids) for name, ids in self.kept_instances.items()}

    def trial_of_selected(self) -> Trial | None:
        """The first trial of the selected auxiliaries; None where they were not tried."""
        return next(
            (trial for trial in self.trials if trial.auxiliary_tasks == self.auxiliary_tasks), None
        )


@dataclass
class Counters:
    """What a run really did, and what it found stored."""

    training_steps: int = 0
    training_runs: int = 0
    training_runs_reused: int = 0
    probes: int = 0
    probes_reused: int = 0


@dataclass(frozen=True)
class Outcome:
    """Everything a finished run has to say.

    Attributes:
        ranking: candidates, best first; None where the method needs no ranking.
        selection: what was selected and why.
        config_path: the rewritten host configuration.
        selected: the selection's training run; None where nothing was trained.
        alone: the primary's own training run; None where nothing was trained.
        done: what was made and what was reused.
        seconds: wall time per phase.
        cost: what it takes to know the selection with nothing stored: fine-tuning, probes and
            trials, each as measured when it was made.
        weights: files of the selection's trained weights, one per training seed.
        earlier_weights: files that earlier results in the same output folder delivered.
        gain: of the selection over the primary alone on the dev set; None where nothing was
            selected or trained.
        test_gain: the same on the test set; None also where it was not scored.
        notes: what has to be known before the scores are trusted.
    """

    ranking: Ranking | None
    selection: Selection
    config_path: Path
    selected: Trial | None
    alone: Trial | None
    done: Counters
    seconds: Mapping[str, float]
    cost: Cost
    weights: tuple[Path, ...] = ()
    earlier_weights: tuple[Path, ...] = ()
    gain: Gain | None = None
    test_gain: Gain | None = None
    notes: tuple[str, ...] = ()
