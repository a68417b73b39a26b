"""Figures as files: drawn, or as plain numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.report.figures.picture import Picture
from gradts_plugin.report.figures.style import PAPER, drawing_settings
from gradts_plugin.stores.files import write_bytes_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DRAWN = ("svg", "png", "pdf")
FORMATS = (*DRAWN, "csv", "json")


def render(picture: Picture, suffix: str) -> bytes:
    """A picture as the content of a file.

    Args:
        picture: what to draw.
        suffix: svg, png or pdf for the drawing, csv or json for its numbers.

    Raises:
        ConfigError: no such format, or matplotlib is not installed.
    """
    if suffix == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([picture.table.columns, *picture.table.rows])
        return text.getvalue().encode()
    if suffix == "json":
        rows = [dict(zip(picture.table.columns, row, strict=True)) for row in picture.table.rows]
        values = {"name": picture.name, "title": picture.title, "rows": rows}
        return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
    if suffix not in DRAWN:
        raise ConfigError(f"no picture format {suffix!r}; {nearest(suffix, FORMATS)}")
    with drawing_settings():
        return saved(picture.draw().figure, suffix)


def write_picture(picture: Picture, path: Path) -> None:
    """Writes a picture; the suffix of the path says the format.

    Raises:
        ConfigError: no such format, or matplotlib is not installed.
        StoreError: the disk refused.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: no picture format {suffix!r}; {nearest(suffix, FORMATS)}")
    write_bytes_atomic(path, render(picture, suffix))


def write_pictures(drawn: Iterable[Picture], folder: Path, suffix: str) -> list[Path]:
    """Writes pictures into a folder, each under its own name; returns their paths."""
    paths = []
    for picture in drawn:
        paths.append(folder / f"{picture.name}.{suffix}")
        write_picture(picture, paths[-1])
    return paths


def saved(figure: Figure, suffix: str) -> bytes:
    """A drawn figure as the content of a file; inside `drawing_settings` only."""
    content = io.BytesIO()
    metadata: dict[str, Any] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(
        content,
        format=suffix,
        dpi=200,
        metadata=metadata[suffix],
        bbox_inches="tight",
        pad_inches=0.03,
        # Dark text on nothing could not be read in a dark viewer of pictures.
        facecolor=PAPER if suffix == "png" else "none",
    )
    return content.getvalue()
