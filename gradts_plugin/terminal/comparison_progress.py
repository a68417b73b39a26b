"""A comparison's progress: how many trainings are done, and the time left."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.records import TrainingPlan, TrainingResult, TrainStep, Trial
from gradts_plugin.scores import shown_duration, shown_score
from gradts_plugin.terminal.progress import ProgressPlugin, description_column


class ComparisonProgress(ProgressPlugin):
    """Draws one bar over all methods, primaries and subsets, counted in trainings.

    How many there are is an upper bound: methods share trainings, and some are stored. Where there
    is no terminal, or with `plain`, it prints lines without any control codes.

    Attributes:
        num_at_once: so many trainings are made at a time.
    """

    def __init__(self, console: Console, *, quiet: bool = False, plain: bool = False) -> None:
        super().__init__(console, quiet=quiet, plain=plain)
        self.num_at_once = 1
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
        if not self.quiet:
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
                description_column(),
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
        seconds = left * self._seconds / self._num_done / self.num_at_once
        return f"{counted}, ≤ {shown_duration(seconds)} left"
