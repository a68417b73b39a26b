"""JSON and YAML files read, with the line of what is broken."""

from __future__ import annotations

import difflib
import json
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gradts_plugin.errors import ConfigError

#: Values in a file, counted as often as its aliases repeat them.
_MOST_VALUES = 1_000_000


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ConfigError: the file is missing or broken, or names a key twice; says the line where JSON
            says it.
    """
    text = _read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_without_repeated_keys)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: broken JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: broken JSON: {_problem(error)}") from error


def read_yaml(path: Path) -> Any:
    """Reads a YAML file (safe loading only).

    Raises:
        ConfigError: the file is missing or broken, or names a key twice; says the line.
    """
    text = _read_text(path)
    try:
        values = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
        if _num_values(values, {}) > _MOST_VALUES:
            raise ValueError(f"it holds more than {_MOST_VALUES:,} values")
        return values
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{line}: broken YAML: {problem}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: broken YAML: {_problem(error)}") from error


class _Loader(yaml.SafeLoader):
    """YAML without its traps: a key stands once, and 12:30 is no number of minutes."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        is_number = tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if kind is yaml.ScalarNode and is_number and ":" in value:
            return self.DEFAULT_SCALAR_TAG
        return tag

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names: set[str] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                if key.value in names:
                    raise yaml.constructor.ConstructorError(
                        problem=f"key {key.value!r} stands twice", problem_mark=key.start_mark
                    )
                names.add(key.value)
        return super().construct_mapping(node, deep=deep)


def _without_repeated_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {repeated!r} stands twice")
    return found


def _num_values(value: Any, known: dict[int, int]) -> int:
    """How many values there are, where those that aliases repeat are counted each time."""
    if id(value) not in known:
        inside: Any = ()
        if isinstance(value, Mapping):
            inside = value.values()
        elif isinstance(value, list | tuple | set):
            inside = value
        known[id(value)] = 1 + sum(_num_values(item, known) for item in inside)
    return known[id(value)]


def _problem(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _read_text(path: Path) -> str:
    try:
        if is_special(path):
            raise ConfigError(no_file(path))
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(no_such_file(path)) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder, a file is needed") from error
    except PermissionError as error:
        raise ConfigError(f"{path}: may not be read") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a name with a NUL
        raise ConfigError(f"{path}: cannot be read: {error}") from error


def is_special(path: Path) -> bool:
    """Whether a path is a device, pipe or socket: one may be waited for, another has no end.

    Raises:
        OSError: there is nothing, or nothing that may be looked at.
    """
    mode = path.stat().st_mode
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def no_file(path: Path) -> str:
    """What to say of a device, pipe or socket."""
    return f"{path}: is a device, pipe or socket; a file is needed"


def no_such_file(path: Path) -> str:
    """What to say of a file that is not there: where it is instead, or what is called nearly so."""
    found = _elsewhere(path.absolute())
    if found is not None:
        hint = f"; {found} exists: relative paths start at the folder of the file that names them"
    else:
        found = _near(path.absolute())
        hint = f"; did you mean {found}?" if found is not None else ""
    return f"{path}: no such file{hint}"


def _elsewhere(path: Path) -> Path | None:
    """The end of a path, below a folder above or the current one; the longest end first."""
    places = [*path.parents[1:5], Path.cwd()]
    for length in (4, 3, 2, 1):
        end = Path(*path.parts[1:][-length:])
        for place in places:
            if (place / end).is_file():
                return place / end
    return None


def _near(path: Path) -> Path | None:
    """What is called like the first part of a path that is missing."""
    for part, folder in zip([path, *path.parents], path.parents, strict=False):
        if folder.is_dir():
            try:
                names = [each.name for each in folder.iterdir()]
            except PermissionError:
                return None
            close = difflib.get_close_matches(part.name, names, n=1, cutoff=0.8)
            return folder / close[0] if close else None
    return None
