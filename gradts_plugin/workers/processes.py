"""Workers that are processes of this machine, each with its share of the cores, or a GPU."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from tqdm import tqdm

from gradts_plugin.engine.jobs import Job
from gradts_plugin.errors import PluginError
from gradts_plugin.workers.dispatching import WorkerLostError
from gradts_plugin.workers.worker import Answer, Start, make

#: Seconds that a process which closed its connection has to end.
_PATIENCE = 5.0

#: A container's share of the processor: microseconds in a period of so many ("max": all).
_CORES_OF_CONTAINER = Path("/sys/fs/cgroup/cpu.max")


@dataclass(eq=False)
class _Worker:
    """A process, and the way to it; a job that it was given is named by it.

    Attributes:
        process: the process.
        connection: jobs go there, and answers come back.
        place: its number, which says on which device it works.
        is_busy: it has a job.
    """

    process: BaseProcess
    connection: Connection
    place: int
    is_busy: bool = False


class Processes:
    """A `dispatching.Crew` of spawned processes, which keep the host open between jobs.

    One that dies is replaced; the others go on.
    """

    def __init__(self, start: Start, num_workers: int, *, devices: Sequence[str] = ()) -> None:
        """Starts nothing yet.

        Args:
            start: what each process begins with.
            num_workers: processes at a time.
            devices: CUDA devices, each for one process; where there are fewer, they are shared.
        """
        self._start = start
        self._num_workers = num_workers
        self._devices = tuple(devices)
        self._workers: list[_Worker] = []
        # Who forgets to close does not wait for ever at the end of the process.
        weakref.finalize(self, _end, self._workers)

    @property
    def num_workers(self) -> int:
        """How many jobs are made at a time."""
        return self._num_workers

    @property
    def shown(self) -> str:
        """What a job has, in words."""
        gpus = f", on {len(self._devices)} GPUs" if self._devices else ""
        return f"of this machine ({num_cores()} cores{gpus})"

    def give(self, job: Job, log_file: Path) -> _Worker:
        """Gives a job to a process that is idle, or to a new one.

        Raises:
            PluginError: the job, or a plugin, cannot go to another process.
        """
        try:
            worker = next((each for each in self._workers if not each.is_busy), None)
            if worker is None:
                worker = self._begin()
                self._workers.append(worker)
            with contextlib.suppress(BrokenPipeError):  # it died: who waits for it learns that
                worker.connection.send((job, log_file))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise PluginError(f"{job.shown} cannot go to another process: {error}") from error
        worker.is_busy = True
        return worker

    def wait(self, handles: Sequence[_Worker]) -> _Worker:
        """Waits until one of these has answered, or died."""
        ready = multiprocessing.connection.wait([each.connection for each in handles])
        return next(each for each in handles if each.connection in ready)

    def answer(self, handle: _Worker) -> Answer:
        """What became of a process's job.

        Raises:
            WorkerLostError: it died.
        """
        try:
            answer: Answer = handle.connection.recv()
        except (EOFError, OSError) as error:
            self._workers.remove(handle)
            handle.process.join(_PATIENCE)  # its own end says why
            _end([handle])
            raise WorkerLostError(_how(handle.process.exitcode)) from error
        handle.is_busy = False
        return answer

    def close(self) -> None:
        """Ends the processes; what they were making is lost."""
        _end(self._workers)

    def _begin(self) -> _Worker:
        taken = {worker.place for worker in self._workers}
        place = next(number for number in range(self._num_workers) if number not in taken)
        device = self._devices[place % len(self._devices)] if self._devices else None
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(self._start, theirs, device))
        # Numbers of threads are read when libraries are loaded, before a worker's first line.
        with _environment({"OMP_NUM_THREADS": str(self._start.threads)}):
            process.start()
        theirs.close()  # so that its end is noticed
        return _Worker(process, ours, place)


def _how(code: int | None) -> str:
    """How a process ended, and what follows from it."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"by {name}, for want of memory perhaps: try fewer jobs"
    return (
        f"with exit code {code}: what they printed says why (a Python script that has workers "
        "needs `if __name__ == '__main__':`)"
    )


def num_cores() -> int:
    """The cores that this process may use: those it is bound to, and its container's share."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with contextlib.suppress(OSError, ValueError):  # no container, or no limit: "max"
        quota, period = _CORES_OF_CONTAINER.read_text(encoding="ascii").split()
        return max(1, min(bound or 1, int(quota) // int(period)))
    return bound or 1


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()  # what it makes is published whole, or not at all
        worker.connection.close()
    for worker in workers:
        worker.process.join()
    workers.clear()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables for the processes that are started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- in the worker --------------------------------------------------------------------------------


def _work(start: Start, connection: Connection, device: str | None) -> None:
    """Makes the jobs that come, until nobody is there to send one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it is interrupted, and ends it
    end_with_parent()
    # Its own lock is a semaphore of the system: Python complains of it when a worker was killed.
    tqdm.set_lock(threading.RLock())
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    with contextlib.suppress(EOFError):
        while True:
            job, log_file = connection.recv()
            connection.send(make(start, job, log_file))


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone, which else it would not notice."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
