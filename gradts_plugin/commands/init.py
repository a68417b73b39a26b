"""`gradts-select init`: from a folder of files to task configs and a run file."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from gradts_plugin.commands import options


@click.command(cls=options.Command)
@options.argument("folder", "holds a file or folder for each task", metavar="FOLDER")
@click.option("--primary", help="the task to be helped; default: the smallest", metavar="NAME")
@click.option("--model", help="name or folder of the encoder; default: bert-base-cased")
@click.option("--output", type=options.PATH, help="default: FOLDER/gradts")
def command(folder: Path, primary: str | None, model: str | None, output: Path | None) -> int:
    """Writes the configs and the run file, and shows what they read and why."""
    from rich.console import Console

    from gradts_plugin.tasks.starting.start import StartedTask, start
    from gradts_plugin.terminal.tables import print_next
    from gradts_plugin.terminal.task_tables import print_lines, print_task
    from gradts_plugin.terminal.words import shown_path

    def report(task: StartedTask) -> None:
        print_task(task.overview)
        print_lines("", "why", *(f"  {reason}" for reason in task.reasons), "")

    started = start(
        folder, output or folder / "gradts", primary=primary, model=model, report=report
    )
    if started.problems:
        print_lines("Not used:", *(f"  {problem}" for problem in started.problems), "")
    written = [task.path for task in started.tasks if task.path not in started.kept]
    written += [started.run_file] if started.run_file not in started.kept else []
    for title, paths in (("Written:", written), ("There already, left as they are:", started.kept)):
        if paths:
            print_lines(title, *(f"  {shown_path(path)}" for path in paths))
    print_lines(f"To be helped: {started.primary} (primary_task in the run file)")
    config = next(task.path for task in started.tasks if task.name == started.primary)
    run_file = shlex.quote(shown_path(started.run_file))
    typed = [
        f"gradts-select task {shlex.quote(shown_path(config))}",
        f"gradts-select plan {run_file}",
        f"gradts-select run {run_file}",
    ]
    print_next(Console(), typed)
    return 0
