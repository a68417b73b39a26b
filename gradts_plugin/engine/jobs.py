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

from gradts_plugin.records import Counters, KeptInstances, TaskInfo
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
class Job:
    """Something to make.

    Attributes:
        settings: of the run that needs it.
        output_dir: of that run; weights go there.
        work: a probe, or the trainings of a trial, one seed.
    """

    settings: GradTSSettings
    output_dir: Path
    work: ProbeRequest | TrialRequest

    @property
    def shown(self) -> str:
        """What is made, in a few words."""
        if isinstance(self.work, ProbeRequest):
            return f"the probe of {self.work.info.name}"
        beside = ", ".join(self.work.auxiliary_tasks)
        primary = self.settings.primary_task
        return f"the training of {primary}" + (f" with {beside}" if beside else " alone")


class Executor(Protocol):
    """Makes jobs, several at a time where it has workers for that."""

    @property
    def num_workers(self) -> int:
        """How many jobs are made at a time."""
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
