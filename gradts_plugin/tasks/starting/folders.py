"""The tasks of a folder: which files belong together, and which split each is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradts_plugin.errors import ConfigError
from gradts_plugin.settings.reading import read_json
from gradts_plugin.tasks.kinds import COMPRESSED, Split
from gradts_plugin.tasks.task_configs import is_custom

#: What marks the folder of a run.
_RUN: Final = "run.json"

#: Folders are looked at so deep.
_DEPTH: Final = 3

#: Words of file names -> the split that they mean.
_SPLITS: Final[Mapping[str, Split]] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "dev", "valid", "validation", "development", "testa"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "testb"), "test"),
}

#: Words of file names that say nothing of the task.
_NOISE: Final = frozenset(("matched", "ud", "split", "set", "data"))

#: Files that hold no task, and need no word.
_NO_DATA_SUFFIXES: Final = frozenset(
    (
        *(".md", ".rst", ".py", ".ipynb", ".yaml", ".yml", ".toml", ".sh", ".png", ".jpg"),
        *(".jpeg", ".gif", ".svg", ".pdf", ".html", ".log", ".lock"),
    )
)
_NO_DATA_NAMES: Final = re.compile(
    r"(readme|licen[cs]e|copying|changelog|citation|manifest|schema|dataset_infos?)\b.*", re.I
)

#: Names of files that lie side by side: texts, and their labels.
_TEXTS: Final = ("text", "texts", "sentence", "sentences")
_LABELS: Final = ("label", "labels")


@dataclass(frozen=True)
class FoundTask:
    """Files that are one task.

    Attributes:
        name: made of their folder and names.
        files: split -> its files, side by side.
        dataset: a folder that `datasets` loads, instead of files.
    """

    name: str
    files: Mapping[Split, tuple[Path, ...]]
    dataset: Path | None = None


@dataclass(frozen=True)
class FoundTasks:
    """What a folder holds.

    Attributes:
        tasks: in the order of their names.
        problems: what is not used, and why, a line each.
    """

    tasks: tuple[FoundTask, ...]
    problems: tuple[str, ...]


def find_tasks(folder: Path, *, output: Path) -> FoundTasks:
    """Looks which tasks a folder holds, by the names of folders and files.

    Args:
        folder: a file or folder for each task.
        output: what lies below is none of them.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        what = "is a file: name the folder it lies in" if folder.exists() else "no such folder"
        raise ConfigError(f"{folder}: {what}")
    problems: list[str] = []
    tasks = list(_tasks_in(folder, (), output.absolute(), problems))
    names: dict[str, FoundTask] = {}
    for task in sorted(tasks, key=lambda task: task.name):
        if task.name in names:
            where = task.dataset or next(iter(task.files.values()))[0]
            problems.append(f"{where}: there is another task {task.name!r}; rename one")
        names.setdefault(task.name, task)
    return FoundTasks(tuple(names.values()), tuple(problems))


