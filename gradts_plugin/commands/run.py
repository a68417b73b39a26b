"""`gradts-select run`: a run file from end to end; jiant's own arguments go to `jiant_run`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradts_plugin.commands import jiant_run, options
from gradts_plugin.commands.plan import plan_run_file

if TYPE_CHECKING:
    from gradts_plugin.settings.run_file import RunFile

#: Flags of `run` that are not jiant's.
_OWN_FLAGS = ("--json", "--quiet", "--plain", "--dry-run", "--no-measure", *options.LOGGED)


def _names_run_file(arguments: Sequence[str]) -> bool:
    """True for `run FILE [options]`, False for jiant's arguments; help is ours."""
    own = options.without_own(arguments, _OWN_FLAGS)
    if not own or any(argument in ("-h", "--help") for argument in own):
        return True
    # jiant's command line begins with its mode or an option, never with a file.
    return not own[0].startswith("-") and own[0] not in ("run", "continue", "run_with_continue")


@click.command(cls=options.FileCommand, otherwise=jiant_run.command, names_file=_names_run_file)
@options.argument("run_file", "YAML run file, or jiant's own arguments")
@options.takes(options.Shown, options.Changed, options.Executed, options.Logged, options.Planned)
def command(
    shown: options.Shown,
    changed: options.Changed,
    executed: options.Executed,
    logged: options.Logged,
    planned: options.Planned,
    *,
    run_file: Path,
) -> int:
    """Runs a run file, or only plans it."""
    if planned.dry_run:
        return plan_run_file(run_file, shown, changed, no_measure=planned.no_measure)
    from gradts_plugin.commands.reading import read_checked

    read = read_checked(run_file, changed.changes)
    read = executed.applied_to(read.model_copy(update=logged.flags))
    return run_to_the_end(read, shown)


def run_to_the_end(run_file: RunFile, shown: options.Shown) -> int:
    """Runs a run file that was read, and prints what it came to."""
    from gradts_plugin import opening, run
    from gradts_plugin.commands.showing import expect, print_result, progress_shown
    from gradts_plugin.workers.making import executor_of

    with contextlib.ExitStack() as until_reported:
        with progress_shown(shown) as (manager, progress):
            engine = until_reported.enter_context(
                opening.open_run_file(run_file, manager, executor=executor_of(run_file))
            )
            expect(progress, engine, "probe", "rank", "select", "train")
            outcome = run.run(engine)
        print_result(engine, outcome, shown)
    return 0
