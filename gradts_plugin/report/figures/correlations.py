"""The taus between all tasks as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.records import FloatArray, Ranking
from gradts_plugin.report.figures.cells import draw_cells, rgb
from gradts_plugin.report.figures.files import DRAWN, saved
from gradts_plugin.report.figures.picture import Drawing, Picture, Table
from gradts_plugin.report.figures.style import (
    INK,
    NEGATIVE,
    POSITIVE,
    drawing_settings,
    new_axes,
    short_name,
)
from gradts_plugin.stores.files import write_bytes_atomic

# The strongest colour of a cell still lets its number be read.
_MOST_OPAQUE = 0.7
# Below this the colours would blow up differences that are not there.
_SMALLEST_LIMIT = 0.1


@dataclass(frozen=True)
class CorrelationFigureInfo:
    """The numbers of the picture.

    Attributes:
        task_names: rows and columns.
        taus: float array of shape (T, T), symmetric, ones on the diagonal.
        num_heads_total: n = L * H.
        null_sd: standard deviation of tau between unrelated rankings of n heads.
        limit: the colours run from -limit to limit, the largest tau between two tasks.
        primary_task: is set apart.
    """

    task_names: tuple[str, ...]
    taus: FloatArray
    num_heads_total: int
    null_sd: float | None
    limit: float
    primary_task: str


def correlation_figure_info(ranking: Ranking) -> CorrelationFigureInfo:
    """Puts the task-task taus into ranking order.

    Args:
        ranking: as ranked, with the taus between all tasks.

    Returns:
        The numbers to draw or print: the primary, then the candidates, best-ranked first.

    Raises:
        ConfigError: the ranker correlates the candidates with the primary only.
    """
    names = (ranking.primary_task, *ranking.task_order)
    return _in_order(ranking, [ranking.task_names.index(name) for name in names])


def _in_order(ranking: Ranking, order: Sequence[int]) -> CorrelationFigureInfo:
    taus = _taus_of(ranking)[np.ix_(order, order)]
    return CorrelationFigureInfo(
        task_names=tuple(ranking.task_names[place] for place in order),
        taus=taus,
        num_heads_total=ranking.num_heads_total,
        null_sd=ranking.null_sd,
        limit=_limit(taus),
        primary_task=ranking.primary_task,
    )


def _taus_of(ranking: Ranking) -> FloatArray:
    if ranking.task_taus is None:
        raise ConfigError(f"ranker {ranking.ranker!r} knows no correlations between all tasks")
    return ranking.task_taus


def draw_task_correlations(info: CorrelationFigureInfo, path: Path) -> None:
    """Draws a heat map of the taus between all tasks.

    Args:
        info: the numbers.
        path: the picture; its suffix says the format (svg, png or pdf).

    Raises:
        ConfigError: matplotlib is not installed, or the suffix is none of the formats.
        StoreError: the disk refused.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in DRAWN:
        raise ConfigError(f"{path}: no picture format {suffix!r}; {nearest(suffix, DRAWN)}")
    with drawing_settings():
        content = saved(_draw_correlations(info).figure, suffix)
    write_bytes_atomic(path, content)


def cluster_order(taus: FloatArray) -> list[int]:
    """An order in which similar tasks are neighbours.

    Args:
        taus: symmetric, shape (T, T).

    Returns:
        A permutation of range(T): the leaves of an average-linkage clustering of 1 - tau, in the
        optimal leaf order (neighbours are as similar as the tree allows).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(taus) < 3:
        return list(range(len(taus)))
    rows, columns = np.triu_indices(len(taus), 1)
    tree = linkage(1 - taus[rows, columns], method="average", optimal_ordering=True)
    order: list[int] = leaves_list(tree).tolist()
    return order


def correlations_picture(ranking: Ranking) -> Picture:
    """The taus between all tasks of a ranking that has them, similar ones beside each other."""
    numbers = _in_order(ranking, cluster_order(_taus_of(ranking)))
    names, taus = numbers.task_names, numbers.taus
    apart = np.where(np.eye(len(names), dtype=bool), -2.0, taus)
    row, column = np.unravel_index(apart.argmax(), apart.shape)
    return Picture(
        name="task-correlations",
        title="Correlations between all tasks",
        description=(
            f"Heat map of tau between {len(names)} tasks, similar ones beside each other. The "
            f"highest is {taus[row, column]:.2f}, between {names[row]} and {names[column]}."
        ),
        table=Table(
            ("task", *names),
            tuple((name, *values) for name, values in zip(names, taus.tolist(), strict=True)),
        ),
        draw=lambda: _draw_correlations(numbers),
    )


def _draw_correlations(info: CorrelationFigureInfo) -> Drawing:
    number = len(info.task_names)
    side = max(0.36 * number, 1.2)
    figure, axes = new_axes(side, side)
    apart = ~np.eye(number, dtype=bool)
    colours = np.zeros((number, number, 4))
    for sign, colour in ((1, POSITIVE), (-1, NEGATIVE)):
        colours[np.sign(info.taus) == sign, :3] = rgb(colour)
    colours[..., 3] = np.where(apart, _MOST_OPAQUE * np.abs(info.taus) / info.limit, 0)
    draw_cells(axes, colours, gid="taus")
    for (row, column), tau in np.ndenumerate(info.taus):
        if row != column:
            text = _short(float(tau))
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
    labels = [short_name(name) for name in info.task_names]
    axes.set_xticks(range(number), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(number), labels)
    axes.tick_params(pad=2, labelcolor=INK, labelsize=9)
    if info.primary_task in info.task_names:
        place = info.task_names.index(info.primary_task)
        for of_axis in (axes.get_xticklabels(), axes.get_yticklabels()):
            of_axis[place].set_fontweight("bold")
    axes.spines[:].set_visible(False)
    titles = [
        f"{row} and {column}: tau {info.taus[here, there]:.3f}"
        for here, row in enumerate(info.task_names)
        for there, column in enumerate(info.task_names)
    ]
    return Drawing(figure, {"taus": titles})


def _limit(taus: FloatArray) -> float:
    between = np.abs(taus[~np.eye(len(taus), dtype=bool)])
    return max(_SMALLEST_LIMIT, float(between.max(initial=0.0)))


def _short(tau: float) -> str:
    """Two digits without the leading zero and with a true minus: .62, 1.00."""
    digits = f"{abs(tau):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{digits}" if tau < 0 and digits != ".00" else digits
