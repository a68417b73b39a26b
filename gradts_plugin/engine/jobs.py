"""Work that can be done elsewhere: a training or a probe, and who does it.

A job is named by what it makes, and leaves that in the store, so it may be done twice, or by
anybody who opens the same host. Whoever asked finds it there: what a run selects does not depend on
who made what.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gradts_plugin.engine.probes import ProbeRequest
from gradts_plugin.engine.trainings import TrialRequest
from gradts_plugin.records import Counters
from gradts_plugin.settings.selection import GradTSSettings


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
        """How many jobs are made at a time; with one, a run makes everything itself."""
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
