"""The page of all runs below a folder, as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradts_plugin.report.page import page_environment
from gradts_plugin.report.runs import FinishedRun
from gradts_plugin.stores.files import write_bytes_atomic


def write_runs_page(runs: Sequence[FinishedRun], path: Path, folder: str) -> None:
    """Writes the page.

    Args:
        runs: in the order in which they are shown.
        path: the file; one that is there is replaced.
        folder: that was searched, for the title.

    Raises:
        ConfigError: jinja2 is not installed.
        StoreError: the disk refused.
    """
    levels = sorted({run.gain.confidence for run in runs if run.gain is not None})
    intervals = " and ".join(f"{100 * level:g} %" for level in levels)
    template = page_environment().get_template("runs.html.j2")
    write_bytes_atomic(
        path, template.render(runs=runs, folder=folder, intervals=intervals).encode()
    )
