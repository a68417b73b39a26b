"""`gradts-select demo`: the whole job on generated tasks."""

from __future__ import annotations

from pathlib import Path

import click

from gradts_plugin.commands import options
from gradts_plugin.commands.run import run_to_the_end


@click.command(cls=options.Command)
@click.option(
    "--output_dir", type=options.PATH, default=Path("gradts-demo"), help="tasks and run go there"
)
@click.option("--seed", default=0, help="of the generated tasks and the run")
@click.option("--quiet", is_flag=True, help="no progress")
def command(*, output_dir: Path, seed: int, quiet: bool) -> int:
    """Writes the tasks, and runs."""
    from gradts_plugin.demo.run import run_file_values
    from gradts_plugin.settings.parsing import parse_settings
    from gradts_plugin.settings.run_file import RunFile

    values = run_file_values(output_dir.absolute(), seed=seed)
    run_file = parse_settings(RunFile, values, where="demo")
    return run_to_the_end(run_file, options.Shown(quiet=quiet))
