"""Scores a task's dev or test set with jiant's own evaluation, and keeps the best evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.training.predictions import predictions_of
from gradts_plugin.hosts.jiant.training.runner import ObservedRunner
from gradts_plugin.records import TEST_SCORE, Predictions
from gradts_plugin.scores import Score

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.shared import caching
from jiant.tasks import evaluate


@dataclass(frozen=True)
class Evaluation:
    """What scoring a dev set once came to.

    Attributes:
        score: the major metric; None where it is undefined.
        metrics: all metrics, the loss included; None where one is undefined.
        predictions: split -> what its score follows from; absent where it is not known.
    """

    score: Score
    metrics: Mapping[str, Score]
    predictions: Mapping[str, Predictions] = field(default_factory=dict)


def best_evaluation(history: Sequence[Evaluation]) -> Evaluation:
    """The best defined one, the first of equal ones; the last where none is defined.

    Args:
        history: all evaluations of a run, at least one.
    """
    places = [
        (found.score, -place) for place, found in enumerate(history) if found.score is not None
    ]
    return history[-max(places)[1]] if places else history[-1]


def evaluate_dev(runner: ObservedRunner, task_name: str, *, whole_dev_set: bool) -> Evaluation:
    """Scores a task's dev set, or the first examples of it: these without predictions."""
    results = runner.run_val([task_name], use_subset=not whole_dev_set, verbose=False)[task_name]
    metrics = {
        key: _defined(value) for key, value in results["metrics"].minor.items() if _is_number(value)
    }
    metrics["loss"] = _defined(results["loss"])
    found = Evaluation(_defined(results["metrics"].major), metrics)
    if not whole_dev_set:
        return found
    task = runner.jiant_task_container.task_dict[task_name]
    predictions = predictions_of(
        evaluate.get_evaluation_scheme_for_task(task=task),
        task,
        results["accumulator"],
        runner.get_val_labels_dict([task_name])[task_name],
        found.score,
    )
    return replace(found, predictions={} if predictions is None else {"dev": predictions})


def evaluate_test(
    runner: ObservedRunner, task_name: str, folders: Mapping[str, str], dev: Evaluation
) -> Evaluation:
    """Adds the major metric on the labelled test split, which is cached like a dev split.

    Args:
        runner: jiant's.
        task_name: the task.
        folders: its caches.
        dev: the evaluation of the dev split.
    """
    container = runner.jiant_task_container
    caches = container.task_cache_dict[task_name]
    container.task_cache_dict[task_name] = {
        **caches,
        "val": caching.ChunkedFilesDataCache(folders["test"]),
        "val_labels": caching.ChunkedFilesDataCache(folders["test_labels"]),
    }
    try:
        test = evaluate_dev(runner, task_name, whole_dev_set=True)
    finally:
        container.task_cache_dict[task_name] = caches
    found = test.predictions.get("dev")
    return replace(
        dev,
        metrics={**dev.metrics, TEST_SCORE: test.score},
        predictions={**dev.predictions, **({} if found is None else {"test": found})},
    )


def _defined(value: Any) -> Score:
    """jiant answers NaN where a metric is undefined; from here on that is None."""
    return float(value) if math.isfinite(value) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.floating | np.integer)