def task_name(*parts: str) -> str:
    """A name that task configs and jiant take."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", "_".join(part for part in parts if part)).strip("_-")
    # jiant keeps heads in a torch container, whose own methods have these names.
    reserved = ("train", "eval", "keys", "values", "items", "type", "half", "float", "update")
    return f"{name or 'task'}_task" if name in reserved or not name else name


def _tasks_in(
    folder: Path, above: tuple[str, ...], output: Path, problems: list[str]
) -> Iterator[FoundTask]:
    is_written = above and (folder.absolute() == output or (folder / _RUN).is_file())
    if is_written or len(above) > _DEPTH:
        return
    name = task_name(*above) if above else task_name(folder.absolute().name)
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        yield FoundTask(name, {}, folder)
        return
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [path for path in entries if path.is_file() and _may_be_data(path, problems)]
    if any(re.search(r"-\d+-of-(?!0*1\b)\d+", path.stem) for path in files):
        yield FoundTask(name, {}, folder)  # a split in several files
    else:
        yield from _of_files(folder, files, above, problems)
    for path in entries:
        if path.is_dir():
            yield from _tasks_in(path, (*above, path.name), output, problems)


def _may_be_data(path: Path, problems: list[str]) -> bool:
    suffix = path.suffix.lower()
    if suffix in _NO_DATA_SUFFIXES or _NO_DATA_NAMES.fullmatch(path.name):
        return False
    if "mismatched" in _words(path):
        problems.append(f"{path}: beside the matched split")
        return False
    if suffix == ".json" and path.stat().st_size < 100_000 and _is_task_config(path):
        problems.append(f"{path}: is a task config; name it in the run file's tasks")
        return False
    return True


def _is_task_config(path: Path) -> bool:
    try:
        values: Any = read_json(path)
    except ConfigError:  # said where it is read as data
        return False
    return isinstance(values, dict) and is_custom(values) and "metric" in values


def _words(path: Path) -> list[str]:
    """The words of a file's name, small."""
    name = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    last = name.suffix.lower().lstrip(".")
    stem = re.sub(r"-\d+-of-\d+$", "", name.name if last in _SPLITS else name.stem)
    return [word for word in re.split(r"[^A-Za-z0-9]+", stem) if word]


def _of_files(
    folder: Path, files: list[Path], above: tuple[str, ...], problems: list[str]
) -> Iterator[FoundTask]:
    """Files by what their names say beside the split."""
    groups: dict[str, dict[Split, list[Path]]] = {}
    unsplit: set[str] = set()
    for path in files:
        words = _words(path)
        splits = [_SPLITS[word.lower()] for word in words if word.lower() in _SPLITS]
        rest = [word for word in words if word.lower() not in {*_SPLITS, *_NOISE}]
        rest = [word for word in rest if not splits or not word.isdigit()]
        key = "_".join(rest if splits else words)
        if not splits:
            unsplit.add(key)
        groups.setdefault(key, {}).setdefault(splits[0] if splits else "train", []).append(path)
    side_by_side = _side_by_side(groups)
    divided = {*groups} - unsplit
    for key, found in groups.items():
        alone = len(groups) == 1 or (above and len(divided) == 1)
        if above and key in unsplit and divided:
            for path in found["train"]:
                problems.append(f"{path}: its name says no split (train, dev or test)")
            continue
        name = task_name(*above, "" if alone and above else key) if above or key else ""
        yield from _one_task(
            name or task_name(folder.absolute().name), found, side_by_side.get(key), problems
        )


def _side_by_side(groups: dict[str, dict[Split, list[Path]]]) -> dict[str, tuple[Path, ...]]:
    """Takes files of labels to the files of texts beside them; returns them by their groups."""
    found: dict[str, tuple[Path, ...]] = {}
    for key in [*groups]:
        before, _, last = key.rpartition("_")
        if last.lower() not in _TEXTS:
            continue
        for label in _LABELS:
            other = f"{before}_{label}" if before else label
            if other in groups and {*groups[other]} == {*groups[key]}:
                for split, paths in groups.pop(other).items():
                    groups[key][split] += paths
                groups[before] = groups.pop(key)
                found[before] = tuple(groups[before]["train"]) if "train" in groups[before] else ()
                break
    return found


def _one_task(
    name: str,
    found: Mapping[Split, list[Path]],
    side_by_side: tuple[Path, ...] | None,
    problems: list[str],
) -> Iterator[FoundTask]:
    if "train" not in found:
        paths = [path for files in found.values() for path in files]
        problems.append(f"{paths[0]}: there is no training file beside it (train.*)")
        return
    files: dict[Split, tuple[Path, ...]] = {}
    for split, paths in found.items():
        kept = paths if side_by_side else paths[:1]
        files[split] = tuple(kept)
        problems += [
            f"{path}: {kept[0].name} is the {split} split of {name!r} already"
            for path in paths[len(kept) :]
        ]
    yield FoundTask(name, files)
