"""`gradts-select task`: what a task config reads, before anything is run on it."""

from __future__ import annotations

from pathlib import Path

import click

from gradts_plugin.commands import options


@click.command(cls=options.Command)
@options.argument("config", "a task config, or a shipped task", metavar="FILE.json", type=str)
@click.option("--model", help="an encoder's name or folder: lengths are those of its tokens")
@click.option(
    "--max_seq_length", type=int, default=128, show_default=True, help="rows are cut there"
)
@click.option("--data_dir", type=options.PATH, help="where a shipped task's files lie")
@click.option("--rows", type=int, default=3, show_default=True, help="so many of each split")
@click.option("--json", "as_json", is_flag=True, help="print the result as JSON")
def command(
    *,
    config: str,
    model: str | None,
    max_seq_length: int,
    data_dir: Path | None,
    rows: int,
    as_json: bool,
) -> int:
    """Reads all splits; exit code 2 where one of them cannot be read."""
    from gradts_plugin.commands.showing import print_json
    from gradts_plugin.tasks.overview import overview
    from gradts_plugin.tasks.shipped import resolve_task_config
    from gradts_plugin.tasks.task_configs import read_task_config
    from gradts_plugin.terminal.task_tables import print_task

    path = resolve_task_config(config)
    folder = data_dir if data_dir and not Path(config).is_file() else path.parent
    found = overview(
        read_task_config(path),
        folder,
        encoder=model,
        max_seq_length=max_seq_length,
        num_rows=rows,
    )
    if as_json:
        print_json(found)
    else:
        print_task(found)
    return 2 if any(split.problem for split in found.splits) else 0
