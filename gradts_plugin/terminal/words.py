"""Scores, durations, sizes and paths in words, the same everywhere."""

from __future__ import annotations

import os
from pathlib import Path

from gradts_plugin.records import Trial
from gradts_plugin.scores import shown_score


def time_left(share: float, seconds: float) -> str:
    """The time that the rest takes at the speed so far; empty where nothing can be said yet."""
    if share <= 0 or share >= 1 or seconds <= 0:
        return ""
    return format_duration(seconds * (1 - share) / share)


def format_duration(seconds: float) -> str:
    """Seconds in words: 42 s, 7 min, 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


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


def format_score(trial: Trial) -> str:
    """A trial's score, with its spread where there is one."""
    spread = f" ± {trial.spread:.4f}" if trial.spread is not None else ""
    return f"{shown_score(trial.score)}{spread}"


def shown_path(path: Path) -> str:
    """A path as it is typed here: relative where it lies below the current folder."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # not through links
    current = Path.cwd()
    return str(absolute.relative_to(current) if absolute.is_relative_to(current) else absolute)
