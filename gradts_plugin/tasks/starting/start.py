"""From a folder of files to task configs and a run file, nothing that exists overwritten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gradts_plugin.errors import ConfigError, GradTSError, nearest
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.files import write_bytes_atomic, write_json_atomic
from gradts_plugin.tasks.overview import TaskOverview, overview
from gradts_plugin.tasks.starting.configs import guess_config
from gradts_plugin.tasks.starting.folders import FoundTask, find_tasks
from gradts_plugin.tasks.starting.run_text import (
    DEFAULT_MODEL,
    SHIPPED_CANDIDATES,
    RunTask,
    run_file_text,
)
from gradts_plugin.tasks.task_configs import TaskValues, read_task_config

#: Positions of an encoder whose own number is not known.
_POSITIONS = 512


@dataclass(frozen=True)
class StartedTask:
    """A task that was found.

    Attributes:
        name: its name.
        path: its config.
        values: what is written there; None: it was there already.
        reasons: why the config says what it says, a line each.
        overview: what it reads.
    """

    name: str
    path: Path
    values: TaskValues | None
    reasons: tuple[str, ...]
    overview: TaskOverview

    @property
    def num_rows(self) -> int:
        """Its training rows."""
        return self.overview.splits[0].num_rows


@dataclass(frozen=True)
class Started:
    """What a folder became.

    Attributes:
        tasks: in the order of their names.
        problems: what is not used, a line each.
        primary: name of the task to be helped.
        run_file: where the run file is.
        kept: files that were there already, and are as they were.
    """

    tasks: tuple[StartedTask, ...]
    problems: tuple[str, ...]
    primary: str
    run_file: Path
    kept: tuple[Path, ...]


def start(
    folder: Path,
    output: Path,
    *,
    primary: str | None = None,
    model: str | None = None,
    report: Callable[[StartedTask], None] = lambda _: None,
) -> Started:
    """Looks at the files of a folder, and writes a task config for each task, and a run file.

    Args:
        folder: a file or folder for each task.
        output: where `tasks/NAME.json` and `run.yaml` are written.
        primary: the task to be helped; None: the one with the fewest training rows.
        model: name or folder of the encoder; None: a small one of the hub.
        report: is told of each task once it was read.

    Raises:
        ConfigError: there is no such folder or primary, or nothing in it is a task.
        StoreError: the disk refused.
    """
    found = find_tasks(folder, output=output)
    local = model is not None and Path(model).is_dir()
    tasks: list[StartedTask] = []
    problems = list(found.problems)
    for each in found.tasks:
        try:
            task = _started(each, output, model if local else None)
        except GradTSError as error:
            problems.append(f"{each.name}: cannot be read: {' '.join(str(error).split())}")
            continue
        tasks.append(task)
        report(task)
    if not tasks:
        more = "".join(f"\n{problem}" for problem in problems)
        raise ConfigError(f"{folder}: no task found; give each a file or folder of its own{more}")
    names = [task.name for task in tasks]
    if primary is not None and primary not in names:
        raise ConfigError(f"--primary: no task {primary!r} was read; {nearest(primary, names)}")
    chosen = primary or min(tasks, key=lambda task: task.num_rows).name
    for task in tasks:
        if task.values is not None:
            write_json_atomic(task.path, task.values)
    run_file = output / "run.yaml"
    kept = [task.path for task in tasks if task.values is None]
    if run_file.exists():
        kept.append(run_file)
    else:
        text = _run_text(tasks, output, chosen, was_given=primary is not None, model=model)
        write_bytes_atomic(run_file, text.encode())
    return Started(tuple(tasks), tuple(problems), chosen, run_file, tuple(kept))


def _started(found: FoundTask, output: Path, encoder: str | None) -> StartedTask:
    path = output / "tasks" / f"{found.name}.json"
    if path.exists():
        config, values = read_task_config(path), None
        reasons: tuple[str, ...] = (f"{path} is there already, and is left as it is",)
    else:
        guessed = guess_config(found)
        config, values, reasons = guessed.config, guessed.values, guessed.reasons
    seen = overview(config, path.parent, encoder=encoder)
    return StartedTask(config.name, path, values, reasons, seen)


def _run_text(
    tasks: Sequence[StartedTask], output: Path, primary: str, *, was_given: bool, model: str | None
) -> str:
    run_tasks = [
        RunTask(task.name, str(task.path.relative_to(output)), task.num_rows, _longest(task))
        for task in tasks
    ]
    if len(tasks) == 1:
        shipped = SHIPPED_CANDIDATES[tasks[0].overview.kind == "tagging"]
        run_tasks += [RunTask(name, name) for name in shipped if name != primary]
    local = model is not None and Path(model).is_dir()
    return run_file_text(
        run_tasks,
        primary=primary,
        was_given=was_given,
        model=str(Path(str(model)).absolute()) if local else model or DEFAULT_MODEL,
        counts_tokens=local,
        max_length=_positions(Path(str(model))) if local else _POSITIONS,
    )


def _longest(task: StartedTask) -> int:
    return max(split.lengths.most for split in task.overview.splits if split.lengths)


def _positions(encoder: Path) -> int:
    """How many tokens an encoder takes, by its own config; RoBERTa's first two are none."""
    path = encoder / "config.json"
    found = read_json(path) if path.is_file() else {}
    positions = found.get("max_position_embeddings") if isinstance(found, dict) else None
    return positions - 2 if isinstance(positions, int) and positions > 10 else _POSITIONS
