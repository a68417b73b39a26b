"""Trainings of the fake host: steps, evaluations and schedules as real ones, scores from a test."""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gradts_plugin.protocols import Schedule
from gradts_plugin.records import TEST_SCORE, Predictions, TrainingPlan, TrainingResult, TrainStep

StepListener = Callable[[TrainingPlan, TrainStep], None]

_SECONDS_PER_STEP = 0.001


@dataclass(frozen=True)
class FakeTraining:
    """What the score of an evaluation may depend on.

    Attributes:
        primary_task: whose dev set is scored.
        auxiliary_tasks: the others, in the order of the plan; in a scheduled training those that
            were trained so far.
        kept_instances: task -> example ids that are kept of it; absent tasks are whole.
        mixing_ratios: task -> how often it is trained; empty: as the sampler has it; in a scheduled
            training in how many rounds it was so far.
        seed: of the training.
        evaluation: which evaluation this is, from 1.
        num_evaluations: how many there will be.
        on_test_set: the test set is scored and not the dev set.
    """

    primary_task: str
    auxiliary_tasks: tuple[str, ...]
    kept_instances: Mapping[str, tuple[int, ...]]
    mixing_ratios: Mapping[str, int]
    seed: int
    evaluation: int
    num_evaluations: int
    on_test_set: bool = False


#: None is an undefined score.
Score = Callable[[FakeTraining], float | None]


def additive_score(training: FakeTraining) -> float:
    """A score that everything moves: each auxiliary by its own gain, seeds and evaluations a bit.

    The gain of an auxiliary lies in [-0.1, 0.1], that of kept instances, ratios, seed and test set
    in [-0.01, 0.01]; the last evaluation is the best one.
    """
    primary = training.primary_task
    score = 0.5 + 0.1 * _chance(primary)
    score += sum(0.1 * _chance(primary, name) for name in training.auxiliary_tasks)
    for given in (training.kept_instances, training.mixing_ratios):
        score += 0.01 * _chance(primary, json.dumps(given, sort_keys=True)) if given else 0.0
    score += 0.01 * _chance(primary, *training.auxiliary_tasks, str(training.seed))
    score += 0.01 * _chance(str(training.seed), "test") if training.on_test_set else 0.0
    return score - 0.001 * (training.num_evaluations - training.evaluation)


def _chance(*words: str) -> float:
    """A number in [-1, 1] that only these words decide."""
    return 2 * zlib.crc32(" ".join(words).encode()) / (2**32 - 1) - 1


def predicted(score: float, num_instances: int, *training: str) -> Predictions:
    """Instances whose mean is a score; easy and hard ones are so in every training, nearly.

    Args:
        score: of the training.
        num_instances: N.
        training: words that tell it from others.
    """
    names = [str(number) for number in range(num_instances)]
    values = np.array([_chance(name) + 0.2 * _chance(name, *training) for name in names])
    values += score - values.mean()
    return Predictions("mean", np.arange(num_instances), values[:, None])


def run_training(
    plan: TrainingPlan,
    output_dir: Path | None,
    schedule: Schedule | None,
    *,
    score: Score,
    on_step: StepListener,
    num_dev: int,
    has_test: bool,
) -> TrainingResult:
    """Goes through the steps and evaluations of a plan without training anything."""
    num_steps, evaluations = plan.recipe.max_steps, plan.recipe.evaluations
    ends = [max(1, num_steps * n // evaluations) for n in range(1, evaluations + 1)]
    if schedule is not None:
        ends = list(range(schedule.steps_per_round, num_steps + 1, schedule.steps_per_round))
    order = _task_order(plan, schedule)
    taken: list[str] = []
    history: list[Any] = []
    for step in range(1, num_steps + 1):
        taken.append(next(order))
        loss = 1 + abs(_chance(taken[-1], str(plan.seed), str(step), str(_kept(plan))))
        on_step(plan, TrainStep(taken[-1], step, num_steps, loss))
        for _ in range(ends.count(step)):
            training = _described(plan, len(history) + 1, len(ends))
            if schedule is not None:
                training = _described_by(taken, training, schedule.steps_per_round)
            history.append(score(training))
            if schedule is not None:
                schedule.scheduler.observe(history[-1])
    # The best defined evaluation, of equal ones the first.
    best: Any = max((found for found in history if found is not None), default=None)
    metrics: dict[str, float | None] = {"score": best}
    if has_test and schedule is None:
        training = _described(plan, len(ends), len(ends))
        metrics[TEST_SCORE] = score(replace(training, on_test_set=True))
    predictions = {"dev": best, "test": metrics.get(TEST_SCORE)}
    return TrainingResult(
        score=best,
        metrics=metrics,
        history=tuple(history),
        num_steps=num_steps,
        num_examples=sum(plan.recipe.batches[name].per_step for name in taken),
        seconds=_SECONDS_PER_STEP * num_steps,
        output_dir=output_dir,
        scheduler_state=None if schedule is None else schedule.scheduler.state(),
        predictions={
            split: predicted(value, num_dev, str(plan.seed), *plan.train_tasks)
            for split, value in predictions.items()
            if value is not None
        },
    )


def _task_order(plan: TrainingPlan, schedule: Schedule | None) -> Iterator[str]:
    """The task of each step: the scheduler's, else in turn, as often as mixing ratios say."""
    ratios = plan.recipe.task_steps or plan.recipe.mixing_ratios
    while True:
        if schedule is not None:
            yield from [schedule.scheduler.next_task()] * schedule.steps_per_round
        else:
            for name in sorted(plan.train_tasks, key=plan.recipe.last_task.__eq__):
                yield from [name] * ratios.get(name, 0 if ratios else 1)


def _described(plan: TrainingPlan, evaluation: int, num_evaluations: int) -> FakeTraining:
    return FakeTraining(
        primary_task=plan.primary_task,
        auxiliary_tasks=tuple(name for name in plan.train_tasks if name != plan.primary_task),
        kept_instances=_kept(plan),
        mixing_ratios=plan.recipe.mixing_ratios,
        seed=plan.seed,
        evaluation=evaluation,
        num_evaluations=num_evaluations,
    )


def _described_by(taken: Sequence[str], training: FakeTraining, steps: int) -> FakeTraining:
    """The same of a scheduled training after the steps it has taken."""
    rounds = {name: count // steps for name, count in sorted(Counter(taken).items())}
    auxiliaries = tuple(name for name in training.auxiliary_tasks if name in rounds)
    return replace(training, auxiliary_tasks=auxiliaries, mixing_ratios=rounds)


def _kept(plan: TrainingPlan) -> dict[str, tuple[int, ...]]:
    return {name: tuple(np.sort(ids).tolist()) for name, ids in plan.kept_instances.items()}
