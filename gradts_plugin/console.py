"""The terminal as a plugin: progress with the time left, and the tables at the end."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
)
from rich.table import Column, Table
from rich.text import Text

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.records import (
    Ranking,
    Selection,
    TaskInfo,
    TrainingPlan,
    TrainingResult,
    TrainStep,
    Trial,
)
from gradts_plugin.scores import score_difference, shown_score

#: Share of a probe's time that its fine-tuning usually takes; it only smooths the bar.
FINE_TUNING_SHARE = 0.8

#: Time of a probed instance, and of an encoded or scored one, relative to a training step. That is
#: a forward and a backward pass; a backward pass takes twice a forward pass, and a probe's leaves
#: the parameters' gradients out.
PROBE_SHARE = 0.6
FORWARD_SHARE = 1 / 3

#: A fine-tuning scores at most so many dev instances.
QUICK_DEV = 256


class ProgressPlugin:
    """Draws a bar for the phase and one for the whole run, each with the time left.

    Where there is no terminal, or with `plain`, it prints lines without any control codes. The
    time left of the whole run needs to be told what the run will do (`expect`).
    """

    def __init__(self, console: Console, *, quiet: bool = False, plain: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._draws = console.is_interactive and not plain and not quiet
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._total_bar: TaskID | None = None
        self._phase = ""
        self._phase_started = 0.0
        self._units_done = 0.0
        self._num_units = 1
        self._work: dict[str, float] = {}  # phase -> what is still expected of it
        self._bound = ""
        self._done: dict[str, float] = {}  # phase -> work done
        self._work_started: float | None = None
        self._has_trained = False  # since the last probe
        self._num_dev: dict[str, int] = {}

    def expect(self, work: Mapping[str, float], *, bound: str = "") -> None:
        """Says what the run will do, so that the time left can be told.

        Args:
            work: phase -> instances to train on, a probed one counting as `PROBE_SHARE`.
            bound: set before the time left: "≤" where the run may do less, "≥" where more.
        """
        self._work, self._bound = {phase: amount for phase, amount in work.items() if amount}, bound
        self._done = {}

    # --- phases ----------------------------------------------------------------------------------

    @hookimpl
    def before_phase(self, phase: str, num_units: int) -> None:
        """Starts the phase's bar."""
        self._phase, self._num_units, self._units_done = phase, max(1, num_units), 0.0
        self._phase_started = time.monotonic()
        if self._work_started is None and phase in self._work:
            self._work_started = self._phase_started
        if not self._draws:
            return
        self._progress = Progress(
            TextColumn("[bold]{task.fields[phase]:<7}"),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            _AnsweredColumn("elapsed"),
            _AnsweredColumn("left"),
            TextColumn(
                "{task.description}",
                style="dim",
                markup=False,
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            console=self._console,
            expand=True,
        )
        self._bar = self._progress.add_task(
            "", total=1.0, phase=phase, elapsed=self._phase_elapsed, left=self._phase_left
        )
        if self._work:
            self._total_bar = self._progress.add_task(
                "", total=1.0, phase="overall", elapsed=self._total_elapsed, left=self._total_left
            )
            self._progress.update(self._total_bar, completed=self._total_share())
        self._progress.start()

    @hookimpl
    def after_phase(self, phase: str, seconds: float) -> None:
        """Ends the phase's bar."""
        # Whatever it did not need is not needed any more.
        if phase in self._work:
            self._work[phase] = self._done.get(phase, 0.0)
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=1.0, description="", left=lambda: "")
        self.close()
        if not self._draws:
            self._say(f"{phase}: done in {format_duration(seconds)}")

    def close(self) -> None:
        """Gives the terminal back, also after an error."""
        if self._progress is not None:
            if self._total_bar is not None:  # the next phase draws it again
                self._progress.remove_task(self._total_bar)
            self._progress.stop()
        self._progress = self._bar = self._total_bar = None

    # --- what goes on inside ----------------------------------------------------------------------

    @hookimpl
    def before_task_prepared(self, task_name: str) -> None:
        """Says which task is tokenised."""
        self._show(0.0, f"{task_name}: tokenising")

    @hookimpl
    def after_task_prepared(self, task_name: str, num_train: int, reused: bool) -> None:
        """Counts a prepared task."""
        self._unit_done(
            f"load: {task_name}: {num_train} training instances{' (stored)' if reused else ''}"
        )

    @hookimpl
    def after_tasks_loaded(self, tasks: tuple[TaskInfo, ...]) -> None:
        """Lists the tasks in plain mode."""
        self._num_dev = {task.name: task.num_dev for task in tasks}
        if not self._draws:
            names = ", ".join(f"{task.name} ({task.kind}, {task.num_train})" for task in tasks)
            self._say(f"tasks: {names}")

    @hookimpl
    def after_train_step(self, plan: TrainingPlan, step: TrainStep) -> None:
        """Moves the bars a little."""
        self._has_trained = True
        sizes = plan.recipe.get("batches", {}).get(step.task_name)
        if sizes is not None:
            size = sizes["train_batch_size"] * sizes["gradient_accumulation_steps"]
            self._work_done(size)
        share = FINE_TUNING_SHARE if plan.purpose == "fine-tuning" else 1.0
        what = plan.primary_task
        if len(plan.train_tasks) > 1:
            what = f"{what}+{len(plan.train_tasks) - 1}"
        self._show(
            share * step.global_step / step.num_steps,
            f"{step.global_step}/{step.num_steps} {what}",
        )

    @hookimpl
    def after_batch_probed(self, task_name: str, num_done: int, num_instances: int) -> None:
        """Moves the bars a little."""
        share = num_done / max(1, num_instances)
        self._show(
            FINE_TUNING_SHARE + (1 - FINE_TUNING_SHARE) * share,
            f"{num_done}/{num_instances} probed {task_name}",
        )

    @hookimpl
    def after_training(self, plan: TrainingPlan, result: TrainingResult) -> None:
        """Counts the scoring of dev sets; reports a fine-tuning in plain mode."""
        num_dev = self._num_dev.get(plan.primary_task, 0)
        if plan.purpose == "fine-tuning":
            num_dev = min(num_dev, QUICK_DEV)
        self._work_done(FORWARD_SHARE * num_dev * len(result.history))
        if not self._draws and plan.purpose == "fine-tuning":
            self._say(
                f"fine-tuned {plan.primary_task} (seed {plan.seed}): {result.num_steps} steps, "
                f"dev {shown_score(result.score, '.3f')}, {format_duration(result.seconds)}"
            )

    @hookimpl
    def after_task_probed(
        self, task_name: str, seed: int, num_instances: int, reused: bool
    ) -> None:
        """Counts a probe."""
        if not reused:
            # Without a fine-tuning, a head was fitted to the encoder's outputs.
            fitted = 0.0 if self._has_trained else FORWARD_SHARE
            self._work_done((PROBE_SHARE + fitted) * num_instances)
        self._has_trained = False
        source = " (stored)" if reused else ""
        self._unit_done(f"probed {task_name} (seed {seed}): {num_instances} instances{source}")

    @hookimpl
    def after_trial(self, primary_task: str, trial: Trial) -> None:
        """Counts a trial."""
        self._units_done += len(trial.scores) - 1
        source = " (stored)" if trial.reused else f", {format_duration(trial.seconds)}"
        self._unit_done(
            f"trained {describe_tasks(primary_task, trial.auxiliary_tasks)}: "
            f"{format_score(trial)}{source}"
        )

    def _unit_done(self, line: str) -> None:
        self._units_done = min(self._units_done + 1, self._num_units)
        self._show(0.0, "")
        if self._progress is not None:
            self._progress.console.print(f"  {line}", highlight=False, markup=False, style="dim")
            return
        left = self._total_left()
        self._say(f"{line}; {left}" if left else line)

    def _work_done(self, amount: float) -> None:
        self._done[self._phase] = self._done.get(self._phase, 0.0) + amount

    def _show(self, share: float, what: str) -> None:
        if self._progress is None or self._bar is None:
            return
        expected = self._work.get(self._phase)
        done = (
            self._done.get(self._phase, 0.0) / expected
            if expected
            else (self._units_done + share) / self._num_units
        )
        self._progress.update(self._bar, completed=min(1.0, done), description=what)
        if self._total_bar is not None:
            self._progress.update(self._total_bar, completed=self._total_share())

    # --- the time left ----------------------------------------------------------------------------

    def _total_share(self) -> float:
        """The share of the whole run's work that is done."""
        done = sum(self._done.get(phase, 0.0) for phase in self._work)
        return min(1.0, done / max(sum(self._work.values()), 1e-9))

    def _total_elapsed(self) -> str:
        started = self._work_started
        return "" if started is None else format_duration(time.monotonic() - started)

    def _total_left(self) -> str:
        if self._work_started is None:
            return ""
        now = time.monotonic()
        done = self._done.get(self._phase, 0.0)
        speed = done / max(now - self._phase_started, 1e-9)
        if not done:  # nothing is known of this phase yet
            speed = sum(self._done.values()) / max(now - self._work_started, 1e-9)
        to_do = sum(
            max(0.0, amount - self._done.get(phase, 0.0)) for phase, amount in self._work.items()
        )
        # A probed instance may cost more than was assumed: what comes next goes by the speed of
        # the present phase, and not by that of those before.
        left = format_duration(to_do / speed) if speed and to_do else ""
        return f"{self._bound} {left} left".lstrip() if left else ""

    def _phase_elapsed(self) -> str:
        return format_duration(time.monotonic() - self._phase_started)

    def _phase_left(self) -> str:
        if self._progress is None or self._bar is None:
            return ""
        left = time_left(self._progress.tasks[0].completed, time.monotonic() - self._phase_started)
        return f"{left} left" if left else ""

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False)


