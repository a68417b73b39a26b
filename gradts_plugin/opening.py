"""Opens runs: from a run file, or on a host that is there; and keeps each in its own folder."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pluggy

from gradts_plugin.engine.engine import Engine
from gradts_plugin.engine.jobs import Executor, Job, PreparationRequest
from gradts_plugin.engine.session import Session, Stores, candidate_tasks
from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.listeners.attaching import NOT_LOGGED, attach_logs, check_logs, detach_logs
from gradts_plugin.plugins import Registry, collect_registry
from gradts_plugin.protocols import Host, HostOpening
from gradts_plugin.run import RESULT
from gradts_plugin.settings.reading import read_json
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.checksums import check_sum
from gradts_plugin.stores.files import TEMPORARY_PREFIX, write_json_atomic
from gradts_plugin.stores.locks import LOCK, FolderLock, refuse_if_held

#: Marks an output folder and says what run it holds.
RUN_RECORD = "run.json"

#: Of that record, and of everything in the folder; raised when a key changes its meaning.
FORMAT_VERSION = 2


def open_run_file(
    run_file: RunFile,
    manager: pluggy.PluginManager,
    *,
    prepared_in: Path | None = None,
    check_task_names: Callable[[Sequence[str]], None] = lambda _: None,
    executor: Executor | None = None,
) -> Engine:
    """Opens and prepares a run file's host, and the run on it.

    The run has its output folder for itself until the end of `with`, or of the process.

    Args:
        run_file: the run, with absolute paths.
        manager: the plugins.
        prepared_in: another output folder, whose prepared tasks are used where they fit.
        check_task_names: may refuse the names of the tasks before anything is written.
        executor: makes what can be made apart; None: this process makes everything.

    Raises:
        GradTSError: see the parts; nothing is lost.
    """
    if not run_file.enabled:
        raise ConfigError("enabled is false: nothing is run; leave the key out, or set it to true")
    check_names(manager, run_file)
    refuse_if_held(run_file.output_dir)
    check_output_dir(run_file.output_dir, run_file)
    Stores.open(run_file.store_folder)
    opening = _open_host(run_file, manager)
    check_task_names(opening.task_names)
    candidate_tasks(run_file, opening.task_names)
    opening.check()
    # Only now is anything written.
    lock = claim_output_dir(run_file.output_dir, run_file)
    with lock.released_on_error():
        return _prepared(run_file, manager, opening, lock, prepared_in, executor)


def open_for_worker(run_file: RunFile, manager: pluggy.PluginManager, *, log_file: Path) -> Engine:
    """Opens a run that another process has prepared, and has the folder of.

    Args:
        run_file: the run, with absolute paths.
        manager: the plugins, none of which listens to the run.
        log_file: where the host's output goes.

    Raises:
        GradTSError: see the parts.
    """
    host = _open_host(run_file, manager).prepare(log_file=log_file, prepared_in=None)
    registry = check_names(manager, run_file)
    stores = Stores.open(run_file.store_folder)
    settings = _settings_of(run_file)
    session = Session(host, settings, manager, registry, stores, run_file.output_dir)
    return Engine.of(session)


def prepare_task(
    run_file: RunFile, manager: pluggy.PluginManager, task_name: str, *, log_file: Path
) -> None:
    """Prepares the data of one task in the output folder, which another process has.

    Args:
        run_file: the run, with absolute paths.
        manager: the plugins.
        task_name: the task.
        log_file: where the host's output goes.

    Raises:
        GradTSError: see the parts.
    """
    _open_host(run_file, manager).prepare_task(task_name, log_file=log_file)


def _prepared(
    run_file: RunFile,
    manager: pluggy.PluginManager,
    opening: HostOpening,
    lock: FolderLock,
    prepared_in: Path | None,
    executor: Executor | None,
) -> Engine:
    """The run, in its own folder."""
    with contextlib.ExitStack() as on_error:
        on_error.callback(detach_logs, manager)
        attach_logs(manager, run_file, run_file.output_dir)
        manager.hook.before_phase(phase="load", num_units=len(opening.task_names))
        start = time.perf_counter()
        log_file = run_file.output_dir / "host.log"
        made_now: tuple[str, ...] = ()
        if executor is not None and prepared_in is None:
            settings, made_now = _settings_of(run_file), opening.unprepared_tasks
            jobs = [
                Job(settings, run_file.output_dir, PreparationRequest(name)) for name in made_now
            ]
            deque(executor.make(jobs), maxlen=0)
        host = opening.prepare(log_file=log_file, prepared_in=prepared_in, made_now=made_now)
        seconds = time.perf_counter() - start
        manager.hook.after_phase(phase="load", seconds=seconds)
        settings = _settings_of(run_file)
        engine = open_session(
            host, settings, manager, output_dir=run_file.output_dir, lock=lock, executor=executor
        )
        engine.session.accounts.seconds["load"] = seconds
        on_error.pop_all()
        return engine


def _settings_of(run_file: RunFile) -> GradTSSettings:
    """The settings in a run file."""
    given = run_file.model_dump(include=set(GradTSSettings.model_fields), exclude_unset=True)
    given["training"] = run_file.training.model_dump(exclude_unset=True)  # its length at least
    return GradTSSettings.model_validate(given)


def _open_host(run_file: RunFile, manager: pluggy.PluginManager) -> HostOpening:
    extra: dict[str, Path] = {}
    for named in reversed(manager.hook.extend_task_configs()):
        extra |= named
    opening: HostOpening | None = manager.hook.open_host(
        run_file=run_file, task_configs=extra, hook=manager.hook
    )
    if opening is None:
        raise ConfigError(f"host: unknown value {run_file.host!r}; jiant, or one of a plugin")
    return opening


def open_session(
    host: Host,
    settings: GradTSSettings,
    manager: pluggy.PluginManager,
    *,
    output_dir: Path,
    lock: FolderLock | None = None,
    executor: Executor | None = None,
) -> Engine:
    """Opens a run on a host.

    Args:
        host: loads and trains.
        settings: the settings.
        manager: the plugins.
        output_dir: where the run writes.
        lock: of that folder, if it is to be given back with the run.
        executor: makes what can be made apart; None: this process makes everything.
    """
    registry = check_names(manager, settings)
    stores = Stores.open(settings.store or output_dir / "store")
    attach_logs(manager, settings, output_dir)
    session = Session(
        host,
        settings,
        manager,
        registry,
        stores,
        output_dir,
        lock=lock,
        executor=executor,
        on_closed=functools.partial(detach_logs, manager),
    )
    return Engine.of(session, delivered=_delivered_in(output_dir))


def reopen(opened: Session, settings: GradTSSettings, *, output_dir: Path) -> Engine:
    """A run with other settings on the same host, sharing the stores.

    Args:
        opened: a run on the same tasks and encoder.
        settings: the other settings; their `store` is not looked at.
        output_dir: where the new run writes.
    """
    attach_logs(opened.manager, settings, output_dir)
    session = opened.with_settings(settings, output_dir=output_dir)
    return Engine.of(session, delivered=_delivered_in(output_dir))


@contextlib.contextmanager
def run_file_to_plan(
    run_file: RunFile,
    manager: pluggy.PluginManager,
    *,
    check_task_names: Callable[[Sequence[str]], None] = lambda _: None,
) -> Iterator[Engine]:
    """Opens a run file in a temporary folder, to look at it.

    What the output folder or the store holds already is found. Nothing is written there but what
    the host prepares and keeps in the store, so that the run finds it.

    Args:
        run_file: the run, with absolute paths.
        manager: the plugins.
        check_task_names: may refuse the names of the tasks.

    Raises:
        GradTSError: as `open_run_file`.
    """
    output_dir = run_file.output_dir
    check_output_dir(output_dir, run_file)
    check_logs(run_file)
    with tempfile.TemporaryDirectory(prefix="gradts-plan-") as folder:
        elsewhere = run_file.model_copy(
            update={
                "output_dir": Path(folder),
                "store": run_file.store_folder,
                **NOT_LOGGED,
            }
        )
        with open_run_file(
            elsewhere, manager, prepared_in=output_dir, check_task_names=check_task_names
        ) as engine:
            yield engine


def check_names(manager: pluggy.PluginManager, settings: GradTSSettings) -> Registry:
    """Refuses what the settings name and nobody offers, before anything runs."""
    registry = collect_registry(manager)
    registry.check(settings)
    check_logs(settings)
    return registry


# --- the output folder ----------------------------------------------------------------------------


def check_output_dir(folder: Path, run_file: RunFile) -> None:
    """Checks that an output folder is free, or this run's already; writes nothing.

    Raises:
        ConfigError: the folder holds another run, a run of another version, or other files.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(f"output_dir {folder}: {path.name} is a device, pipe or socket")
    wanted = _identity(run_file)
    record = folder / RUN_RECORD
    if record.exists():
        found = read_json(record)
        if not isinstance(found, dict):
            raise ConfigError(f"{record} is damaged: expected the record of a run")
        if found.get("format_version") != FORMAT_VERSION:
            raise ConfigError(
                f"output_dir {folder} holds a run of another version of this plugin; choose "
                "another output_dir"
            )
        for key in sorted({*found, *wanted}):
            if found.get(key) != wanted.get(key):
                raise ConfigError(
                    f"output_dir {folder} holds another run: its {key} is "
                    f"{_short(found.get(key))}, here it is {_short(wanted.get(key))}; choose "
                    f"another output_dir (set store to share what is already probed)"
                )
        return
    if folder.is_file():
        raise ConfigError(f"output_dir {folder} is a file")
    if folder.is_dir() and any(not _is_passing(path) for path in folder.iterdir()):
        raise ConfigError(f"output_dir {folder} holds other files; choose an empty or new folder")


