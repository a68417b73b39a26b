"""Hands jobs out to workers, wherever these are, and again where a worker was lost."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from gradts_plugin.engine.jobs import Job
from gradts_plugin.errors import HostError
from gradts_plugin.records import Counters
from gradts_plugin.workers.worker import Answer, Failure, Start, log_of

#: What a crew calls a job that it was given; contravariance is of no use here.
HandleT = TypeVar("HandleT")

#: So many workers may be lost over one job.
_MOST_LOST = 3


class WorkerLostError(Exception):
    """A worker is gone, with what it was making; says how, after "workers died"."""


class Crew(Protocol[HandleT]):
    """Workers of one kind; each makes one job at a time."""

    @property
    def num_workers(self) -> int:
        """How many jobs are made at a time."""
        ...

    @property
    def shown(self) -> str:
        """Whose workers they are and what each has, in words."""
        ...

    def give(self, job: Job, log_file: Path) -> HandleT:
        """Gives a job to a worker; no more than `num_workers` are given at a time.

        Args:
            job: what to make.
            log_file: where the output goes.
        """
        ...

    def wait(self, handles: Sequence[HandleT]) -> HandleT:
        """Waits until one of these has an answer, or its worker was lost."""
        ...

    def answer(self, handle: HandleT) -> Answer:
        """What became of a job that was waited for.

        Raises:
            WorkerLostError: nobody will know.
        """
        ...

    def close(self) -> None:
        """Ends the workers; what they were making is lost. Others begin with the next job."""
        ...


class Dispatcher(Generic[HandleT]):
    """An `engine.jobs.Executor` with a crew of workers.

    A worker that is lost costs what it was making, which another one makes again. A job that fails
    for its own reason ends the run: those before it are finished, and none begins after it.
    """

    def __init__(self, crew: Crew[HandleT], start: Start) -> None:
        """Starts nothing yet.

        Args:
            crew: the workers.
            start: what they begin with.
        """
        self.crew = crew
        self._start = start
        self._num_logs = 0

    @property
    def num_workers(self) -> int:
        """How many jobs are made at a time."""
        return self.crew.num_workers

    @property
    def shown(self) -> str:
        """How jobs are made, in words."""
        number, threads = self.num_workers, self._start.threads
        return (
            f"{number} job{'' if number == 1 else 's'} at a time in workers {self.crew.shown}, "
            f"{threads} thread{'' if threads == 1 else 's'}"
        )

    def make(self, jobs: Sequence[Job]) -> Iterator[Counters]:
        """Makes jobs; what each did is yielded in their order.

        Raises:
            GradTSError: a job failed for a reason of its own, or workers were lost again and again.
        """
        waiting = list(range(len(jobs)))  # a heap: what is yielded first is made first
        running: dict[HandleT, tuple[int, Path]] = {}
        answers: dict[int, Answer] = {}
        lost: Counter[int] = Counter()
        try:
            for place in range(len(jobs)):
                while place not in answers:
                    while (
                        waiting
                        and len(running) < self.num_workers
                        and waiting[0] < _first_failure(answers)
                    ):
                        number = heapq.heappop(waiting)
                        log_file = self._log_of(jobs[number])
                        running[self.crew.give(jobs[number], log_file)] = number, log_file
                    handle = self.crew.wait(list(running))
                    number, log_file = running.pop(handle)
                    try:
                        answers[number] = self.crew.answer(handle)
                    except WorkerLostError as error:
                        lost[number] += 1
                        if lost[number] == _MOST_LOST:
                            raise HostError(
                                f"workers died {_MOST_LOST} times over {jobs[number].shown}, "
                                f"{error}; what is finished is stored (log: {log_file})"
                            ) from error
                        heapq.heappush(waiting, number)
                yield _counted(answers.pop(place))
        finally:
            if running or waiting:  # an error, or whoever asked has all there is
                self.close()

    def close(self) -> None:
        """Ends the workers; what they were making is lost, and what they made is stored."""
        self.crew.close()

    def _log_of(self, job: Job) -> Path:
        self._num_logs += 1
        return log_of(self._start.run_file.output_dir, self._num_logs, job)


def _first_failure(answers: dict[int, Answer]) -> float:
    """The first job that failed for its own reason; infinity where none did."""
    failed = [number for number, answer in answers.items() if isinstance(answer, Failure)]
    return min(failed, default=math.inf)


def _counted(answer: Answer) -> Counters:
    """What a job did, or its error, as if it had been raised here."""
    if isinstance(answer, Failure):
        raise answer.error from answer.where
    return answer
