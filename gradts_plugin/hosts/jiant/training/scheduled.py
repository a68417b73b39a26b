"""A run in which a scheduler picks the tasks, and how it goes on after it was killed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.training.checkpoint import read_checkpoint, write_checkpoint
from gradts_plugin.hosts.jiant.training.evaluation import Evaluation
from gradts_plugin.hosts.jiant.training.samplers import ScheduledTaskSampler
from gradts_plugin.protocols import Schedule
from gradts_plugin.scores import Score

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.runner import TrainState

#: A scheduled run is saved between rounds, but not more often than this.
CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class _Saved:
    """A scheduled run between two rounds: what its checkpoint holds.

    Attributes:
        runner: jiant's runner with its model (jiant's own format).
        train_state: the attributes of jiant's `TrainState`.
        history: the fields of each evaluation so far.
        seconds: spent so far.
    """

    runner: Any
    train_state: Any
    history: Sequence[tuple[Score, Mapping[str, Score]]]
    seconds: float


class ScheduledRun:
    """A run in which a scheduler picks the tasks; saved between rounds."""

    def __init__(self, runner: Any, schedule: Schedule, output_dir: Path | None) -> None:
        self._runner = runner
        self._schedule = schedule
        self._path = None if output_dir is None else output_dir / "checkpoint.safetensors"
        self._num_steps = runner.jiant_task_container.global_train_config.max_steps
        self._saved_at = self._begun_at = time.perf_counter()
        self._seconds_before = 0.0

    def begin(self) -> tuple[Iterator[Any], list[Evaluation], float]:
        """Starts the run, or goes on after its last saved round.

        Returns:
            (jiant's training states, one a step; the evaluations so far; seconds spent so far).

        Raises:
            HostError: the checkpoint is damaged.
        """
        container = self._runner.jiant_task_container
        container.task_sampler = ScheduledTaskSampler(container.task_dict, self._schedule)
        if self._path is None or not self._path.exists():
            return self._runner.run_train_context(verbose=False), [], 0.0
        saved = _Saved(**read_checkpoint(self._path))
        self._seconds_before = saved.seconds
        self._runner.load_state(saved.runner)
        states = self._runner.resume_train_context(TrainState(**saved.train_state), verbose=False)
        return states, [Evaluation(*found) for found in saved.history], saved.seconds

    def after_round(self, train_state: Any, history: Sequence[Evaluation]) -> None:
        """Tells the scheduler of a round, and saves unless that was done a short while ago."""
        self._schedule.scheduler.observe(history[-1].score)
        if self._path is None:
            return
        if train_state.global_steps == self._num_steps:
            self._path.unlink(missing_ok=True)
        elif time.perf_counter() - self._saved_at >= CHECKPOINT_SECONDS:
            saved = _Saved(
                runner=self._runner.get_runner_state(),
                train_state=vars(train_state),
                history=[(found.score, dict(found.metrics)) for found in history],
                seconds=self._seconds_before + time.perf_counter() - self._begun_at,
            )
            write_checkpoint(self._path, vars(saved))
            self._saved_at = time.perf_counter()
