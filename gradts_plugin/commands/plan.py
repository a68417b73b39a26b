"""`gradts-select plan`: what a run file would train, how long that takes and how much it stores."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from gradts_plugin.commands import options


@click.command(cls=options.Command)
@options.argument("run_file", "YAML run file")
@click.option("--no-measure", is_flag=True, help="measure no time")
@options.takes(options.Shown)
def command(shown: options.Shown, *, run_file: Path, no_measure: bool) -> int:
    """Plans a run file."""
    return plan_run_file(run_file, shown, no_measure=no_measure)


def plan_run_file(path: Path, shown: options.Shown, *, no_measure: bool) -> int:
    """Prints what a run file would do; its output folder stays untouched."""
    from gradts_plugin.commands.reading import read_checked

    run_file = read_checked(path)
    from gradts_plugin.commands.showing import print_plan, progress_shown
    from gradts_plugin.opening import run_file_to_plan
    from gradts_plugin.stores.files import size_on_disk

    with (
        progress_shown(shown) as (manager, _),
        run_file_to_plan(run_file, manager) as engine,
    ):
        print_plan(
            engine,
            shown,
            f"gradts-select run {shlex.quote(str(path))}",
            final_training=True,
            no_measure=no_measure,
            prepared_bytes=size_on_disk(engine.session.output_dir),
        )
    return 0
