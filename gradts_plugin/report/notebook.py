"""What notebooks show: the tables that a terminal shows, as HTML, and a run's pictures."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gradts_plugin.records import Selection
from gradts_plugin.report.files import read_report
from gradts_plugin.report.writing import can_draw

#: Pictures that belong to a result; the page of a run has all.
_PICTURES = ("ranking", "effects", "trials")


def html_of(shown: Any) -> str:
    """What rich would print, as HTML: tables as tables, all else as paragraphs.

    Args:
        shown: a table, a text, or a group of such.
    """
    if isinstance(shown, Group):
        return "".join(html_of(part) for part in shown.renderables)
    if isinstance(shown, Table):
        return _table(shown)
    lines = escape(_plain(shown)).split("\n")
    return f"<p>{'<br>'.join(lines)}</p>" if any(lines) else ""


def pictures_html(folder: Path, selection: Selection) -> str:
    """The pictures of a run that has just ended.

    Args:
        folder: its output folder.
        selection: of the run.

    Returns:
        Images; nothing where what draws them is not installed, or a later run wrote its report
        there.
    """
    if not can_draw():
        return ""
    report = read_report(folder)
    if (report.selection.auxiliary_tasks, report.selection.reason) != (
        selection.auxiliary_tasks,
        selection.reason,
    ):
        return ""
    from gradts_plugin.report.figures.files import render
    from gradts_plugin.report.figures.run import pictures

    shown = []
    for picture in pictures(report):
        if picture.name not in _PICTURES:
            continue
        content = base64.b64encode(render(picture, "svg")).decode()
        shown.append(
            f'<figure><img src="data:image/svg+xml;base64,{content}" '
            f'alt="{escape(picture.description, quote=True)}">'
            f"<figcaption>{escape(picture.title)}</figcaption></figure>"
        )
    return "".join(shown)


def _table(table: Table) -> str:
    title = "" if table.title is None else f"<caption>{escape(_plain(table.title))}</caption>"
    aligned = [f' style="text-align: {column.justify}"' for column in table.columns]
    header = _row([column.header for column in table.columns], aligned, "th")
    rows = zip(*(column.cells for column in table.columns), strict=True)
    body = "".join(_row(list(row), aligned, "td") for row in rows)
    head = f"<thead>{header}</thead>" if table.show_header else ""
    return f"<table>{title}{head}<tbody>{body}</tbody></table>"


def _row(cells: list[Any], aligned: list[str], tag: str) -> str:
    shown = (
        f"<{tag}{style}>{escape(_plain(cell))}</{tag}>"
        for cell, style in zip(cells, aligned, strict=True)
    )
    return f"<tr>{''.join(shown)}</tr>"


def _plain(text: Any) -> str:
    """A text without its style."""
    return text.plain if isinstance(text, Text) else Text.from_markup(str(text)).plain
