"""What a run did, as TensorBoard event files, where they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.records import Ranking, TrainingPlan, TrainingResult, TrainStep, Trial
from gradts_plugin.stores.files import disk_errors

#: Longer lists of tasks are shortened in names of TensorBoard runs.
_LONGEST_NAME = 60


class TensorBoardLog:
    """Writes TensorBoard event files: one TensorBoard run per training, one for the selection.

    - `fine-tuning/<task>-seed0`, `trial/<task>+<task>-seed0`, `training/...`: `loss/<task>` at
      each step, `dev_score` at each evaluation;
    - `selection`: `tau/<task>` (named by the ranker's own measure) and `score/<phase>`, the scores
      of the trials in the order in which they were made, with their tasks as text.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._training_writer: Any = None
        self._training_name = ""
        self._selection_writer: Any = None
        self._phase = ""
        self._num_trials = 0

    def close(self) -> None:
        """Writes everything out and closes the files."""
        self._close_training()
        if self._selection_writer is not None:
            self._selection_writer.close()
            self._selection_writer = None

    @hookimpl
    def before_phase(self, phase: str) -> None:
        """Starts counting trials."""
        self._phase, self._num_trials = phase, 0

    @hookimpl
    def after_phase(self) -> None:
        """Writes everything out."""
        self.close()

    @hookimpl
    def after_train_step(self, plan: TrainingPlan, step: TrainStep) -> None:
        """Adds a loss."""
        self._writer_of(plan).add_scalar(f"loss/{step.task_name}", step.loss, step.global_step)

    @hookimpl
    def after_training(self, plan: TrainingPlan, result: TrainingResult) -> None:
        """Adds the dev scores; evaluations are evenly spread over the steps."""
        writer = self._writer_of(plan)
        for number, score in enumerate(result.history, start=1):
            if score is not None:
                step = result.num_steps * number // len(result.history)
                writer.add_scalar("dev_score", score, step)
        self._close_training()

    @hookimpl
    def on_training_error(self) -> None:
        """Writes out what there is."""
        self.close()

    @hookimpl
    def after_candidates_ranked(self, ranking: Ranking) -> None:
        """Adds the taus."""
        for candidate in ranking.candidates:
            if candidate.note is not None:
                continue
            tag = f"{ranking.measure}/{candidate.task_name}"
            self._selection().add_scalar(tag, candidate.tau, 0)

    @hookimpl
    def after_trial(self, primary_task: str, trial: Trial) -> None:
        """Adds a trial's score."""
        tag = f"score/{self._phase}"
        if trial.score is not None:
            self._selection().add_scalar(tag, trial.score, self._num_trials)
        tasks = " + ".join((primary_task, *trial.auxiliary_tasks))
        self._selection().add_text(f"tasks/{self._phase}", tasks, self._num_trials)
        self._selection().flush()
        self._num_trials += 1

    def _selection(self) -> Any:
        if self._selection_writer is None:
            self._selection_writer = _event_writer(self._folder / "selection")
        return self._selection_writer

    def _writer_of(self, plan: TrainingPlan) -> Any:
        name = run_name(plan)
        if name != self._training_name:
            self._close_training()
            self._training_writer = _event_writer(self._folder / name)
            self._training_name = name
        return self._training_writer

    def _close_training(self) -> None:
        if self._training_writer is not None:
            self._training_writer.close()
        self._training_writer, self._training_name = None, ""


def run_name(plan: TrainingPlan) -> str:
    """The TensorBoard run of a training, a relative path.

    Trainings of the same tasks that differ in kept instances or mixing ratios say so in the name.
    """
    tasks = "+".join(plan.train_tasks)
    if len(tasks) > _LONGEST_NAME:
        tasks = f"{plan.primary_task}+{len(plan.train_tasks) - 1}-tasks-to-{plan.train_tasks[-1]}"
    ratios = plan.recipe.mixing_ratios
    parts = [
        tasks,
        *(["filtered"] if plan.kept_instances else []),
        *(["ratios-" + "-".join(map(str, ratios.values()))] if ratios else []),
        *(["scheduled"] if plan.recipe.schedule else []),
        f"seed{plan.seed}",
    ]
    return f"{plan.purpose}/{'-'.join(parts)}"


def _event_writer(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    with disk_errors("write", folder):
        return SummaryWriter(str(folder), flush_secs=10)
