"""A figure as a record: its numbers as a table, and what draws them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Numbers as rows.

    Attributes:
        columns: their names.
        rows: one value per column; None where there is none.
        scores: columns in which None is a score, or a gain, that is undefined.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    scores: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure, and what its parts say.

    Attributes:
        figure: the figure.
        titles: group id of an artist -> what it shows, for hovering; several where the artist is a
            collection, in drawing order.
    """

    figure: Figure
    titles: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn, or printed as a table.

    Attributes:
        name: of its file, without a suffix.
        title: a few words.
        description: what there is to see, in a sentence or two, for those who do not see it.
        table: the numbers.
        draw: draws them; needs matplotlib.
    """

    name: str
    title: str
    description: str
    table: Table
    draw: Callable[[], Drawing]
