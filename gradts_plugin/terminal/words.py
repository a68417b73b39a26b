"""Times left, sizes, tasks and paths in words, the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path

from gradts_plugin.scores import shown_duration


def time_left(share: float, seconds: float) -> str:
    """The time that the rest takes at the speed so far; empty where nothing can be said yet."""
    if share <= 0 or share >= 1 or seconds <= 0:
        return ""
    return shown_duration(seconds * (1 - share) / share)


def format_bytes(count: float) -> str:
    """A size in words: 12 kB, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def describe_tasks(primary_task: str, auxiliary_tasks: tuple[str, ...]) -> str:
    """Names a training run's tasks."""
    return (
        " + ".join((primary_task, *auxiliary_tasks)) if auxiliary_tasks else f"{primary_task} alone"
    )


def shown_path(path: Path) -> str:
    """A path as it is typed here: relative where it lies below the current folder."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # not through links
    current = Path.cwd()
    return str(absolute.relative_to(current) if absolute.is_relative_to(current) else absolute)
