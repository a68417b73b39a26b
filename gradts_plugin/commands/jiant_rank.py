"""`gradts-select rank`: the candidates of a jiant set-up, best first."""

from __future__ import annotations

import click

from gradts_plugin.commands import options
from gradts_plugin.commands.jiant_setup import JiantSetup, same_arguments


@click.command(cls=options.Command)
@options.takes(options.Shown, JiantSetup)
def command(shown: options.Shown, setup: JiantSetup) -> int:
    """Ranks the candidates, and prints the ranking."""
    from rich.console import Console

    from gradts_plugin import run
    from gradts_plugin.commands.showing import expect, print_json, progress_shown
    from gradts_plugin.terminal import tables

    with progress_shown(shown) as (manager, progress), setup.open(manager) as engine:
        expect(progress, engine, "probe", "rank")
        ranking = run.rank(engine)
    if shown.as_json:
        print_json(ranking)
        return 0
    out = Console()
    out.print(tables.ranking_table(ranking))
    out.print(tables.coverage_note(ranking), style="dim", highlight=False)
    tables.print_next(out, [same_arguments("select")])
    return 0