class _AnsweredColumn(ProgressColumn):
    """What a bar's owner answers at the time of drawing."""

    max_refresh = 0.5

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field

    def render(self, task: Task) -> Text:
        """The answer."""
        answer: Callable[[], str] = task.fields[self._field]
        return Text(answer(), style="cyan")


def time_left(share: float, seconds: float) -> str:
    """The time that the rest takes at the speed so far; empty where nothing can be said yet."""
    if share <= 0 or share >= 1 or seconds <= 0:
        return ""
    return format_duration(seconds * (1 - share) / share)


def format_duration(seconds: float) -> str:
    """Seconds in words: 42 s, 7 min, 3 h 20 min."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def format_bytes(count: float) -> str:
    """A size in words: 12 kB, 3.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


# --- tables ---------------------------------------------------------------------------------------


def describe_tasks(primary_task: str, auxiliary_tasks: tuple[str, ...]) -> str:
    """Names a training run's tasks."""
    return (
        " + ".join((primary_task, *auxiliary_tasks)) if auxiliary_tasks else f"{primary_task} alone"
    )


def format_score(trial: Trial) -> str:
    """A trial's score, with its spread where there is one."""
    spread = f" ± {trial.spread:.4f}" if trial.spread is not None else ""
    return f"{shown_score(trial.score)}{spread}"


