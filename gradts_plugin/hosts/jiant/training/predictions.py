"""What a score of jiant's follows from, instance by instance, for the schemes that are known.

Symbols: N instances, K labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradts_plugin.gains.metrics import score_of
from gradts_plugin.hosts.jiant.tasks.evaluation import (
    CorrelationScheme,
    LabelScheme,
    TagScheme,
    as_spans,
    words_of,
)
from gradts_plugin.records import FloatArray, Predictions
from gradts_plugin.scores import Score
from gradts_plugin.tasks.spans import span_tags

# After the schemes, which mend jiant.
# ruff: noqa: I001
from jiant.tasks.evaluate import core
from seqeval.metrics.sequence_labeling import get_entities

#: Of a metric: its name in `gains.metrics.METRICS`, and its values, (N, q).
_Found = tuple[str, FloatArray]

#: How far the score that follows may lie from jiant's own.
_TOLERANCE = 1e-9


def predictions_of(
    scheme: Any, task: Any, accumulator: Any, labels: Any, score: Score
) -> Predictions | None:
    """What jiant's score of a split follows from.

    Args:
        scheme: jiant's evaluation scheme of the task.
        task: jiant's task.
        accumulator: jiant's, with the outputs for the whole split.
        labels: the split's right labels, as the scheme caches them.
        score: jiant's major metric.

    Returns:
        The predictions, in the order of the split's cache; None where the scheme is not known, or
        where another score follows from them than jiant's.
    """
    values_of = _SCHEMES.get(type(scheme))
    if values_of is None:
        return None
    predicted = scheme.get_preds_from_accumulator(task=task, accumulator=accumulator)
    metric, values = values_of(scheme, task, predicted, labels)
    found = Predictions(metric, np.arange(len(values)), np.asarray(values, np.float64))
    return found if _is_same(score_of(found), score) else None


def _is_same(score: Score, other: Score) -> bool:
    if score is None or other is None:
        return score is other
    return abs(score - other) <= _TOLERANCE


def _as_labels(metric: str) -> Callable[[Any, Any, Any, Any], _Found]:
    return lambda _scheme, _task, predicted, right: (metric, np.column_stack([predicted, right]))


def _of_labels(scheme: LabelScheme, _task: Any, predicted: Any, right: Any) -> _Found:
    columns = np.column_stack([predicted, right])
    return scheme.metric, columns == scheme.positive_id if scheme.metric == "f1" else columns


def _of_scores(scheme: CorrelationScheme, _task: Any, predicted: Any, right: Any) -> _Found:
    return scheme.metric, np.column_stack([predicted, right])


def _of_tags(scheme: TagScheme, task: Any, predicted: Any, labels: Any) -> _Found:
    found, right = words_of(task, predicted, labels), [row["pos_list"] for row in labels]
    if scheme.metric == "macro_f1":
        return "word_macro_f1", _label_counts(found, right, task.LABELS)
    if scheme.metric == "seqeval_f1":
        tags = span_tags(task.LABELS)
        return "span_f1", _span_counts(as_spans(found, tags), as_spans(right, tags))
    pairs = zip(found, right, strict=True)
    counts = [(np.sum(np.array(own) == np.array(gold)), len(gold)) for own, gold in pairs]
    return "word_accuracy", np.array(counts, np.float64)


def _of_spans(_scheme: Any, task: Any, predicted: Any, labels: Any) -> _Found:
    found = words_of(task, predicted, labels)
    return "span_f1", _span_counts(found, [row["pos_list"] for row in labels])


def _span_counts(found: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> FloatArray:
    """Right predicted, predicted and right spans of each sentence, (N, 3)."""
    counts = []
    for words, gold in zip(found, right, strict=True):
        own, other = set(get_entities(words)), set(get_entities(gold))
        counts.append((len(own & other), len(own), len(other)))
    return np.array(counts, np.float64)


def _label_counts(
    found: Sequence[Sequence[str]], right: Sequence[Sequence[str]], labels: Sequence[str]
) -> FloatArray:
    """Of each sentence: right answers, predictions and right labels of each label, (N, 3K)."""
    place = {label: number for number, label in enumerate(labels)}
    counts = np.zeros((len(found), 3, len(labels)))
    for row, words, gold in zip(counts, found, right, strict=True):
        for own, other in zip(words, gold, strict=True):
            row[0, place[own]] += own == other
            row[1, place[own]] += 1
            row[2, place[other]] += 1
    return counts.reshape(len(found), -1)


_SCHEMES: Mapping[type, Callable[[Any, Any, Any, Any], _Found]] = {
    LabelScheme: _of_labels,
    CorrelationScheme: _of_scores,
    TagScheme: _of_tags,
    core.SimpleAccuracyEvaluationScheme: _as_labels("accuracy"),
    core.MultipleChoiceAccuracyEvaluationScheme: _as_labels("accuracy"),
    core.MCCEvaluationScheme: _as_labels("mcc"),
    core.AccAndF1EvaluationScheme: _as_labels("acc_and_f1"),
    core.PearsonAndSpearmanEvaluationScheme: _as_labels("pearson_and_spearman"),
    core.F1TaggingEvaluationScheme: _of_spans,
}
