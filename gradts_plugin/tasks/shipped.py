"""The task configs that come with the package, found by their names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.settings.reading import no_such_file


def shipped_task_configs() -> dict[str, Path]:
    """Task name -> path of each task config that comes with the package.

    An installed package has them beside its modules, a checkout at its root.
    """
    package = Path(__file__).parent.parent
    installed = package / "shipped_task_configs"
    folder = installed if installed.is_dir() else package.parent / "task_configs"
    return {path.stem: path for path in sorted(folder.glob("*.json")) if path.stem != "schema"}


def resolve_task_config(name_or_path: str, *, extra: Mapping[str, Path] | None = None) -> Path:
    """Finds a task config by name or by path.

    Args:
        name_or_path: name of a shipped or added task config, or the path of a JSON file.
        extra: more names, which win over the shipped ones.

    Returns:
        The path of the task config.

    Raises:
        ConfigError: there is no such name or file; says the nearest name.
    """
    named = {**shipped_task_configs(), **(extra or {})}
    if name_or_path in named:
        return named[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == ".json" or len(path.parts) > 1:
        raise ConfigError(no_such_file(path).replace("no such file", "no such task config file", 1))
    raise ConfigError(f"unknown task {name_or_path!r}; {nearest(name_or_path, named)}")
