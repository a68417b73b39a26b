"""The report of a finished run, and its figures: numbers first, then drawing."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradts_plugin.pipeline import Outcome, Session

__all__ = ["write_comparison_report", "write_report"]


def write_report(session: Session, outcome: Outcome) -> Path:
    """Writes `report.json`, and `report.html` where what draws it is installed.

    Args:
        session: the run, after its last phase.
        outcome: what it came to.

    Returns:
        The report a user opens: the page, or the numbers where it could not be drawn.

    Raises:
        StoreError: the disk refused, or a stored probe is damaged.
    """
    from gradts_plugin.report.collect import collect
    from gradts_plugin.report.data import read_report, write_report_json

    path = write_report_json(collect(session, outcome), session.output_dir)
    if not _can_draw():
        return path
    from gradts_plugin.report.html import REPORT_HTML, write_html

    page = session.output_dir / REPORT_HTML
    write_html(read_report(session.output_dir), page)
    return page


def write_comparison_report(folder: Path) -> Path | None:
    """Writes the page of a comparison beside its `comparison.json`.

    Args:
        folder: the comparison's output folder.

    Returns:
        The page; None where what draws it is not installed.

    Raises:
        StoreError: the disk refused.
    """
    from gradts_plugin.report.data import read_comparison

    if not _can_draw():
        return None
    from gradts_plugin.report.compared import write_comparison
    from gradts_plugin.report.html import REPORT_HTML

    page = folder / REPORT_HTML
    write_comparison(read_comparison(folder), page)
    return page


def _can_draw() -> bool:
    return find_spec("matplotlib") is not None and find_spec("jinja2") is not None
