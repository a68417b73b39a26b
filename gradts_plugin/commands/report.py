"""`gradts-select report`: the page of a finished run or comparison, drawn again."""

from __future__ import annotations

from pathlib import Path

import click

from gradts_plugin.commands import options


@click.command(cls=options.Command)
@options.argument("run", "a run's folder, or a comparison's")
@click.option("--output", type=options.PATH, help="default: report.html in the folder")
def command(*, run: Path, output: Path | None) -> int:
    """Draws the page."""
    from rich.console import Console

    from gradts_plugin.report import files
    from gradts_plugin.report.comparison_page import write_comparison_page
    from gradts_plugin.report.run_page import write_run_page

    path = output or run / files.REPORT_HTML
    if files.holds_comparison(run):
        write_comparison_page(files.read_comparison(run), path)
    else:
        write_run_page(files.read_report(run), path)
    Console(highlight=False).print(f"Report: {path}", soft_wrap=True, markup=False)
    return 0
