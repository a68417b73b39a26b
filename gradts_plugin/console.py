"""The terminal as a plugin: progress with ETA per phase, and the tables at the end."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

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

#: Share of a probe's time that its fine-tuning usually takes; it only smooths the bar.
FINE_TUNING_SHARE = 0.8


class ProgressPlugin:
    """Draws one bar with an ETA per phase; plain lines where there is no terminal."""

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        self._console = console
        self._quiet = quiet
        self._progress: Progress | None = None
        self._bar: TaskID | None = None
        self._phase = ""
        self._units_done = 0.0
        self._num_units = 1

    # --- phases ----------------------------------------------------------------------------------

    @hookimpl
    def before_phase(self, phase: str, num_units: int) -> None:
        """Starts the phase's bar."""
        self._phase, self._num_units, self._units_done = phase, max(1, num_units), 0.0
        if self._quiet or not self._console.is_terminal:
            return
        self._progress = Progress(
            TextColumn("[bold]{task.fields[phase]:<7}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.description}", style="dim"),
            console=self._console,
        )
        self._bar = self._progress.add_task("", total=self._num_units, phase=phase)
        self._progress.start()

    @hookimpl
    def after_phase(self, phase: str, seconds: float) -> None:
        """Ends the phase's bar."""
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=self._num_units, description="")
        self.close()
        if not self._console.is_terminal:
            self._say(f"{phase}: done in {seconds:.0f} s")

    def close(self) -> None:
        """Gives the terminal back, also after an error."""
        if self._progress is not None:
            self._progress.stop()
        self._progress = self._bar = None

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
        if not self._console.is_terminal:
            names = ", ".join(f"{task.name} ({task.kind}, {task.num_train})" for task in tasks)
            self._say(f"tasks: {names}")

    @hookimpl
    def after_train_step(self, plan: TrainingPlan, step: TrainStep) -> None:
        """Moves the bar a little."""
        share = FINE_TUNING_SHARE if plan.purpose == "fine-tuning" else 1.0
        what = " + ".join(plan.train_tasks)
        if len(what) > 28:
            what = f"{plan.train_tasks[0]} + {len(plan.train_tasks) - 1} tasks"
        self._show(
            share * step.global_step / step.num_steps,
            f"{what}: step {step.global_step}/{step.num_steps}",
        )

    @hookimpl
    def after_batch_probed(
        self, task_name: str, seed: int, num_done: int, num_instances: int
    ) -> None:
        """Moves the bar a little."""
        share = FINE_TUNING_SHARE + (1 - FINE_TUNING_SHARE) * num_done / max(1, num_instances)
        self._show(share, f"{task_name} (seed {seed}): probed {num_done}/{num_instances}")

    @hookimpl
    def after_training(self, plan: TrainingPlan, result: TrainingResult) -> None:
        """Reports a training run in plain mode."""
        if not self._console.is_terminal and plan.purpose == "fine-tuning":
            self._say(
                f"fine-tuned {plan.primary_task} (seed {plan.seed}): {result.num_steps} steps, "
                f"dev {result.score:.3f}, {result.seconds:.0f} s"
            )

    @hookimpl
    def after_task_probed(
        self, task_name: str, seed: int, num_instances: int, reused: bool
    ) -> None:
        """Counts a probe."""
        source = " (stored)" if reused else ""
        self._unit_done(f"probed {task_name} (seed {seed}): {num_instances} instances{source}")

    @hookimpl
    def after_trial(self, primary_task: str, trial: Trial) -> None:
        """Counts a trial."""
        self._units_done += len(trial.scores) - 1
        source = " (stored)" if trial.reused else f", {trial.seconds:.0f} s"
        self._unit_done(
            f"trained {describe_tasks(primary_task, trial.auxiliary_tasks)}: "
            f"{format_score(trial)}{source}"
        )

    def _unit_done(self, line: str) -> None:
        self._units_done = min(self._units_done + 1, self._num_units)
        self._show(0.0, "")
        if self._console.is_terminal and self._progress is not None:
            self._progress.console.print(f"  {line}", highlight=False, style="dim")
        else:
            self._say(line)

    def _show(self, share: float, what: str) -> None:
        if self._progress is not None and self._bar is not None:
            self._progress.update(self._bar, completed=self._units_done + share, description=what)

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