def claim_output_dir(folder: Path, run_file: RunFile) -> FolderLock:
    """Marks an output folder as this run's (see `check_output_dir`), and takes it for itself.

    Raises:
        ConfigError: somebody else has marked it in the meantime.
        StoreError: a run is in progress in it; the disk is full, read-only or not permitted.
    """
    lock = FolderLock(folder)
    with lock.released_on_error():
        check_output_dir(folder, run_file)
        if not (folder / RUN_RECORD).exists():
            write_json_atomic(folder / RUN_RECORD, _identity(run_file))
    return lock


def _is_passing(path: Path) -> bool:
    """True for what lies in a folder only while somebody takes it, and for what a plan keeps."""
    return path.name.startswith((LOCK, TEMPORARY_PREFIX)) or path.name == "store"


def _identity(run_file: RunFile) -> JsonObject:
    """What makes two runs the same run, as JSON values."""
    names = type(run_file).names_that_affect("run")
    return {"format_version": FORMAT_VERSION, **run_file.model_dump(mode="json", include=names)}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _delivered_in(folder: Path) -> list[Path]:
    """Weights that earlier results in an output folder delivered."""
    path = folder / RESULT
    if not path.exists():
        return []
    check_sum(path, "remove it and run again: weights of an earlier selection may then go")
    found = read_json(path)
    if not isinstance(found, dict):
        return []
    listed = [*found.get("weights", []), *found.get("earlier_weights", [])]
    return [Path(path) for path in dict.fromkeys(listed)]
