"""Workers that are processes of this machine, each with its share of the cores, or a GPU."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradts_plugin import errors
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import Job, ProbeRequest
from gradts_plugin.errors import GradTSError, HostError, SettingsError
from gradts_plugin.opening import open_for_worker
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Counters
from gradts_plugin.settings.run_file import RunFile

#: So often in a row workers may die without anything being made.
_MOST_DEATHS = 3

#: Where each worker's output goes, below the output folder.
_LOGS = "workers"


@dataclass(frozen=True)
class _Failed:
    """Why a job could not be done.

    Attributes:
        kind: name of the error's class.
        message: for the user.
        where: the worker's traceback.
    """

    kind: str
    message: str
    where: str


class Processes:
    """An `engine.jobs.Executor` with spawned processes, which keep the host open between jobs.

    A worker that dies is replaced, and its job done again; what others made meanwhile is stored.
    """

    def __init__(
        self,
        run_file: RunFile,
        num_workers: int,
        *,
        threads: int | None = None,
        devices: Sequence[str] = (),
        plugins: Sequence[object] = (),
    ) -> None:
        """Starts nothing yet.

        Args:
            run_file: the run, prepared by the time that jobs are made.
            num_workers: processes at a time.
            threads: of each process; None: its share of the cores.
            devices: CUDA devices, each for one process; where there are fewer, they are shared.
            plugins: beside the installed ones; they go to the workers as pickles.
        """
        self._run_file = run_file
        self._num_workers = num_workers
        self._threads = threads or max(1, num_cores() // num_workers)
        self._devices = tuple(devices)
        self._plugins = tuple(plugins)
        self._pool: ProcessPoolExecutor | None = None

    @property
    def num_workers(self) -> int:
        """How many jobs are made at a time."""
        return self._num_workers

    def make(self, jobs: Sequence[Job]) -> Iterator[Counters]:
        """Makes jobs; what each did is yielded in their order.

        Raises:
            GradTSError: a job failed for a reason of its own, or workers died again and again.
        """
        deaths = 0
        waiting = list(jobs)
        try:
            while waiting:
                futures = self._submit(waiting)
                try:
                    for future in futures:
                        done = _answer(future, self._run_file.output_dir / _LOGS)
                        waiting.pop(0)
                        deaths = 0
                        yield done
                except BrokenProcessPool as error:
                    self.close()
                    deaths += 1
                    if deaths == _MOST_DEATHS:
                        raise HostError(
                            f"workers died {deaths} times over {waiting[0].shown}, killed by the "
                            "system, for want of memory perhaps: try fewer jobs; what is finished "
                            f"is stored (logs: {self._run_file.output_dir / _LOGS})"
                        ) from error
        except BaseException:
            if waiting:  # whoever asked has all there is, else
                self.close()
            raise

    def close(self) -> None:
        """Ends the workers; what they were making is lost, and what they made is stored."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        processes = list((pool._processes or {}).values())  # there is no other way to stop them
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()

    def _submit(self, jobs: Sequence[Job]) -> list[Future[Counters | _Failed]]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            places = context.SimpleQueue()
            for place in range(self._num_workers):
                places.put(self._devices[place % len(self._devices)] if self._devices else None)
            start = (self._run_file, self._plugins, self._threads, places)
            self._pool = ProcessPoolExecutor(
                self._num_workers, mp_context=context, initializer=_begin, initargs=start
            )
        # Numbers of threads are read when libraries are loaded, before a worker's first line.
        with _environment({"OMP_NUM_THREADS": str(self._threads)}):
            return [self._pool.submit(_do, job) for job in jobs]


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def _answer(future: Future[Counters | _Failed], logs: Path) -> Counters:
    """What a job did, or its error."""
    found = future.result()
    if isinstance(found, Counters):
        return found
    known = getattr(errors, found.kind, None)
    if isinstance(known, type) and issubclass(known, GradTSError) and known is not SettingsError:
        raise known(f"{found.message} (in a worker: {logs})")
    raise RuntimeError(f"a worker failed: {found.kind}: {found.message}\n{found.where}")


# --- in the worker --------------------------------------------------------------------------------

_STARTED: dict[str, Any] = {}


def _begin(run_file: RunFile, plugins: tuple[object, ...], threads: int, places: Any) -> None:
    """Takes a worker's place."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it is interrupted, and ends it
    end_with_parent()
    device = places.get()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    _STARTED.update(run_file=run_file, plugins=plugins, threads=threads)


def end_with_parent() -> None:
    """Ends this process when the one that started it is gone, which else it would not notice."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _engine() -> Engine:
    """The run, opened once."""
    if "engine" not in _STARTED:
        import torch

        torch.set_num_threads(_STARTED["threads"])
        run_file: RunFile = _STARTED["run_file"]
        logs = run_file.output_dir / _LOGS
        logs.mkdir(parents=True, exist_ok=True)
        manager = make_plugin_manager(_STARTED["plugins"])
        log_file = logs / f"{os.getpid()}.log"
        _STARTED["engine"] = open_for_worker(run_file, manager, log_file=log_file)
    engine: Engine = _STARTED["engine"]
    return engine


def _do(job: Job) -> Counters | _Failed:
    """Makes a job."""
    try:
        session = _engine().session.with_settings(job.settings, output_dir=job.output_dir)
        engine = Engine.of(session)
        if isinstance(job.work, ProbeRequest):
            engine.probes.make(job.work)
        else:
            engine.trainings.make(job.work)
        return session.accounts.counters
    except Exception as error:  # it is told by who asked
        return _Failed(type(error).__name__, str(error), traceback.format_exc())
