"""What `gradts-select runs` prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradts_plugin.report.runs import FinishedRun
from gradts_plugin.scores import Gain, shown_duration, shown_score


def print_runs(console: Console, runs: Sequence[FinishedRun]) -> None:
    """A row for each run.

    Args:
        console: where it goes.
        runs: in the order in which they are shown.
    """
    table = Table(title="Runs", title_justify="left")
    for name in ("run", "primary", "method", "selected"):
        table.add_column(name, overflow="fold")
    for name in ("alone", "gain", "helps", "test gain", "steps", "time"):
        table.add_column(name, justify="right")
    table.add_column("finished (UTC)")
    for run in runs:
        table.add_row(
            Text(run.folder),
            Text(run.primary_task),
            Text(run.method + (f", {run.ranker}" if run.ranker else "")),
            Text(", ".join(run.auxiliary_tasks) or "none"),
            "" if run.alone is None else shown_score(run.alone, ".3f"),
            _shown(run.gain),
            "" if run.gain is None else run.gain.shown_p_helps,
            _shown(run.test_gain),
            f"{run.cost.num_steps:,}",
            shown_duration(run.cost.seconds),
            run.finished[:16].replace("T", " "),
        )
    console.print(table)


def print_differences(
    console: Console, names: tuple[str, str], settings: Sequence[tuple[str, Any, Any]]
) -> None:
    """The settings in which two runs differ.

    Args:
        console: where it goes.
        names: of the runs.
        settings: (key, what the first says, what the second says).
    """
    if not settings:
        console.print("Both were given the same settings.")
        return
    table = Table(title="Settings that differ", title_justify="left")
    table.add_column("setting")
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for key, one, other in settings:
        table.add_row(Text(key), _value(one), _value(other))
    console.print(table)


def _shown(gain: Gain | None) -> str:
    if gain is None:
        return ""
    return f"{shown_score(gain.gain, '+.3f')} {gain.shown_interval}".rstrip()


def _value(value: Any) -> Text:
    return Text("" if value is None else value if isinstance(value, str) else json.dumps(value))