# --- tables ---------------------------------------------------------------------------------------


def describe_tasks(primary_task: str, auxiliary_tasks: tuple[str, ...]) -> str:
    """Names a training run's tasks."""
    return (
        " + ".join((primary_task, *auxiliary_tasks)) if auxiliary_tasks else f"{primary_task} alone"
    )


def format_score(trial: Trial) -> str:
    """A trial's score, with its spread where there is one."""
    spread = f" ± {trial.spread:.4f}" if trial.spread is not None else ""
    return f"{trial.score:.4f}{spread}"


def ranking_table(ranking: Ranking) -> Table:
    """The ranking, one row per candidate."""
    percent = f"{ranking.confidence:.0%}"
    table = Table(title=f"Candidates for {ranking.primary_task}, best first", title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("task")
    table.add_column("tau", justify="right")
    table.add_column(f"{percent} interval", justify="center")
    table.add_column("P(above next)", justify="right")
    for position, candidate in enumerate(ranking.candidates, start=1):
        low, high = candidate.interval
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
    if ranking.num_seeds == 1:
        return (
            "The intervals cover which instances were probed. One fine-tuning seed: the seed's "
            "part, usually the larger one, is missing; set seeds: 2 or more."
        )
    return (
        f"The intervals cover which instances were probed and the fine-tuning seed "
        f"({ranking.num_seeds} seeds)."
    )


def print_selection(console: Console, selection: Selection) -> None:
    """The selection and its reason."""
    chosen = ", ".join(selection.auxiliary_tasks) or "none"
    console.print(f"[bold]Selected for {selection.primary_task}:[/] {chosen}", highlight=False)
    console.print(selection.reason, highlight=False, markup=False, soft_wrap=True)
    for name, ids in selection.kept_instances.items():
        console.print(f"  {name}: {len(ids)} training instances kept", highlight=False)


def print_outcome(console: Console, outcome: Any) -> None:
    """Everything a finished run has to say (`pipeline.Outcome`)."""
    console.print()
    console.print(ranking_table(outcome.ranking))
    console.print(coverage_note(outcome.ranking), soft_wrap=True, style="dim")
    console.print()
    print_selection(console, outcome.selection)
    if outcome.selected is not None and outcome.alone is not None:
        console.print()
        table = Table(title="Dev score of the primary", title_justify="left")
        table.add_column("trained on")
        table.add_column("score", justify="right")
        primary = outcome.selection.primary_task
        table.add_row(f"{primary} alone", format_score(outcome.alone))
        if outcome.selection.auxiliary_tasks:
            table.add_row(
                describe_tasks(primary, outcome.selection.auxiliary_tasks),
                format_score(outcome.selected),
            )
        console.print(table)
    done = outcome.counters
    console.print()
    if done.training_steps == 0 and done.probes == 0:
        console.print(
            "Nothing was trained or probed: every probe and training run was found stored.",
            soft_wrap=True,
        )
    else:
        console.print(
            f"Done: {done.training_steps} training steps in {done.training_runs} runs, "
            f"{done.probes} probes; reused: {done.training_runs_reused} runs, "
            f"{done.probes_reused} probes.",
            highlight=False,
            soft_wrap=True,
        )
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in outcome.seconds.items())
    console.print(f"Time: {times}", highlight=False, soft_wrap=True)
    if outcome.selected is not None:
        for folder in outcome.selected.output_dirs[:1]:
            console.print(
                f"Trained weights: {folder / 'best_model.p'}", highlight=False, soft_wrap=True
            )
    console.print(
        f"Rewritten jiant configuration: {outcome.config_path}", highlight=False, soft_wrap=True
    )
