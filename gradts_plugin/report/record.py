"""The numbers of a run's report: what drawing needs and a run's own records do not hold.

Whatever a report or a figure shows is here. Symbols: T tasks, L layers, H heads, N instances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from gradts_plugin.comparison.results import Comparison
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.records import Outcome, Ranking, Selection, TaskInfo, TaskShares
from gradts_plugin.scores import Score

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class HeadMap:
    """How much a task relies on each head.

    Attributes:
        task: its name.
        importance: shape (L, H), first layer first: layer-normalised task matrices in [0, 1],
            averaged over the fine-tuning seeds.
    """

    task: str
    importance: Matrix


@dataclass(frozen=True)
class ProbeInfo:
    """One fine-tuned and probed task.

    Attributes:
        task: its name.
        seed: fine-tuning seed.
        num_instances: probed instances.
        dev_score: the task's own dev score after fine-tuning; None where it is undefined.
        seconds: of fine-tuning and probing, as measured when they ran.
    """

    task: str
    seed: int
    num_instances: int
    dev_score: Score
    seconds: float


@dataclass(frozen=True)
class InstanceExample:
    """A training instance.

    Attributes:
        example_id: its key in the task's training cache.
        tau: correlation with the primary's task matrix; its similarity where that was looked at.
        text: what the encoder read; empty where the host cannot say.
    """

    example_id: int
    tau: float
    text: str


@dataclass(frozen=True)
class InstanceTaus:
    """How a candidate's instances correlate with the primary.

    Attributes:
        task: the candidate.
        num_instances: probed instances, N.
        median: of their taus.
        counts: instances in each bin of `InstancesInfo.edges`.
        kept_counts: those of them that GradTS-fg kept; None where it did not filter this task.
        kept: kept instances with the highest taus.
        dropped: dropped instances with the lowest taus.
    """

    task: str
    num_instances: int
    median: float
    counts: tuple[int, ...]
    kept_counts: tuple[int, ...] | None
    kept: tuple[InstanceExample, ...] = ()
    dropped: tuple[InstanceExample, ...] = ()

    @property
    def num_kept(self) -> int:
        """Instances that are trained if the task is selected."""
        return self.num_instances if self.kept_counts is None else sum(self.kept_counts)


@dataclass(frozen=True)
class InstancesInfo:
    """Instance-level correlations of all candidates, or similarities of the auxiliaries.

    Attributes:
        threshold: theta of GradTS-fg; None where no instance was filtered.
        edges: of the histogram's bins, shape (bins + 1,).
        tasks: selected auxiliaries first, then the other candidates, each in ranking order;
            auxiliaries alone where they were judged by similarity.
        measure: what instances were judged by, in a word: tau, or similarity.
    """

    threshold: float | None
    edges: tuple[float, ...]
    tasks: tuple[InstanceTaus, ...]
    measure: str = "tau"


@dataclass(frozen=True)
class RunReport:
    """Everything the report of a run shows.

    Attributes:
        outcome: what the run came to; which instances are kept is left out of its selection.
        method_title: how the selection method is called.
        method_summary: what it does, in a sentence.
        ranker_title: how the ranker is called that the settings name.
        num_kept: kept training instances of filtered auxiliaries (GradTS-fg).
        tasks: the primary, then the candidates.
        head_maps: the primary first; empty where nothing was probed.
        probes: in the order in which they are made.
        instances: None where nothing was probed.
        shares_before: how often each task is trained by the host's original configuration; None
            where the host cannot say.
        shares_after: the same of the rewritten configuration.
        settings: the run's settings, as JSON values.
        provenance: versions, encoder and fingerprints, as JSON values.
        comparison: from `comparison.json`, where there is one beside the report.
    """

    outcome: Outcome
    method_title: str
    method_summary: str
    ranker_title: str
    num_kept: Mapping[str, int]
    tasks: tuple[TaskInfo, ...]
    head_maps: tuple[HeadMap, ...]
    probes: tuple[ProbeInfo, ...]
    instances: InstancesInfo | None
    shares_before: TaskShares | None
    shares_after: TaskShares | None
    settings: JsonObject
    provenance: JsonObject
    comparison: Comparison | None = None

    unwritten: ClassVar[tuple[str, ...]] = ("comparison",)  # has a file of its own

    @property
    def selection(self) -> Selection:
        """What was selected."""
        return self.outcome.selection

    @property
    def ranking(self) -> Ranking | None:
        """None where the method needs none."""
        return self.outcome.ranking

    @property
    def primary_task(self) -> str:
        """The task to help."""
        return self.selection.primary_task

    @property
    def auxiliary_tasks(self) -> tuple[str, ...]:
        """Selected, best-ranked first; empty: none."""
        return self.selection.auxiliary_tasks
