"""A comparison in the terminal: how many trainings are done, and the tables at the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table
from rich.text import Text

from gradts_plugin.comparison import (
    Comparison,
    MethodMeans,
    best_method,
    means,
    shown_gain,
)
from gradts_plugin.console import (
    ProgressPlugin,
    format_duration,
    format_score,
    print_next,
    shown_path,
)
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.records import TrainingPlan, TrainingResult, TrainStep, Trial
from gradts_plugin.scores import shown_score


class ComparisonProgress(ProgressPlugin):
    """Draws one bar over all methods, primaries and subsets, counted in trainings.

    How many there are is an upper bound: methods share trainings, and some are stored. Where there
    is no terminal, or with `plain`, it prints lines without any control codes.
    """

    def __init__(self, console: Console, *, quiet: bool = False, plain: bool = False) -> None:
        super().__init__(console, quiet=quiet, plain=plain)
        self._num_done = 0
        self._num_left = 0
        self._left_at = 0  # trainings that were done when it was last said how many are left
        self._seconds = 0.0  # of the trainings that are done
        self._part = ""

    def expect_trainings(self, at_most: int, what: str) -> None:
        """Says how many trainings are left at most, and what comes now."""
        self._num_left, self._left_at, self._part = at_most, self._num_done, what
        self._move(0.0, "")

    def say(self, line: str) -> None:
        """Prints a line, above the bar where there is one."""
        out = self._console if self._progress is None else self._progress.console
        if not self._quiet:
            out.print(line, highlight=False, markup=False, soft_wrap=True)

    # --- phases: tokenising has a bar of its own, what the methods do has none --------------------

    @hookimpl
    def before_phase(self, phase: str, num_units: int) -> None:
        """Starts the bar of the tokenising."""
        if phase == "load":
            super().before_phase(phase, num_units)

    @hookimpl
    def after_phase(self, phase: str, seconds: float) -> None:
        """Ends the bar of the tokenising, and starts that of the trainings."""
        if phase != "load":
            return
        super().after_phase(phase, seconds)
        if self._draws:
            self._progress = Progress(
                BarColumn(bar_width=16),
                TextColumn("{task.fields[count]}", markup=False),
                TextColumn(
                    "{task.description}",
                    style="dim",
                    markup=False,
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                console=self._console,
                expand=True,
            )
            self._bar = self._progress.add_task("", total=1.0, count="")
            self._progress.start()

    # --- what goes on inside ----------------------------------------------------------------------

    @hookimpl
    def after_train_step(self, plan: TrainingPlan, step: TrainStep) -> None:
        """Moves the bar a little."""
        others = len(plan.train_tasks) - 1
        tasks = f"{plan.primary_task}+{others}" if others else plan.primary_task
        share = step.global_step / step.num_steps
        self._move(share, f": {step.global_step}/{step.num_steps} {tasks}")

    @hookimpl
    def after_batch_probed(self, task_name: str, num_done: int, num_instances: int) -> None:
        """Says what is probed."""
        self._move(0.0, f": {num_done}/{num_instances} probed {task_name}")

    @hookimpl
    def after_training(self, plan: TrainingPlan, result: TrainingResult) -> None:
        """Counts a training."""
        self._num_done += 1
        self._seconds += result.seconds
        self._move(0.0, "")
        if not self._draws:
            tasks = " + ".join(plan.train_tasks)
            self.say(f"{self._count()}: {self._part}: {tasks} {shown_score(result.score)}")

    @hookimpl
    def after_task_probed(
        self, task_name: str, seed: int, num_instances: int, reused: bool
    ) -> None:
        """Nothing to count: probes are quick beside trainings."""

    @hookimpl
    def after_trial(self, primary_task: str, trial: Trial) -> None:
        """Nothing to count: its trainings were."""

    def _move(self, share: float, what: str) -> None:
        if self._progress is None or self._bar is None:
            return
        completed = (self._num_done + share) / max(1, self._total())
        self._progress.update(
            self._bar,
            completed=min(1.0, completed),
            count=self._count(),
            description=f"{self._part}{what}",
        )

    def _total(self) -> int:
        return max(self._left_at + self._num_left, self._num_done)

    def _count(self) -> str:
        left = self._total() - self._num_done
        counted = f"{self._num_done} of ≤ {self._total()} trainings"
        if not self._num_done or not left:
            return counted
        return f"{counted}, ≤ {format_duration(left * self._seconds / self._num_done)} left"


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
    for result in comparison.primaries:
        table = Table(
            title=f"{result.primary_task}: alone {format_score(result.alone)}; best of "
            f"{len(result.subsets)} subsets {format_score(result.oracle)} "
            f"({', '.join(result.oracle.auxiliary_tasks) or 'none'})",
            title_justify="left",
        )
        table.add_column("method")
        table.add_column("selected")
        table.add_column("dev score", justify="right")
        table.add_column("gain", justify="right")
        for found in result.methods:
            table.add_row(
                Text(found.method),
                Text(", ".join(found.trial.auxiliary_tasks) or "none"),
                shown_score(found.trial.score),
                shown_gain(found.trial, result.alone),
            )
        console.print(table)
    console.print(means_table(comparison))
    console.print(
        f"Least mean regret: {best_method(comparison)}. Steps and time: until the selection is "
        "known, with nothing stored.",
        highlight=False,
        markup=False,
    )
    for path in files:
        console.print(f"All figures: {shown_path(path)}", markup=False, soft_wrap=True)
    print_next(console, next_commands)


def means_table(comparison: Comparison) -> Table:
    """Each method's means over the primaries, one row per method."""
    count = len(comparison.primaries)
    table = Table(
        title=f"Means over {count} {'primary' if count == 1 else 'primaries'}",
        title_justify="left",
    )
    found = means(comparison)
    with_test = any(row.test_gain is not None for row in found)
    table.add_column("method")
    for name in ("regret", "gain", *["test gain"] * with_test, "steps", "time"):
        table.add_column(name, justify="right")
    for row in found:
        table.add_row(Text(row.method), *_means_cells(row, with_test=with_test))
    return table


def _means_cells(row: MethodMeans, *, with_test: bool) -> list[str]:
    tested = "" if row.test_gain is None else f"{row.test_gain:+.4f}"
    return [
        shown_score(row.regret),
        shown_score(row.gain, "+.4f"),
        *[tested] * with_test,
        f"{row.num_steps:.0f}",
        format_duration(row.seconds),
    ]
