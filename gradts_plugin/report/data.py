"""The numbers of a report: plain records, written to `report.json` and read back.

Whatever a report or a figure shows is here; drawing computes nothing. Symbols: T tasks, L layers,
H heads, N instances.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from gradts_plugin.errors import ConfigError
from gradts_plugin.records import Cost
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.files import write_json_atomic

REPORT_JSON = "report.json"
COMPARISON_JSON = "comparison.json"

#: Of the layout of report.json.
FORMAT_VERSION = 1

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class TaskSize:
    """A task of the run.

    Attributes:
        name: unique within the run.
        kind: classification, regression, tagging or multiple_choice.
        num_train: training instances.
    """

    name: str
    kind: str
    num_train: int


@dataclass(frozen=True)
class Candidate:
    """A candidate's place in the ranking (see `records.RankedTask`)."""

    task: str
    value: float
    interval: tuple[float, float] | None
    probability_above_next: float | None


@dataclass(frozen=True)
class RankingInfo:
    """The candidates, best first (see `records.Ranking`).

    Attributes:
        ranker: its name; `heads` is GradTS.
        measure: what the values are.
        confidence: level of the intervals.
        num_seeds: fine-tuning seeds per task.
        covers: the sources of uncertainty inside the intervals.
        null_sd: standard deviation of tau between unrelated rankings of the heads; None where the
            values are no taus between heads.
        null_taus: of candidates with shuffled labels; empty where none were probed.
        threshold: what GradTS-thres asked of a value; None with other methods.
        candidates: best first.
    """

    ranker: str
    measure: str
    confidence: float
    num_seeds: int
    covers: tuple[str, ...]
    null_sd: float | None
    null_taus: tuple[float, ...]
    threshold: float | None
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class CorrelationInfo:
    """The correlations between all tasks.

    Attributes:
        task_names: rows and columns, ordered so that similar tasks are neighbours (average-linkage
            clustering of 1 - tau, optimal leaf order).
        taus: shape (T, T), symmetric, ones on the diagonal.
        num_heads: n = L * H.
        null_sd: standard deviation of tau between unrelated rankings of n heads.
    """

    task_names: tuple[str, ...]
    taus: Matrix
    num_heads: int
    null_sd: float


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
    dev_score: float | None
    seconds: float


@dataclass(frozen=True)
class TrialInfo:
    """A training run of the primary with some auxiliaries (see `records.Trial`).

    An undefined score (a correlation of constants) is None.
    """

    auxiliary_tasks: tuple[str, ...]
    score: float | None
    spread: float | None
    scores: tuple[float | None, ...]
    test_scores: tuple[float | None, ...]
    num_kept: Mapping[str, int]
    mixing_ratios: Mapping[str, int]
    num_steps: int
    seconds: float
    reused: bool


