"""`gradts-select export`: a finished selection for another framework."""

from __future__ import annotations

from pathlib import Path

import click

from gradts_plugin.commands import options


@click.command(cls=options.Command)
@options.argument("framework", "mt-dnn: github.com/namisan/mt-dnn", type=click.Choice(["mt-dnn"]))
@options.argument("run", "a run's folder, or a selection's config")
@click.option("--output", type=options.PATH, required=True, help="a new folder")
@click.option("--init_checkpoint", help="start from this, not from the run's encoder")
def command(*, framework: str, run: Path, output: Path, init_checkpoint: str | None) -> int:  # noqa: ARG001
    """Exports, and says how to train it there."""
    from rich.console import Console

    from gradts_plugin.export.mtdnn import export_selection

    written = export_selection(run, output, init_checkpoint=init_checkpoint)
    out = Console(highlight=False)
    for task, name in written.names.items():
        renamed = "" if name == task else f" (there {name})"
        out.print(f"{task}{renamed}: {written.num_train[task]} training rows", soft_wrap=True)
    out.print(f"Train it with: {written.script} MT_DNN_FOLDER", soft_wrap=True)
    return 0
