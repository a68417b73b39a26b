"""Square cells of heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gradts_plugin.records import FloatArray
from gradts_plugin.report.figures.style import PAPER

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_cells(axes: Axes, colours: FloatArray, *, gid: str) -> None:
    """Square cells of shape (rows, columns, 4), the first row on top."""
    from matplotlib.collections import PolyCollection

    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    rows, columns = colours.shape[:2]
    squares = [
        corners + np.array([column, row]) for row in range(rows) for column in range(columns)
    ]
    cells = PolyCollection(
        squares, facecolors=colours.reshape(-1, 4), edgecolors=PAPER, linewidths=0.7, gid=gid
    )
    axes.add_collection(cells)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def rgb(colour: str) -> tuple[float, ...]:
    """A colour of the style as three numbers from 0 to 1."""
    return tuple(int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
