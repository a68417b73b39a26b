"""`gradts-select data`: task data from the hub or a folder, as files."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from gradts_plugin.commands import options

_new = functools.partial(
    options.given, default=None, section="a set that is not shipped: a task config is written, too"
)
_field = functools.partial(_new, metavar="FIELD")


def _split(name: str) -> str | None:
    text = f"the dataset's name of the {name} split"
    found: str | None = _new(text, typed=f"--{name}_split", metavar="SPLIT")
    return found


@dataclass(frozen=True, kw_only=True)
class _Source:
    output: Path = options.given("becomes a run file's data_dir")
    tasks: str = options.given("shipped tasks to fill, comma-separated", "")
    subset: str | None = options.given("the dataset's subset", None, typed="--config")
    revision: str | None = options.given("branch, tag or commit on the hub", None)
    max_rows: int | None = options.given("of each split, a seeded sample", None)
    quiet: bool = options.given("no progress", False)
    name: str | None = _new("of the task")
    kind: str | None = _new("single, pair, regression, tagging or multiple_choice")
    metric: str | None = _new("default: accuracy, Pearson or span F1")
    positive_label: str | None = _new("for the metric f1")


@dataclass(frozen=True)
class _Fields:
    text_a: str | None = _field("the text, or the first of a pair")
    text_b: str | None = _field("the second text of a pair")
    label: str | None = _field("class or score")
    tokens: str | None = _field("tagging: the words")
    labels: str | None = _field("tagging: one tag per word")
    choices: str | None = _field("multiple choice: the answers")


@dataclass(frozen=True)
class _Splits:
    train: str | None = _split("train")
    val: str | None = _split("val")
    test: str | None = _split("test")


@click.command(cls=options.Command)
@options.argument("source", "glue, a shipped task, hub name or folder", metavar="NAME", type=str)
@options.takes(_Source, _Fields, _Splits)
def command(given: _Source, fields: _Fields, splits: _Splits, *, source: str) -> int:
    """Writes the data, and says what a run file needs to name it."""
    from rich.console import Console

    from gradts_plugin.tasks.download import write_data
    from gradts_plugin.tasks.requests import DataRequest

    request = DataRequest(
        source=source,
        tasks=tuple(name for name in given.tasks.split(",") if name),
        subset=given.subset,
        revision=given.revision,
        max_rows=given.max_rows,
        name=given.name,
        kind=given.kind,
        metric=given.metric,
        positive_label=given.positive_label,
        fields={role: name for role, name in vars(fields).items() if name},
        splits={split: name for split, name in vars(splits).items() if name},
    )
    with _progress(quiet=given.quiet) as report:
        written = write_data(request, given.output, report=report)
    new = [str(task.config_path) for task in written if task.config_path]
    where = "" if new else f"data_dir: {given.output}, "
    names = ", ".join(new or [task.name for task in written])
    line = f"For a run file: {where}tasks: [{names}]"
    Console(highlight=False).print(line, markup=False, soft_wrap=True)
    return 0


@contextlib.contextmanager
def _progress(*, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A bar over the files in a terminal, a line per file elsewhere."""
    import datasets
    from huggingface_hub.utils import logging
    from rich.console import Console
    from rich.progress import Progress

    errors = Console(stderr=True, highlight=False, quiet=quiet)
    datasets.disable_progress_bars()
    # Each attempt to reach the hub would be a line.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    with Progress(console=errors, disable=quiet or not errors.is_terminal) as progress:
        bar = progress.add_task("", total=None)

        def report(done: int, total: int, what: str) -> None:
            finished = not what.endswith("loading")
            if finished:
                progress.console.print(what, markup=False, soft_wrap=True)
            progress.update(bar, completed=done, total=total, description="" if finished else what)

        yield report
