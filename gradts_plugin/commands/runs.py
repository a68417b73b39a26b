"""`gradts-select runs`: the finished runs below a folder, in a table and on a page."""

from __future__ import annotations

from pathlib import Path

import click

from gradts_plugin.commands import options


@click.command(cls=options.Command)
@options.argument("folder", "it, and all folders below, are searched")
@click.option("--page", type=options.PATH, help="also write the table to this HTML file")
@click.option(
    "--differ",
    nargs=2,
    metavar="RUN RUN",
    help="the settings in which two of the runs differ",
)
@click.option("--json", "as_json", is_flag=True, help="print as JSON")
def command(
    *, folder: Path, page: Path | None, differ: tuple[str, str] | None, as_json: bool
) -> int:
    """Lists runs, or tells two of them apart."""
    from rich.console import Console

    from gradts_plugin.commands.showing import print_json
    from gradts_plugin.report.runs import finished_runs, settings_that_differ
    from gradts_plugin.terminal.runs_table import print_differences, print_runs

    runs = finished_runs(folder)
    console = Console()
    if differ:
        chosen = [run for name in differ for run in runs if run.folder == name]
        settings = settings_that_differ(folder, runs, differ)
        if as_json:
            print_json({"runs": chosen, "settings": settings})
        else:
            print_runs(console, chosen)
            print_differences(console, differ, settings)
        return 0
    if as_json:
        print_json(runs)
    else:
        print_runs(console, runs)
    if page is not None:
        from gradts_plugin.report.runs_page import write_runs_page

        write_runs_page(runs, page, str(folder))
        if not as_json:
            console.print(f"Page: {page}", soft_wrap=True, markup=False, highlight=False)
    return 0
