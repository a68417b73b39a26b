"""`gradts-select rank`: the candidates of a jiant set-up, best first."""

from __future__ import annotations

import click

from gradts_plugin.commands import options
from gradts_plugin.commands.jiant_setup import JiantSetup, same_arguments


@click.command(cls=options.Command)
@options.takes(options.Shown, JiantSetup)
def command(shown: options.Shown, setup: JiantSetup) -> int:
    """Ranks the candidates, and prints the ranking."""
    from gradts_plugin import run
    from gradts_plugin.commands.showing import expect, progress_shown, show_ranking

    with progress_shown(shown) as (manager, progress), setup.open(manager) as engine:
        expect(progress, engine, "probe", "rank")
        ranking = run.rank(engine)
    show_ranking(ranking, engine.session.output_dir, shown, same_arguments("select"))
    return 0
