"""Writes the report of a finished run, or of a comparison, as far as what draws is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradts_plugin.engine.engine import Engine
    from gradts_plugin.records import Outcome


def write_report(engine: Engine, outcome: Outcome) -> Path:
    """Writes `report.json`, and `report.html` where what draws it is installed.

    Args:
        engine: the run, after its last phase.
        outcome: what it came to.

    Returns:
        The report a user opens: the page, or the numbers where it could not be drawn.

    Raises:
        StoreError: the disk refused, or a stored probe is damaged.
    """
    from gradts_plugin.report.collect import collect
    from gradts_plugin.report.files import REPORT_HTML, read_report, write_report_json

    folder = engine.session.output_dir
    path = write_report_json(collect(engine, outcome), folder)
    if not can_draw():
        return path
    from gradts_plugin.report.run_page import write_run_page

    page = folder / REPORT_HTML
    write_run_page(read_report(folder), page)
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
    from gradts_plugin.report.files import REPORT_HTML, read_comparison

    if not can_draw():
        return None
    from gradts_plugin.report.comparison_page import write_comparison_page

    page = folder / REPORT_HTML
    write_comparison_page(read_comparison(folder), page)
    return page


def can_draw() -> bool:
    """Whether what draws pages and pictures is installed."""
    return find_spec("matplotlib") is not None and find_spec("jinja2") is not None
