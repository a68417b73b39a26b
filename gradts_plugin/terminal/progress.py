"""Progress with the time left, as a plugin."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

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
from rich.table import Column
from rich.text import Text

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.planning.work import FINE_TUNING_SHARE, FORWARD_SHARE, PROBE_SHARE, QUICK_DEV
from gradts_plugin.records import TaskInfo, TrainingPlan, TrainingResult, TrainStep, Trial
from gradts_plugin.scores import Round, shown_duration, shown_score
from gradts_plugin.terminal.words import describe_tasks, time_left


class ProgressPlugin:
    """Draws a bar for the phase and one for the whole run, each with the time left.

    Where there is no terminal, or with `plain`, it prints lines without any control codes. The
    time left of the whole run needs to be told what the run will do (`expect`).
    """

    def __init__(self, console: Console, *, quiet: bool = False, plain: bool = False) -> None:
        self._console = console
        self.quiet = quiet
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
        self._saw_steps = False  # of a training; those of workers are not seen
        self._tasks: dict[str, TaskInfo] = {}

    def expect(self, work: Mapping[str, float], *, bound: str = "") -> None:
        """Says what the run will do, so that the time left can be told.

        Args:
            work: phase -> tokens to train on, a probed one counting as `PROBE_SHARE`.
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
            description_column(),
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
            self.say(f"{phase}: done in {shown_duration(seconds)}")

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
        self._tasks = {task.name: task for task in tasks}
        if not self._draws:
            names = ", ".join(f"{task.name} ({task.kind}, {task.num_train})" for task in tasks)
            self.say(f"tasks: {names}")

    @hookimpl
    def after_train_step(self, plan: TrainingPlan, step: TrainStep) -> None:
        """Moves the bars a little."""
        self._has_trained = self._saw_steps = True
        self._work_done(plan.recipe.batches[step.task_name].per_step, step.task_name)
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
        if not self._saw_steps:
            self._work_done(result.num_examples, plan.primary_task)
        self._has_trained, self._saw_steps = True, False
        primary = self._tasks.get(plan.primary_task)
        num_dev = 0 if primary is None else primary.num_dev
        if plan.purpose == "fine-tuning":
            num_dev = min(num_dev, QUICK_DEV)
        self._work_done(FORWARD_SHARE * num_dev * len(result.history), plan.primary_task)
        if not self._draws and plan.purpose == "fine-tuning":
            self.say(
                f"fine-tuned {plan.primary_task} (seed {plan.seed}): {result.num_steps} steps, "
                f"dev {shown_score(result.score, '.3f')}, {shown_duration(result.seconds)}"
            )

    @hookimpl
    def after_task_probed(
        self, task_name: str, seed: int, num_instances: int, reused: bool
    ) -> None:
        """Counts a probe."""
        if not reused:
            # Without a fine-tuning, a head was fitted to the encoder's outputs.
            fitted = 0.0 if self._has_trained else FORWARD_SHARE
            self._work_done((PROBE_SHARE + fitted) * num_instances, task_name)
        self._has_trained = False
        source = " (stored)" if reused else ""
        self._unit_done(f"probed {task_name} (seed {seed}): {num_instances} instances{source}")

    @hookimpl
    def after_trial(self, primary_task: str, trial: Trial) -> None:
        """Counts a trial."""
        self._units_done += len(trial.scores) - 1
        source = " (stored)" if trial.reused else f", {shown_duration(trial.seconds)}"
        self._unit_done(
            f"trained {describe_tasks(primary_task, trial.auxiliary_tasks)}: {trial.shown}{source}"
        )

    @hookimpl
    def after_round(self, round_of_search: Round) -> None:
        """Says what a search knows so far."""
        self._tell(round_of_search.shown)

    def _unit_done(self, line: str) -> None:
        self._units_done = min(self._units_done + 1, self._num_units)
        self._show(0.0, "")
        self._tell(line)

    def _tell(self, line: str) -> None:
        if self._progress is not None:
            self._progress.console.print(f"  {line}", highlight=False, markup=False, style="dim")
            return
        left = self._total_left()
        self.say(f"{line}; {left}" if left else line)

    def _work_done(self, num_instances: float, task_name: str) -> None:
        task = self._tasks.get(task_name)
        amount = num_instances * (1.0 if task is None else task.batch_tokens)
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
        return "" if started is None else shown_duration(time.monotonic() - started)

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
        left = shown_duration(to_do / speed) if speed and to_do else ""
        return f"{self._bound} {left} left".lstrip() if left else ""

    def _phase_elapsed(self) -> str:
        return shown_duration(time.monotonic() - self._phase_started)

    def _phase_left(self) -> str:
        if self._progress is None or self._bar is None:
            return ""
        left = time_left(self._progress.tasks[0].completed, time.monotonic() - self._phase_started)
        return f"{left} left" if left else ""

    def say(self, line: str) -> None:
        """Prints a line, unless nothing is to be printed."""
        if not self.quiet:
            self._console.print(line, highlight=False, markup=False)


def description_column() -> TextColumn:
    """What goes on, as wide as there is room."""
    room = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return TextColumn("{task.description}", style="dim", markup=False, table_column=room)


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
