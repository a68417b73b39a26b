"""Rows of values with their intervals, one below the other; what was selected stands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradts_plugin.report.figures.style import MUTED, PAPER, STRONG, rule_rows, short_name


def draw_interval(
    axes: Any,
    place: int,
    value: float,
    interval: tuple[float, float] | None,
    *,
    chosen: bool,
    name: str,
    text: str,
) -> None:
    """One row: a dot on a bar, and its number beside the axes.

    Args:
        axes: matplotlib's.
        place: of the row, from 0 on top.
        value: where the dot is.
        interval: the bar's ends; None: no bar.
        chosen: filled and bold.
        name: the dot's id in the SVG.
        text: the number as it is written.
    """
    colour = STRONG if chosen else MUTED
    if interval is not None:
        ends = (place, place)
        axes.plot(interval, ends, color=colour, linewidth=5, alpha=0.4, solid_capstyle="butt")
    axes.plot(
        value,
        place,
        "o",
        color=colour,
        markersize=6.5,
        markerfacecolor=colour if chosen else PAPER,
        markeredgewidth=1.4,
        gid=name,
    )
    axes.text(
        1.02,
        place,
        text,
        transform=axes.get_yaxis_transform(),
        va="center",
        fontweight="bold" if chosen else "normal",
    )


def name_rows(axes: Any, rows: Sequence[tuple[str, bool]]) -> None:
    """Names the rows: (name, whether it was selected), first on top."""
    axes.set_yticks(range(len(rows)), [short_name(name) for name, _ in rows])
    for label, (_, chosen) in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_fontweight("bold" if chosen else "normal")
    rule_rows(axes, len(rows), margin=0.06)
