"""What can be chosen by name, from us and from plugins, and what it may ask for.

Symbols: B instances of a batch, N instances, L layers, H heads, n = L * H, M profiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from gradts_plugin.json_forms import JsonObject, JsonValue
from gradts_plugin.protocols import ImportanceSource, Looks, ProbeTarget, Schedule
from gradts_plugin.records import (
    Cost,
    FloatArray,
    IntArray,
    KeptInstances,
    Ranking,
    Selection,
    TaskInfo,
    TrainingResult,
    Trial,
)
from gradts_plugin.scores import Gain, Round
from gradts_plugin.settings.parsing import NoSettings, Settings
from gradts_plugin.settings.selection import GradTSSettings

if TYPE_CHECKING:
    import torch
    from torch import nn

OwnT = TypeVar("OwnT", bound=Settings)

#: What a ranker computed, by name: plain JSON values, and arrays, which are stored in files of
#: their own and read memory-mapped.
NamedValues = Mapping[str, JsonValue | FloatArray]


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


@dataclass(frozen=True)
class Measure:
    """A head importance measure that can be named in `probing.importance`.

    Attributes:
        name: what it is chosen by.
        compute: computes head importance.
        version: raised whenever the same input gives other numbers; stored ones are then not used.
    """

    name: str
    compute: HeadImportanceMeasure
    version: int = 1


class Correlation(Protocol):
    """Correlates one importance profile with many."""

    def __call__(self, reference: FloatArray, others: FloatArray) -> FloatArray:
        """Args: reference (n,), others (M, n). Returns: float64 (M,), in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Computation:
    """Values that a ranker computes once, and finds stored ever after.

    Attributes:
        name: of what is computed.
        identity: everything it depends on beside the encoder, the tasks' data and the ranker's
            version, as JSON values.
        task_names: the tasks whose data it depends on.
        compute: returns the values and what they cost.
        made_up: values with which a plan goes on where they are not stored; None: it cannot.
    """

    name: str
    identity: JsonObject
    task_names: Sequence[str]
    compute: Callable[[], tuple[NamedValues, Cost]]
    made_up: NamedValues | None = None


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
    def settings(self) -> GradTSSettings:
        """The run's settings."""
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

    def texts(self, task_name: str, *, max_instances: int | None, seed: int) -> Mapping[int, str]:
        """What the encoder reads of a task's training instances, as text; costs nothing.

        Pairs and choices are set apart as the host does (jiant: by a bar), and what the encoder's
        tokens do not tell (an uncased one's capitals, the end of a long text) is not told.

        Args:
            task_name: the primary or a candidate.
            max_instances: a sample of so many, the one that `ProbeTarget.batches` yields with the
                same arguments: with those of `settings.probing`, the instances that `probes` are
                of. None: all.
            seed: of the sample.

        Returns:
            Example id -> text, ids ascending.
        """
        ...

    def computed(self, computations: Sequence[Computation]) -> list[NamedValues]:
        """The values of each computation, made or found stored; independent of each other."""
        ...

    def fine_tuning_identity(self, task_names: Sequence[str]) -> JsonObject:
        """What decides a fine-tuning beside encoder, data and seed, for an identity."""
        ...

    def fine_tuned(
        self, task_names: Sequence[str], seed: int, looks: Looks | None = None
    ) -> AbstractContextManager[ProbeTarget]:
        """Fine-tunes the encoder on tasks (settings `fine_tuning`) and lends the model.

        Args:
            task_names: the tasks.
            seed: of the training.
            looks: lends the model while it is trained, too.
        """
        ...

    def untrained(
        self, task_names: Sequence[str], seed: int
    ) -> AbstractContextManager[ProbeTarget]:
        """Lends the pretrained encoder, with fresh heads for tasks."""
        ...

    def gains_for_others(self) -> Mapping[str, Sequence[float]]:
        """What each candidate gained other primaries, as stored trainings tell; costs nothing.

        Returns:
            Candidate -> a gain for each other primary that was trained with it alone, by the same
            encoder and settings; empty where none was.
        """
        ...


