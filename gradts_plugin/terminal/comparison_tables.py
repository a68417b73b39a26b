"""What a finished comparison prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradts_plugin.comparison.results import Comparison, MethodMeans
from gradts_plugin.comparison.tables import GAIN_COLUMNS, gain_cells
from gradts_plugin.scores import shown_duration, shown_names, shown_score
from gradts_plugin.terminal.tables import print_next, print_notes
from gradts_plugin.terminal.words import shown_path


def print_comparison(
    console: Console,
    comparison: Comparison,
    *,
    files: Sequence[Path],
    next_commands: Sequence[str] = (),
) -> None:
    """What each method selected, the means over the primaries, and what to type next.

    Args:
        console: where it goes.
        comparison: finished.
        files: where all figures lie.
        next_commands: what can be typed next.
    """
    for primary, result in comparison.primaries.items():
        table = Table(
            title=f"{primary}: alone {result.alone.shown}; best of "
            f"{len(result.subsets)} subsets {result.oracle.shown} "
            f"({', '.join(result.oracle.auxiliary_tasks) or 'none'})",
            title_justify="left",
        )
        table.add_column("method")
        table.add_column("selected")
        table.add_column("dev score", justify="right")
        for column in ("gain", *GAIN_COLUMNS):
            table.add_column(column, justify="right")
        for name, found in result.methods.items():
            table.add_row(
                Text(name),
                Text(", ".join(found.trial.auxiliary_tasks) or "none"),
                shown_score(found.trial.score),
                shown_score(found.gain, "+.4f"),
                *map(Text, gain_cells(found.interval)),
            )
        console.print(table)
        print_notes(console, result.notes)
    console.print(means_table(comparison))
    console.print(
        f"Least mean regret: {_best(comparison)}. Steps and time: until the selection is known, "
        "with nothing stored.",
        highlight=False,
        markup=False,
    )
    for path in files:
        console.print(f"All figures: {shown_path(path)}", markup=False, soft_wrap=True)
    print_next(console, next_commands)


def _best(comparison: Comparison) -> str:
    best = comparison.best_method
    tied = comparison.tied_with(best)
    return f"{best}, by no more than chance before {shown_names(tied)}" if tied else best


def means_table(comparison: Comparison) -> Table:
    """Each method's means over the primaries, one row per method."""
    count = len(comparison.primaries)
    table = Table(
        title=f"Means over {count} {'primary' if count == 1 else 'primaries'}",
        title_justify="left",
    )
    found = comparison.means
    with_test = any(row.test_gain is not None for row in found.values())
    table.add_column("method")
    for column in ("regret", "gain", *["test gain"] * with_test, "steps", "time"):
        table.add_column(column, justify="right")
    for name, row in found.items():
        table.add_row(Text(name), *_means_cells(row, with_test=with_test))
    return table


def _means_cells(row: MethodMeans, *, with_test: bool) -> list[str]:
    tested = "" if row.test_gain is None else f"{row.test_gain:+.4f}"
    return [
        shown_score(row.regret),
        shown_score(row.gain, "+.4f"),
        *[tested] * with_test,
        f"{row.num_steps:.0f}",
        shown_duration(row.seconds),
    ]
