"""`gradts-select figures`: the figures of a finished run or comparison, for a paper."""

from __future__ import annotations

from pathlib import Path

import click

from gradts_plugin.commands import options
from gradts_plugin.report.figures.files import FORMATS, write_pictures


@click.command(cls=options.Command)
@options.argument("run", "a run's folder, or a comparison's")
@click.option(
    "--format",
    "suffix",
    type=click.Choice(FORMATS),
    default="svg",
    help="csv and json: the plain numbers",
)
@click.option("--output", type=options.PATH, help="default: figures/ in the folder")
def command(*, run: Path, suffix: str, output: Path | None) -> int:
    """Draws each figure into a file of its own."""
    from rich.console import Console

    from gradts_plugin.report import files
    from gradts_plugin.report.figures.comparison import comparison_pictures
    from gradts_plugin.report.figures.run import pictures

    if files.holds_comparison(run):
        drawn = comparison_pictures(files.read_comparison(run))
    else:
        drawn = pictures(files.read_report(run))
    out = Console(highlight=False)
    for path in write_pictures(drawn, output or run / "figures", suffix):
        out.print(str(path), soft_wrap=True, markup=False)
    return 0