@dataclass(frozen=True)
class Ranker(Generic[OwnT]):
    """A way of ordering the candidates that can be named in `ranking.ranker`.

    Attributes:
        name: what it is chosen by.
        rank: orders the candidates, best first; given its own settings.
        settings: the class of its own settings.
        title: how tables and pages call it.
        summary: one sentence for the documentation, with the source.
        needs_probes: True where it asks for `probes`; they become a phase of their own.
        version: raised whenever the same input gives other computed values.
    """

    name: str
    rank: Callable[[RankingContext, OwnT], Ranking]
    title: str
    summary: str = ""
    settings: type[OwnT] = NoSettings  # type: ignore[assignment]  # NoSettings is a Settings
    needs_probes: bool = False
    version: int = 1


@dataclass(frozen=True)
class TrialOf:
    """A trial that a method asks for.

    Attributes:
        auxiliary_tasks: what the primary is trained with; empty: alone.
        num_seeds: training seeds, always from the first one on; a seed more is one training more,
            since those before it are found stored. None: `settings.training_seeds`.
    """

    auxiliary_tasks: tuple[str, ...]
    num_seeds: int | None = None


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
        block_steps: int | None = None,
        num_seeds: int | None = None,
        likely_next: Sequence[TrialOf] = (),
    ) -> Trial:
        """Trains primary + auxiliaries from the pretrained weights, or finds that run stored.

        Args:
            auxiliary_tasks: what the primary is trained with; empty: alone.
            kept_instances: subsets of auxiliary training data.
            mixing_ratios: how often each task is trained, the primary included; None: as the
                host's sampler has it.
            block_steps: train so many steps of a task at a time for each unit of its ratio; None:
                mixed.
            num_seeds: training seeds, always from the first one on; None:
                `settings.training_seeds`.
            likely_next: what may be asked for next, the likeliest first. Workers that have nothing
                else to do begin with it; scores and costs are those of what is asked for.
        """
        ...

    def gain(self, trial: Trial, baseline: Trial) -> Gain:
        """By how much a trial scores higher than another one, and how sure that is.

        How much seeds matter is judged by all trials that were scored so far.

        Args:
            trial: from `score`.
            baseline: what it is compared with, such as the primary alone.
        """
        ...

    def score_all(self, trials: Sequence[TrialOf], *, at_most: int | None = None) -> list[Trial]:
        """Scores several trials, none of which depends on another one.

        Args:
            trials: what is tried, each set once.
            at_most: where scores chose the sets, how many trainings this and all that follows take
                at most; a plan counts so many of the dearest. None: whatever the scores, it is
                these sets.

        Returns:
            One for each, in their order.
        """
        ...

    def num_trainings(self, trial: TrialOf) -> int:
        """How many trainings a trial takes where nothing of it is stored."""
        ...

    def tell(self, round_of_search: Round) -> None:
        """Tells the hooks what is known after a round (`after_round`)."""
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


@dataclass(frozen=True)
class Method(Generic[OwnT]):
    """A selection method that can be named in `method`.

    What a run will do is foretold by asking `select` with a context that books costs and answers
    with scores of its own, so it must decide by what the context answers and by nothing else.

    Attributes:
        name: what it is chosen by.
        select: chooses auxiliaries (and instances) for the primary; given its own settings.
        settings: the class of its own settings.
        title: how tables and pages call it.
        summary: one sentence for the documentation, with the source.
        needs_ranking: False where it never looks at `context.ranking`: nothing is ranked for it.
        faithful: its own settings with `faithful: true`, where they differ from the defaults.
    """

    name: str
    select: Callable[[SelectionContext, OwnT], Selection]
    title: str
    summary: str = ""
    settings: type[OwnT] = NoSettings  # type: ignore[assignment]  # NoSettings is a Settings
    needs_ranking: bool = True
    faithful: JsonObject = field(default_factory=dict)
