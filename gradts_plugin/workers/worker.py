"""What a worker does, whoever started it: opens the run once, and makes jobs."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import platform
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from uuid import uuid4

from gradts_plugin import opening
from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import (
    Job,
    PreparationRequest,
    ProbeRequest,
    ScheduledRequest,
    SelectionRequest,
    TrialRequest,
)
from gradts_plugin.errors import GradTSError, HostError, SettingsError, StoreError
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Counters
from gradts_plugin.run import choose
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.stores.files import disk_problem

#: Where the output of jobs goes, below the output folder.
LOGS = "workers"

#: What decides the numbers: where it differs between workers, they are not those of one process.
_COMPARED = ("gradts-plugin", "torch", "transformers")

#: What a disk refuses: nothing that is wrong in here.
_DISK_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@functools.cache
def versions() -> Mapping[str, str]:
    """The versions of what decides the numbers, in this process."""
    return {name: metadata.version(name) for name in _COMPARED}


@dataclass(frozen=True)
class Start:
    """What a worker begins with; it goes there as a pickle.

    Attributes:
        run_file: the run, with absolute paths.
        plugins: beside the installed ones.
        threads: of each worker.
        versions: of who needs the jobs.
        name: of its own, so that a worker opens the run once.
    """

    run_file: RunFile
    plugins: tuple[object, ...] = ()
    threads: int = 1
    versions: Mapping[str, str] = field(default_factory=versions)
    name: str = field(default_factory=lambda: uuid4().hex)


class WorkerTraceback(Exception):  # noqa: N818  # it is the cause of an error, and none itself
    """The traceback of a worker, shown as the cause of the error that is raised here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


@dataclass(frozen=True)
class Failure:
    """Why a job could not be done.

    Attributes:
        error: as it is raised where the job was asked for.
        where: the worker's traceback.
    """

    error: Exception
    where: WorkerTraceback


#: What a job did, or why it could not be done.
Answer = Counters | Failure


def log_of(output_dir: Path, number: int, job: Job) -> Path:
    """Where the output of a job goes: a file of its own."""
    work, primary = job.work, job.settings.primary_task
    match work:
        case ProbeRequest():
            name = f"probe-{work.info.name}-{work.seed}"
        case PreparationRequest():
            name = f"data-{work.task_name}"
        case ScheduledRequest():
            name = f"scheduled-{primary}-{work.seed}"
        case SelectionRequest():
            name = f"selection-{primary}-{job.settings.method.name}"
        case TrialRequest():
            name = f"training-{primary}+{len(work.auxiliary_tasks)}-{work.seeds[0]}"
    return output_dir / LOGS / f"{number:04}-{name}.log"


def make(start: Start, job: Job, log_file: Path) -> Answer:
    """Makes a job, in a worker.

    Args:
        start: what the worker begins with.
        job: what to make.
        log_file: where the output goes; after an error, its traceback too.
    """
    try:
        _check_place(start)
        with _output_to(log_file):
            print(f"{job.shown}: process {os.getpid()} on {platform.node()}", flush=True)  # noqa: T201
            try:
                return _make(start, job)
            except Exception:
                traceback.print_exc()
                raise
    except Exception as error:  # it is told by who asked
        return Failure(_portable(error, log_file), WorkerTraceback(traceback.format_exc()))


def _check_place(start: Start) -> None:
    """Refuses to work with other versions, or where the run's folder is not seen."""
    found = versions()
    for name, version in start.versions.items():
        if found[name] != version:
            raise HostError(
                f"executor: {platform.node()} has {name} {found[name]}, and the run was started "
                f"with {version}: install the same version on every node"
            )
    folder = start.run_file.output_dir
    if not (folder / opening.RUN_RECORD).exists():
        raise HostError(
            f"executor: {platform.node()} does not see the run in {folder}: every node needs the "
            "output folder, the store, the encoder and the data under the same paths"
        )


@contextlib.contextmanager
def _output_to(log_file: Path) -> Iterator[None]:
    """Sends everything that this process prints to a file, below Python too."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    kept = [(stream, os.dup(stream)) for stream in (1, 2)]
    try:
        with log_file.open("a", encoding="utf-8") as file, contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.redirect_stdout(file))
            stack.enter_context(contextlib.redirect_stderr(file))
            for stream, _ in kept:
                os.dup2(file.fileno(), stream)
            yield
    finally:
        for stream, copy in kept:
            os.dup2(copy, stream)
            os.close(copy)


# The run that is open in this process: (name of its start, the engine).
_open: tuple[str, Engine] | None = None


def _make(start: Start, job: Job) -> Counters:
    work = job.work
    if isinstance(work, PreparationRequest):
        manager = make_plugin_manager(start.plugins)
        opening.prepare_task(start.run_file, manager, work.task_name, log_file=_own_output())
        return Counters()
    session = _engine(start).session.with_settings(job.settings, output_dir=job.output_dir)
    engine = Engine.of(session)
    match work:
        case ProbeRequest():
            engine.probes.make(work)
        case TrialRequest():
            engine.trainings.make(work)
        case ScheduledRequest():
            scheduled = {"num_rounds": work.num_rounds, "seed": work.seed}
            engine.trainings.scheduled(work.schedule, **scheduled)
        case SelectionRequest():
            choose(engine)
            engine.trainings.weights.remove_all()
    return session.accounts.counters


def _engine(start: Start) -> Engine:
    """The run, opened once."""
    global _open  # noqa: PLW0603  # a worker is a process
    if _open is None or _open[0] != start.name:
        import torch

        torch.set_num_threads(start.threads)
        manager = make_plugin_manager(start.plugins)
        engine = opening.open_for_worker(start.run_file, manager, log_file=_own_output())
        _open = start.name, engine
    return _open[1]


def _own_output() -> Path:
    """A file that is, whenever it is opened, what this process prints to then."""
    return Path("/dev/stdout")


def _portable(error: Exception, log_file: Path) -> Exception:
    """An error as it can go to another process, with the node where that is not told elsewhere."""
    seen = f"(in a worker on {platform.node()}; its log: {log_file})"
    if isinstance(error, GradTSError) and not isinstance(error, SettingsError):
        return type(error)(f"{error} {seen}")
    if isinstance(error, OSError) and error.errno in _DISK_REFUSALS:
        name = error.filename or "a file"
        return StoreError(f"cannot write {name}: {disk_problem(error)} {seen}")
    return RuntimeError(f"a worker failed: {type(error).__name__}: {error} {seen}")
