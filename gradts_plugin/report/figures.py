"""The picture of the task correlations: first its numbers, then the drawing."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.files import write_bytes_atomic
from gradts_plugin.records import FloatArray, Ranking

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["CorrelationFigureInfo", "correlation_figure_info", "draw_task_correlations"]

_FORMATS = ("png", "svg", "pdf")

# Red to blue through white: told apart with any kind of colour blindness, and by sign.
_COLOUR_MAP = "RdBu"
# Below this the colours would blow up differences that are not there.
_SMALLEST_LIMIT = 0.1


@dataclass(frozen=True)
class CorrelationFigureInfo:
    """The numbers of the picture.

    Attributes:
        task_names: rows and columns: the primary, then the candidates, best-ranked first.
        taus: float array of shape (T, T), symmetric, ones on the diagonal.
        num_heads_total: n = L * H.
        null_sd: standard deviation of tau between unrelated rankings of n heads.
        limit: the colours run from -limit to limit, the largest tau between two tasks.
    """

    task_names: tuple[str, ...]
    taus: FloatArray
    num_heads_total: int
    null_sd: float
    limit: float


def correlation_figure_info(ranking: Ranking) -> CorrelationFigureInfo:
    """Puts the task-task taus into ranking order.

    Args:
        ranking: as ranked, with the taus between all tasks.

    Returns:
        The numbers to draw or print.
    """
    names = (ranking.primary_task, *ranking.task_order)
    rows = [ranking.task_names.index(name) for name in names]
    taus = ranking.task_taus[np.ix_(rows, rows)]
    between = np.abs(taus[~np.eye(len(names), dtype=bool)])
    return CorrelationFigureInfo(
        task_names=names,
        taus=taus,
        num_heads_total=ranking.num_heads_total,
        null_sd=ranking.null_sd,
        limit=max(_SMALLEST_LIMIT, float(between.max(initial=0.0))),
    )


def draw_task_correlations(info: CorrelationFigureInfo, path: Path) -> None:
    """Draws a heat map of the taus between all tasks, with the primary on top.

    Args:
        info: the numbers.
        path: the picture; its suffix says the format (png, svg or pdf).

    Raises:
        ConfigError: matplotlib is not installed, or the suffix is none of the formats.
        StoreError: the disk refused.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in _FORMATS:
        raise ConfigError(f"{path}: no picture format {suffix!r}; {nearest(suffix, _FORMATS)}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError(
            "drawing needs matplotlib; install it with: pip install 'gradts-plugin[plots]'"
        ) from error
    # A salt and no date: the same numbers give the same file. Text stays text in an SVG.
    with mpl.rc_context({"svg.hashsalt": "gradts", "svg.fonttype": "none"}):
        side = max(4.2, 1.8 + 0.62 * len(info.task_names))
        figure = Figure(figsize=(side + 0.6, side), layout="constrained")
        _draw(figure, info)
        content = io.BytesIO()
        metadata: dict[str, Any] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
        figure.savefig(content, format=suffix, dpi=150, metadata=metadata[suffix])
    write_bytes_atomic(path, content.getvalue())


def _draw(figure: Figure, info: CorrelationFigureInfo) -> None:
    axes = figure.subplots()
    number = len(info.task_names)
    between = np.ma.masked_where(np.eye(number, dtype=bool), info.taus)
    image = axes.imshow(between, cmap=_COLOUR_MAP, vmin=-info.limit, vmax=info.limit)
    axes.set_facecolor("0.92")
    _write_values(axes, info)

    axes.set_xticks(range(number), info.task_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(number), info.task_names)
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        labels[0].set_fontweight("bold")
    # White gaps between the cells, a line that sets the primary apart, and no frame.
    axes.set_xticks(np.arange(1, number) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, number) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.axhline(0.5, color="0.25", linewidth=1.2)
    axes.axvline(0.5, color="0.25", linewidth=1.2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)

    bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    axes.set_title("Head importance: tau between tasks", loc="left", fontsize=11)
    axes.set_xlabel(
        "primary in bold, candidates by tau\n"
        f"unrelated tasks: 0 ± {info.null_sd:.2f} ({info.num_heads_total} heads)",
        fontsize=8,
        color="0.35",
        loc="left",
    )


def _write_values(axes: Axes, info: CorrelationFigureInfo) -> None:
    for (row, column), tau in np.ndenumerate(info.taus):
        if row == column:
            continue
        axes.text(
            column,
            row,
            _short(float(tau)),
            ha="center",
            va="center",
            fontsize=9,
            # The ends of the colour map are dark.
            color="white" if abs(tau) > 0.6 * info.limit else "0.15",
        )


def _short(tau: float) -> str:
    """Two digits without the leading zero and with a true minus: .62, 1.00."""
    digits = f"{abs(tau):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{digits}" if tau < 0 and digits != ".00" else digits
