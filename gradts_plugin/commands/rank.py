"""`gradts-select rank`: the candidates of a run file, or of a jiant set-up, best first."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from gradts_plugin.commands import jiant_rank, options

_EPILOG = (
    "Of a jiant set-up: its own arguments, with --jiant_task_container_config_path; see select."
)


def _names_run_file(arguments: Sequence[str]) -> bool:
    """True for arguments that begin with a file, or ask for help."""
    own = options.without_own(arguments, ("--json", "--quiet", "--plain"))
    return bool(own) and (not own[0].startswith("-") or own[0] in ("-h", "--help"))


@click.command(
    cls=options.FileCommand,
    otherwise=jiant_rank.command,
    names_file=_names_run_file,
    epilog=_EPILOG,
)
@options.argument("run_file", "YAML run file, or jiant's own arguments")
@options.takes(options.Shown, options.Changed, options.Executed)
def command(
    shown: options.Shown,
    changed: options.Changed,
    executed: options.Executed,
    *,
    run_file: Path,
) -> int:
    """Probes and ranks what a run file names; its trials are left to `run`."""
    from gradts_plugin.commands.reading import read_checked

    read = executed.applied_to(read_checked(run_file, changed.changes))
    from gradts_plugin import opening, run
    from gradts_plugin.commands.showing import expect, progress_shown, show_ranking
    from gradts_plugin.workers.making import executor_of

    with progress_shown(shown) as (manager, progress):
        engine = opening.open_run_file(read, manager, executor=executor_of(read))
        expect(progress, engine, "probe", "rank")
        ranking = run.rank(engine)
    following = f"gradts-select run {shlex.quote(str(run_file))}{changed.typed}"
    with engine:
        show_ranking(ranking, engine.session.output_dir, shown, following)
    return 0
