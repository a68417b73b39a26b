"""`gradts-select probe`: the head importance of every task of a jiant set-up."""

from __future__ import annotations

import click

from gradts_plugin.commands import options
from gradts_plugin.commands.jiant_setup import JiantSetup, same_arguments


@click.command(cls=options.Command)
@options.takes(options.Shown, JiantSetup)
def command(shown: options.Shown, setup: JiantSetup) -> int:
    """Probes, or finds stored, and says what there is."""
    from rich.console import Console

    from gradts_plugin.commands.showing import expect, print_json, progress_shown
    from gradts_plugin.terminal.tables import print_next

    with progress_shown(shown) as (manager, progress), setup.open(manager) as engine:
        expect(progress, engine, "probe")
        sources = engine.probes.of_tasks()
    session = engine.session
    done = session.accounts.counters
    if shown.as_json:
        names = ("instances", "layers", "heads")
        probes = {
            name: [dict(zip(names, source.shape, strict=True)) for source in of_task]
            for name, of_task in sources.items()
        }
        print_json({"probes": probes, "done": done})
        return 0
    out = Console(highlight=False)
    for name, of_task in sources.items():
        for source in of_task:
            out.print(f"{name}: {source.shape[0]} instances", soft_wrap=True)
    out.print(
        f"{done.probes} probed, {done.probes_reused} found stored in "
        f"{session.settings.store or session.output_dir}",
        soft_wrap=True,
    )
    print_next(out, [same_arguments("rank")])
    return 0
