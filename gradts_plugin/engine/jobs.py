"""What a run needs: trials and probes, as they are asked for, and who makes them.

A job is named by what it makes, and leaves that in the store, so it may be done twice, or by
anybody who opens the same host. Whoever asked finds it there: what a run selects does not depend on
who made what.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from gradts_plugin.errors import HostError
from gradts_plugin.protocols import Schedule
from gradts_plugin.records import Counters, KeptInstances, Selection, TaskInfo
from gradts_plugin.settings.probing import ProbingSettings
from gradts_plugin.settings.selection import GradTSSettings


@dataclass(frozen=True)
class TrialRequest:
    """A trial that is needed.

    Attributes:
        auxiliary_tasks: what the primary is trained with; empty: alone.
        seeds: training seeds, one training each.
        kept_instances: subsets of auxiliary training data.
        mixing_ratios: how often each task is trained; empty: as the host's sampler has it.
        block_steps: so many steps of a task at a time for each unit of its ratio; None: mixed.
        weights_needed: train again where a stored training's weights were not kept.
        longer: of the primary alone with equal exposure: True trains it for as many steps as with
            auxiliaries, None for whichever of both scores better.
    """

    auxiliary_tasks: tuple[str, ...]
    seeds: range
    kept_instances: KeptInstances = field(default_factory=dict)
    mixing_ratios: Mapping[str, int] = field(default_factory=dict)
    block_steps: int | None = None
    weights_needed: bool = False
    longer: bool | None = None

    @classmethod
    def of(cls, selection: Selection, seeds: range) -> TrialRequest:
        """The training of a selection, whose weights are kept."""
        longer = None
        if not selection.auxiliary_tasks:  # the primary alone is trained as it was tried
            tried = selection.trial_of_selected()
            longer = tried is not None and tried.longer
        return cls(
            selection.auxiliary_tasks,
            seeds,
            selection.kept_instances,
            selection.mixing_ratios,
            selection.block_steps,
            weights_needed=True,
            longer=longer,
        )


@dataclass(frozen=True)
class ProbeRequest:
    """A probe that is needed.

    Attributes:
        info: the task.
        seed: its fine-tuning seed.
        probing: how it is probed.
        shuffle_seed: shuffles its labels; None: they stay.
    """

    info: TaskInfo
    seed: int
    probing: ProbingSettings
    shuffle_seed: int | None = None

    @property
    def num_instances(self) -> int:
        """How many instances are probed."""
        return min(self.info.num_train, self.probing.max_instances or self.info.num_train)


@dataclass(frozen=True)
class ScheduledRequest:
    """One training of the primary and all candidates, a scheduler deciding who is next.

    Attributes:
        schedule: with a scheduler that can go to another process.
        num_rounds: decisions.
        seed: of the training.
    """

    schedule: Schedule
    num_rounds: int
    seed: int


@dataclass(frozen=True)
class SelectionRequest:
    """All that the job's settings need to select: a method of a comparison.

    It is for what it leaves in the stores: whoever asked selects by that, which makes nothing more.
    """


@dataclass(frozen=True)
class PreparationRequest:
    """A task's data, prepared as the host needs it.

    Attributes:
        task_name: the task.
    """

    task_name: str


@dataclass(frozen=True)
class Job:
    """Something to make.

    Attributes:
        settings: of the run that needs it.
        output_dir: of that run; weights go there.
        work: what it is; of a trial the trainings of one seed.
    """

    settings: GradTSSettings
    output_dir: Path
    work: ProbeRequest | TrialRequest | ScheduledRequest | SelectionRequest | PreparationRequest

    @property
    def shown(self) -> str:
        """What is made, in a few words."""
        primary = self.settings.primary_task
        match self.work:
            case ProbeRequest():
                return f"the probe of {self.work.info.name}"
            case PreparationRequest():
                return f"the data of {self.work.task_name}"
            case ScheduledRequest():
                return f"the scheduled training of {primary} with all candidates"
            case SelectionRequest():
                return f"the selection of {self.settings.method.name} for {primary}"
            case TrialRequest():
                beside = ", ".join(self.work.auxiliary_tasks)
                return f"the training of {primary}" + (f" with {beside}" if beside else " alone")


class Executor(Protocol):
    """Makes jobs in workers, several at a time where it has several of them."""

    @property
    def num_workers(self) -> int:
        """How many jobs are made at a time."""
        ...

    @property
    def shown(self) -> str:
        """How jobs are made, in words."""
        ...

    def make(self, jobs: Sequence[Job]) -> Iterator[Counters]:
        """Makes jobs; what each did is yielded in their order.

        Raises:
            GradTSError: a job failed for a reason of its own, or workers died again and again.
        """
        ...

    def close(self) -> None:
        """Lets the workers go."""
        ...


#: So often a job is given to workers that neither make it nor find that another run does.
MOST_TIMES = 5


def not_seen(job: Job, store: Path) -> HostError:
    """The error where a worker made something, and it is not found here."""
    return HostError(
        f"a worker made {job.shown}, which is not found in the store {store}: every worker needs "
        "the same store, under the same path, and the same kind of device as this process "
        "(precision: auto means another one with a GPU than without)"
    )