@dataclass(frozen=True)
class InstanceExample:
    """A training instance.

    Attributes:
        example_id: its key in the task's training cache.
        tau: correlation with the primary's task matrix.
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
    """Instance-level correlations of all candidates.

    Attributes:
        threshold: theta of GradTS-fg; None where no instance was filtered.
        edges: of the histogram's bins, shape (bins + 1,).
        tasks: selected auxiliaries first, then the other candidates, each in ranking order.
    """

    threshold: float | None
    edges: tuple[float, ...]
    tasks: tuple[InstanceTaus, ...]


@dataclass(frozen=True)
class SamplerInfo:
    """How often each task is trained, before and after the selection.

    Attributes:
        before: name of the host's sampler in the original configuration.
        after: in the rewritten one.
        shares: task -> (share of the steps before, after); None where it is not trained or the
            sampler's shares change while it runs.
    """

    before: str
    after: str
    shares: Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class ComparedMethod:
    """What one method came to for one primary.

    Attributes:
        trial: the selection's training, over all evaluation seeds.
        cost: until the selection is known, with nothing stored.
        regret: the oracle's score less this one's.
        gain_agreement: tau between its ranking and what each candidate alone adds; None where it
            ranks nothing, or not every candidate was trained alone.
    """

    trial: TrialInfo
    cost: Cost
    regret: float
    gain_agreement: float | None


@dataclass(frozen=True)
class ComparedPrimary:
    """All methods for one primary.

    Attributes:
        alone: trained alone.
        oracle: the best known set of auxiliaries.
        subsets: every set of auxiliaries that was trained.
        methods: by name.
    """

    alone: TrialInfo
    oracle: TrialInfo
    subsets: tuple[TrialInfo, ...]
    methods: Mapping[str, ComparedMethod]


@dataclass(frozen=True)
class Comparison:
    """What a report shows of `comparison.json`, which `gradts-select compare` writes.

    Attributes:
        seeds: evaluation seeds of each score.
        primaries: by name; each has the same methods.
    """

    seeds: int
    primaries: Mapping[str, ComparedPrimary]


@dataclass(frozen=True)
class ReportInfo:
    """Everything a report shows.

    Attributes:
        primary_task: the task to help.
        method: selection method.
        auxiliary_tasks: selected, best-ranked first; empty: none.
        reason: one sentence.
        num_kept: kept training instances of filtered auxiliaries (GradTS-fg).
        mixing_ratios: how often each task is trained (AUTOSEM); empty: the host's sampler.
        selected: the selection's training run; None where nothing was trained.
        alone: the primary's own.
        cost: what knowing the selection takes with nothing stored.
        seconds: wall time of each phase of this run.
        done: what this run trained and probed, and what it found stored.
        tasks: the primary, then the candidates.
        ranking: None where the method needs none.
        correlations: None where the ranker knows none.
        head_maps: the primary first; empty where nothing was probed.
        probes: in the order in which they are made.
        trials: the runs the decision rests on, in order.
        instances: None where nothing was probed.
        sampler: None where the host's configuration does not say.
        settings: the run's settings, as JSON values.
        provenance: versions, encoder and fingerprints, as JSON values.
        comparison: from `comparison.json`, where there is one beside the report.
    """

    primary_task: str
    method: str
    auxiliary_tasks: tuple[str, ...]
    reason: str
    num_kept: Mapping[str, int]
    mixing_ratios: Mapping[str, int]
    selected: TrialInfo | None
    alone: TrialInfo | None
    cost: Cost
    seconds: Mapping[str, float]
    done: Mapping[str, int]
    tasks: tuple[TaskSize, ...]
    ranking: RankingInfo | None
    correlations: CorrelationInfo | None
    head_maps: tuple[HeadMap, ...]
    probes: tuple[ProbeInfo, ...]
    trials: tuple[TrialInfo, ...]
    instances: InstancesInfo | None
    sampler: SamplerInfo | None
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    comparison: Comparison | None = None


def write_report_json(info: ReportInfo, folder: Path) -> Path:
    """Writes the numbers to `report.json`, whole or not at all; the comparison stays apart.

    Raises:
        StoreError: the disk refused.
    """
    values = TypeAdapter(ReportInfo).dump_python(info, mode="json", exclude={"comparison"})
    path = folder / REPORT_JSON
    write_json_atomic(path, {"format_version": FORMAT_VERSION, **values})
    return path


def read_report(folder: Path) -> ReportInfo:
    """Reads `report.json`, and `comparison.json` where it lies beside it.

    Args:
        folder: a run's output folder.

    Raises:
        ConfigError: a file is missing, broken or of another version.
    """
    path = folder / REPORT_JSON
    if folder.is_dir() and not path.exists():
        raise ConfigError(f"{folder} holds no {REPORT_JSON}; run the run file again to write it")
    values = read_json(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a report, found {type(values).__name__}")
    version = values.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise ConfigError(
            f"{path} has format version {version}, this version reads {FORMAT_VERSION}; run the "
            "run file again to write it anew"
        )
    if (folder / COMPARISON_JSON).exists():
        values["comparison"] = read_comparison(folder)
    return _parse(ReportInfo, values, path)


def read_comparison(folder: Path) -> Comparison:
    """Reads `comparison.json`.

    Args:
        folder: the output folder of a comparison.

    Raises:
        ConfigError: it is missing, broken or holds nothing.
    """
    path = folder / COMPARISON_JSON
    comparison = _parse(Comparison, read_json(path), path)
    if not any(compared.methods for compared in comparison.primaries.values()):
        raise ConfigError(f"{path} compares nothing: it names no method of any primary")
    return comparison


def holds_comparison(folder: Path) -> bool:
    """True for the output folder of a comparison, False for a run's."""
    return (folder / COMPARISON_JSON).exists() and not (folder / REPORT_JSON).exists()


RecordT = TypeVar("RecordT")


def _parse(record: type[RecordT], values: Any, path: Path) -> RecordT:
    try:
        return TypeAdapter(record).validate_python(values)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the whole file"
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        raise ConfigError(f"{path} is damaged: {place}: {message}") from error
