"""What a run did, for programs: `logs.jsonl`, a line of JSON for each event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradts_plugin import __version__
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.json_forms import JsonValue, to_json
from gradts_plugin.records import (
    Outcome,
    Ranking,
    Selection,
    TaskInfo,
    TrainingPlan,
    TrainingResult,
    TrainStep,
    Trial,
)
from gradts_plugin.scores import Round
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.files import disk_errors

#: The log's name in the run folder.
LOG_FILE = "logs.jsonl"


class JsonLinesLog:
    """Writes one JSON object per event, each on a line of its own that is written at once.

    Every object has `time` (ISO 8601, UTC), `event` (the hook's name, or `run` where a process
    begins) and `phase`; the other keys depend on the event. NaN and infinities are null.

    Attributes:
        path: the file; later runs are appended.
    """

    def __init__(self, path: Path, settings: GradTSSettings) -> None:
        self.path = path
        self._settings = settings
        self._begun = False
        self._phase: str | None = None

    def close(self) -> None:
        """Does nothing: the file is open only while it is written."""

    # --- hooks -----------------------------------------------------------------------------------

    @hookimpl
    def before_phase(self, phase: str, num_units: int) -> None:
        """Says that a phase begins."""
        self._phase = phase
        self._write("before_phase", num_units=num_units)

    @hookimpl
    def after_phase(self, phase: str, seconds: float) -> None:
        """Says what a phase took."""
        self._phase = phase
        self._write("after_phase", seconds=seconds)
        self._phase = None

    @hookimpl
    def after_task_prepared(self, task_name: str, num_train: int, reused: bool) -> None:
        """Says what was tokenised."""
        self._write("after_task_prepared", task=task_name, num_train=num_train, reused=reused)

    @hookimpl
    def after_tasks_loaded(self, tasks: tuple[TaskInfo, ...]) -> None:
        """Lists the tasks."""
        self._write("after_tasks_loaded", tasks=tasks)

    @hookimpl
    def before_training(self, plan: TrainingPlan) -> None:
        """Says what is trained, and how."""
        self._write("before_training", **_training(plan), recipe=plan.recipe)

    @hookimpl
    def after_train_step(self, plan: TrainingPlan, step: TrainStep) -> None:
        """Writes the loss of a step."""
        self._write(
            "after_train_step",
            **_training(plan),
            task=step.task_name,
            step=step.global_step,
            num_steps=step.num_steps,
            loss=step.loss,
        )

    @hookimpl
    def after_training(self, plan: TrainingPlan, result: TrainingResult) -> None:
        """Writes what a training came to."""
        self._write(
            "after_training",
            **_training(plan),
            score=result.score,
            metrics=dict(result.metrics),
            history=list(result.history),
            num_steps=result.num_steps,
            seconds=result.seconds,
        )

    @hookimpl
    def on_training_error(self, plan: TrainingPlan, error: BaseException) -> None:
        """Writes an error down; raising it is left to the run."""
        self._write("on_training_error", **_training(plan), error=_described(error))

    @hookimpl
    def before_task_probed(self, task_name: str, seed: int, num_instances: int) -> None:
        """Says what is probed."""
        self._write("before_task_probed", task=task_name, seed=seed, num_instances=num_instances)

    @hookimpl
    def after_task_probed(
        self, task_name: str, seed: int, num_instances: int, reused: bool
    ) -> None:
        """Says what was probed, or found stored."""
        self._write(
            "after_task_probed",
            task=task_name,
            seed=seed,
            num_instances=num_instances,
            reused=reused,
        )

    @hookimpl
    def on_probing_error(self, task_name: str, seed: int, error: BaseException) -> None:
        """Writes an error down; raising it is left to the run."""
        self._write("on_probing_error", task=task_name, seed=seed, error=_described(error))

    @hookimpl
    def after_candidates_ranked(self, ranking: Ranking) -> None:
        """Writes a line per candidate, best first."""
        for position, candidate in enumerate(ranking.candidates, start=1):
            self._write(
                "after_candidates_ranked",
                task=candidate.task_name,
                position=position,
                ranker=ranking.ranker,
                measure=ranking.measure,
                tau=candidate.tau,
                interval=None if candidate.interval is None else list(candidate.interval),
                probability_above_next=candidate.probability_above_next,
            )

    @hookimpl
    def after_trial(self, primary_task: str, trial: Trial) -> None:
        """Writes a trial's scores."""
        self._write(
            "after_trial",
            task=primary_task,
            auxiliary_tasks=list(trial.auxiliary_tasks),
            score=trial.score,
            scores=list(trial.scores),
            num_kept=dict(trial.num_kept),
            mixing_ratios=dict(trial.mixing_ratios),
            num_steps=trial.num_steps,
            seconds=trial.seconds,
            reused=trial.reused,
        )

    @hookimpl
    def after_round(self, round_of_search: Round) -> None:
        """Writes what a search knows after a round."""
        self._write("after_round", **to_json(round_of_search))

    @hookimpl
    def after_tasks_selected(self, selection: Selection) -> None:
        """Writes the selection."""
        self._write(
            "after_tasks_selected",
            task=selection.primary_task,
            method=selection.method,
            auxiliary_tasks=list(selection.auxiliary_tasks),
            num_kept={name: len(ids) for name, ids in selection.kept_instances.items()},
            mixing_ratios=dict(selection.mixing_ratios),
            reason=selection.reason,
        )

    @hookimpl
    def after_config_rewritten(self, path: Path) -> None:
        """Says where the new configuration lies."""
        self._write("after_config_rewritten", path=str(path))

    @hookimpl
    def after_result_written(self, outcome: Outcome) -> None:
        """Writes what the run came to."""
        self._write(
            "after_result_written",
            **to_json(outcome, only=("seconds", "cost", "gain", "test_gain", "notes")),
        )

    @hookimpl
    def on_selection_error(self, primary_task: str, error: BaseException) -> None:
        """Writes an error down; raising it is left to the run."""
        self._write("on_selection_error", task=primary_task, error=_described(error))

    # --- the file --------------------------------------------------------------------------------

    def _write(self, event: str, **values: Any) -> None:
        if not self._begun:
            self._begun = True
            with disk_errors("write", self.path):
                _begin(self.path)
            self._write(
                "run",
                task=self._settings.primary_task,
                method=self._settings.method.name,
                seed=self._settings.seed,
                version=__version__,
            )
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        entry = {"time": now, "event": event, "phase": self._phase, **values}
        # Opened for each event, so that nothing is left open whatever ends the run.
        with disk_errors("write", self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(to_json(entry), ensure_ascii=False) + "\n")


def _begin(path: Path) -> None:
    """Makes a log ready to be appended to; what a killed process left half-written is a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as stream:
        if stream.tell() > 0:
            stream.seek(-1, 2)
            if stream.read() != b"\n":
                stream.write(b"\n")


def _training(plan: TrainingPlan) -> dict[str, JsonValue]:
    return {
        "purpose": plan.purpose,
        "train_tasks": list(plan.train_tasks),
        "seed": plan.seed,
    }


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
