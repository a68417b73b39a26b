"""`gradts-select select`: auxiliaries for a jiant set-up, and the config that trains them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import click

from gradts_plugin.commands import options
from gradts_plugin.commands.jiant_setup import JiantSetup, same_arguments


@click.command(cls=options.Command)
@click.option("--output_config_path", type=options.PATH, help="where the new container config goes")
@options.takes(options.Shown, options.Planned, JiantSetup)
def command(
    shown: options.Shown,
    planned: options.Planned,
    setup: JiantSetup,
    *,
    output_config_path: Path | None,
) -> int:
    """Selects and rewrites, or only plans that."""
    if planned.dry_run:
        return _plan(shown, setup, no_measure=planned.no_measure)
    from gradts_plugin import run
    from gradts_plugin.commands.showing import expect, print_result, progress_shown
    from gradts_plugin.hosts.jiant.original_config import require_other_file

    path = output_config_path or setup.folder / run.REWRITTEN_CONFIG
    require_other_file(setup.jiant_task_container_config_path, path)
    with contextlib.ExitStack() as until_reported:
        with progress_shown(shown) as (manager, progress):
            engine = until_reported.enter_context(setup.open(manager))
            expect(progress, engine, "probe", "rank", "select")
            outcome = run.choose(engine, path.absolute())
        print_result(engine, outcome, shown)
    return 0


def _plan(shown: options.Shown, setup: JiantSetup, *, no_measure: bool) -> int:
    from gradts_plugin.commands.showing import print_plan, progress_shown

    with (
        progress_shown(shown) as (manager, _),
        tempfile.TemporaryDirectory(prefix="gradts-plan-") as folder,
        setup.open(manager, looked_at_in=Path(folder)) as engine,
    ):
        following = same_arguments("select")
        print_plan(engine, shown, following, final_training=False, no_measure=no_measure)
    return 0