def ranking_table(ranking: Ranking) -> Table:
    """The ranking, one row per candidate."""
    percent = f"{ranking.confidence:.0%}"
    with_intervals = any(candidate.interval for candidate in ranking.candidates)
    table = Table(title=f"Candidates for {ranking.primary_task}, best first", title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("task")
    table.add_column(ranking.measure, justify="right")
    if not with_intervals:
        for position, candidate in enumerate(ranking.candidates, start=1):
            table.add_row(str(position), candidate.task_name, f"{candidate.tau:.3f}")
        return table
    table.add_column(f"{percent} interval", justify="center")
    table.add_column("P(above next)", justify="right")
    for position, candidate in enumerate(ranking.candidates, start=1):
        low, high = candidate.interval or (math.nan, math.nan)
        above = candidate.probability_above_next
        table.add_row(
            str(position),
            candidate.task_name,
            f"{candidate.tau:.3f}",
            f"[{low:.3f}, {high:.3f}]".replace("[", r"\["),
            "" if above is None else f"{above:.2f}",
        )
    return table


def coverage_note(ranking: Ranking) -> str:
    """What the intervals cover, and what they miss."""
    if not ranking.covers:
        return f"The ranker {ranking.ranker!r} gives no intervals."
    if ranking.num_seeds == 0:
        return (
            "The intervals cover which instances were probed. The encoder was frozen, so there is "
            "no fine-tuning seed to vary."
        )
    if ranking.num_seeds == 1:
        return (
            "The intervals cover which instances were probed. One fine-tuning seed: the seed's "
            "part, usually the larger one, is missing; set seeds: 2 or more."
        )
    return (
        f"The intervals cover the probed instances and the fine-tuning seed "
        f"({ranking.num_seeds} seeds)."
    )


def print_selection(console: Console, selection: Selection) -> None:
    """The selection and its reason."""
    chosen = ", ".join(selection.auxiliary_tasks) or "none"
    console.print(Text.assemble((f"Selected for {selection.primary_task}:", "bold"), f" {chosen}"))
    console.print(selection.reason, highlight=False, markup=False)
    for name, ids in selection.kept_instances.items():
        console.print(f"  {name}: {len(ids)} training instances kept", highlight=False)


def print_outcome(
    console: Console,
    outcome: Any,
    *,
    files: Mapping[str, Path] | None = None,
    next_commands: Sequence[str] = (),
) -> None:
    """Everything a finished run has to say.

    Args:
        console: where it goes.
        outcome: `pipeline.Outcome`.
        files: further files the run wrote: what -> where.
        next_commands: what can be typed next.
    """
    console.print()
    if outcome.ranking is not None:
        console.print(ranking_table(outcome.ranking))
        console.print(coverage_note(outcome.ranking), style="dim", highlight=False)
        console.print()
    print_selection(console, outcome.selection)
    console.print()
    console.print(summary_table(outcome))
    weights = outcome.selected.output_dirs[:1] if outcome.selected is not None else ()
    console.print()
    for what, path in (
        ("Rewritten jiant configuration", outcome.config_path),
        *(("Trained weights", folder / "best_model.p") for folder in weights),
        *(files or {}).items(),
    ):
        console.print(f"{what}: {shown_path(path)}", highlight=False, markup=False, soft_wrap=True)
    print_next(console, next_commands)


def summary_table(outcome: Any) -> Table:
    """What a run came to, one row per figure (`pipeline.Outcome`)."""
    table = Table(title="Summary", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    selection, ranking = outcome.selection, outcome.ranking
    ranker = f", ranked by {ranking.ranker}" if ranking is not None else ""
    table.add_row("method", Text(f"{selection.method}{ranker}"))
    table.add_row("selected", Text(", ".join(selection.auxiliary_tasks) or "none"))
    if outcome.selected is not None and outcome.alone is not None:
        primary = selection.primary_task
        table.add_row("dev score", Text(f"{primary} alone: {format_score(outcome.alone)}"))
        if selection.auxiliary_tasks:
            together = describe_tasks(primary, selection.auxiliary_tasks)
            difference = score_difference(outcome.selected.score, outcome.alone.score)
            gained = shown_score(difference, "+.4f")
            table.add_row("", Text(f"{together}: {format_score(outcome.selected)} ({gained})"))
    done = outcome.counters
    if done.training_steps == 0 and done.probes == 0:
        nothing = "Nothing was trained or probed: all was found stored."
        table.add_row("done", Text(nothing))
    else:
        table.add_row(
            "done",
            Text(
                f"{done.training_steps} training steps in {done.training_runs} runs, "
                f"{done.probes} probes"
            ),
        )
    table.add_row("reused", Text(f"{done.training_runs_reused} runs, {done.probes_reused} probes"))
    times = ", ".join(
        f"{name} {format_duration(seconds)}" for name, seconds in outcome.seconds.items()
    )
    table.add_row("time", Text(times))
    return table


def print_next(console: Console, commands: Sequence[str]) -> None:
    """The commands to type next; they are never broken, so that they can be copied."""
    if not commands:
        return
    console.print()
    console.print("Next:", style="bold")
    for command in commands:
        for line in command.splitlines():
            console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def shown_path(path: Path) -> str:
    """A path as it is typed here: relative where it lies below the current folder."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # not through links
    current = Path.cwd()
    return str(absolute.relative_to(current) if absolute.is_relative_to(current) else absolute)


def print_plan(
    console: Console,
    plan: Any,
    *,
    prepared_bytes: int | None = None,
    next_commands: Sequence[str] = (),
) -> None:
    """What a run will do (`plan.Plan`).

    Args:
        console: where it goes.
        plan: the plan.
        prepared_bytes: size of what jiant's preparation adds; None: there is none.
        next_commands: what can be typed next.
    """
    table = Table(
        title=f"What selecting for {plan.primary_task} by {plan.method} takes",
        title_justify="left",
    )
    for name in ("", "needed", "stored", "to do", "steps", "time"):
        table.add_column(name, justify="right" if name else "left")
    for part in plan.parts:
        at_most = "≤ " if part.upper_bound else ""
        unknown = part.num_to_do is None
        time_needed = "" if part.seconds is None else format_duration(part.seconds)
        table.add_row(
            Text(part.what),
            "?" if unknown else f"{at_most}{part.num_needed}",
            str(part.num_stored),
            "?" if unknown else f"{at_most}{part.num_to_do}",
            "?" if unknown else f"{at_most}{part.num_steps:,}" if part.num_steps else "",
            "?" if unknown else f"{at_most}{time_needed}" if time_needed else "",
        )
    console.print(table)
    if plan.nothing_to_do:
        console.print("Nothing is to be trained or probed: all of it is stored.")
    elif not plan.measured:
        console.print("Time: not measured.")
    else:
        known = sum(part.seconds or 0.0 for part in plan.parts)
        bounds = " or more" * plan.unknown or " or less" * plan.upper_bound
        console.print(
            f"Time: about {format_duration(known)}{bounds}; measured: {plan.measured}.",
            highlight=False,
            markup=False,
        )
    sizes = {
        "importances": plan.importance_bytes,
        "weights (at most)": plan.weight_bytes,
        "tokenised tasks and encoder": prepared_bytes,
    }
    known_sizes = [
        f"{what} {format_bytes(size)}" for what, size in sizes.items() if size is not None
    ]
    if known_sizes:
        console.print(f"Disk: {', '.join(known_sizes)}.", highlight=False, markup=False)
    if plan.auxiliary_tasks is not None:
        chosen = ", ".join(plan.auxiliary_tasks) or "none"
        console.print(f"The selection is known already: {chosen}.", markup=False, highlight=False)
    for note in plan.notes:
        console.print(note, style="dim", highlight=False, markup=False)
    print_next(console, next_commands)
