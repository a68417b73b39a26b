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
    table = Table(title="Runs", title_justify="left", show_lines=True)
    for name in ("run", "primary, by", "selected"):
        table.add_column(name, overflow="fold")
    table.add_column("gain", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    for run in runs:
        method = run.method + (f", {run.ranker}" if run.ranker else "")
        finished = f"{run.finished[:16].replace('T', ' ')} UTC"
        table.add_row(
            Text(f"{run.folder}\n{finished}"),
            Text(f"{run.primary_task}\n{method}"),
            Text(", ".join(run.auxiliary_tasks) or "none"),
            Text("\n".join(_gain_lines(run))),
            f"{run.cost.num_steps:,} steps\n{shown_duration(run.cost.seconds)}",
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


def _gain_lines(run: FinishedRun) -> list[str]:
    """The gain, how likely it is one, and the gain on the test set, as far as they are known."""
    lines = []
    if run.alone is not None:
        lines.append(f"alone {shown_score(run.alone, '.3f')}")
    if run.gain is not None:
        lines.append(_shown(run.gain))
        if run.gain.shown_p_helps:
            lines.append(f"helps: {run.gain.shown_p_helps}")
    if run.test_gain is not None:
        lines.append(f"test {_shown(run.test_gain)}")
    return lines


def _shown(gain: Gain) -> str:
    return f"{shown_score(gain.gain, '+.3f')} {gain.shown_interval}".rstrip()


def _value(value: Any) -> Text:
    return Text("" if value is None else value if isinstance(value, str) else json.dumps(value))
