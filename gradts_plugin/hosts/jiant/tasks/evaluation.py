"""The metrics of custom tasks, as jiant's evaluation schemes.

Every score is defined: what has no value (a correlation with constant predictions, F1 of a label
that is neither there nor predicted) counts 0.
"""

# No `from __future__ import annotations` is needed here, and jiant reads no annotations of schemes.
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import seqeval.metrics
from scipy import stats
from sklearn import metrics

from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.tasks.spans import span_tags

apply_mends()

from jiant.tasks.evaluate import core  # noqa: E402  # after the mends

Array = npt.NDArray[Any]


def label_scores(
    predicted: Sequence[object] | Array, right: Sequence[object] | Array, positive: object = None
) -> dict[str, float]:
    """Accuracy, macro-F1, MCC and, for a positive label, its F1.

    Args:
        predicted: predicted labels, (N,).
        right: right labels, (N,).
        positive: the label that `f1` is computed for; None: no `f1`.

    Returns:
        Metric name -> score. Macro-F1 is over the labels that are there or were predicted.
    """
    found, gold = np.asarray(predicted), np.asarray(right)
    if not len(gold):
        return dict.fromkeys(("accuracy", "macro_f1", "mcc"), 0.0)
    one_label = len(np.unique(np.concatenate([found, gold]))) == 1
    scores = {
        "accuracy": float((found == gold).mean()),
        "macro_f1": float(metrics.f1_score(gold, found, average="macro", zero_division=0)),
        "mcc": 0.0 if one_label else float(metrics.matthews_corrcoef(gold, found)),
    }
    if positive is not None:
        scores["f1"] = float(metrics.f1_score(gold == positive, found == positive, zero_division=0))
    return scores


def correlation_scores(predicted: Array, right: Array) -> dict[str, float]:
    """Pearson's and Spearman's correlation, 0 where one side is constant.

    Args:
        predicted: predicted scores, (N,).
        right: right scores, (N,).
    """
    found, gold = np.asarray(predicted, np.float64), np.asarray(right, np.float64)
    if len(found) < 2 or np.ptp(found) == 0 or np.ptp(gold) == 0:
        return {"pearson": 0.0, "spearman": 0.0}
    return {
        "pearson": _finite(stats.pearsonr(found, gold)[0]),
        "spearman": _finite(stats.spearmanr(found, gold)[0]),
    }


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else 0.0


def tag_scores(
    predicted: Sequence[Sequence[str]], right: Sequence[Sequence[str]], labels: Sequence[str]
) -> dict[str, float]:
    """Accuracy and macro-F1 over words, and F1 over spans.

    Args:
        predicted: predicted labels of each sentence's words.
        right: right labels of each sentence's words.
        labels: all labels of the task.

    Returns:
        accuracy and macro_f1; where the labels mark spans also `seqeval_f1`, the micro-averaged F1
        over spans, as conlleval has it. Labels that mark no span are outside of any.
    """
    flat_found = [label for sentence in predicted for label in sentence]
    flat_gold = [label for sentence in right for label in sentence]
    scores = label_scores(flat_found, flat_gold)
    del scores["mcc"]
    tags = span_tags(labels)
    if not tags:
        return scores
    found, gold = as_spans(predicted, tags), as_spans(right, tags)
    return scores | {"seqeval_f1": float(seqeval.metrics.f1_score(gold, found, zero_division=0))}


def as_spans(sentences: Sequence[Sequence[str]], tags: Mapping[str, str]) -> list[list[str]]:
    """Labels of sentences as seqeval reads them; `tags` is from `tasks.spans.span_tags`."""
    return [[tags.get(label, "O") for label in sentence] for sentence in sentences]


def words_of(task: Any, predicted: Sequence[Array], labels: Sequence[Any]) -> list[list[str]]:
    """Predicted labels of each sentence's words.

    Args:
        task: jiant's.
        predicted: label ids of each sentence's positions, (T,).
        labels: of each sentence; their `label_mask` says which positions are words.
    """
    return [
        [task.ID_TO_LABEL[label_id] for label_id in ids[row["label_mask"][: len(ids)]]]
        for ids, row in zip(predicted, labels, strict=True)
    ]


class LabelScheme(core.BaseLogitsEvaluationScheme):  # type: ignore[misc]  # jiant is untyped
    """Classification and multiple choice: the largest of the logits (N, num_labels) wins."""

    def __init__(self, metric: str, positive_id: int | None) -> None:
        self.metric = metric
        self.positive_id = positive_id

    def get_preds_from_accumulator(self, task: Any, accumulator: Any) -> Array:  # noqa: ARG002
        """Predicted label ids, (N,)."""
        predicted: Array = np.argmax(accumulator.get_accumulated(), axis=1)
        return predicted

    def compute_metrics_from_preds_and_labels(self, preds: Array, labels: Any) -> Any:
        """The task's metric as the major one, all of them as minor ones."""
        scores = label_scores(preds, labels, self.positive_id)
        return core.Metrics(major=scores[self.metric], minor=scores)


class CorrelationScheme(core.BaseLogitsEvaluationScheme):  # type: ignore[misc]  # jiant is untyped
    """Regression: scores of shape (N, 1)."""

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def get_labels_from_cache_and_examples(self, task: Any, cache: Any, examples: Any) -> Array:  # noqa: ARG002
        """Right scores, (N,)."""
        right: Array = core.get_label_vals_from_cache(cache=cache)
        return right

    def get_preds_from_accumulator(self, task: Any, accumulator: Any) -> Array:  # noqa: ARG002
        """Predicted scores, (N,)."""
        predicted: Array = np.squeeze(accumulator.get_accumulated(), axis=-1)
        return predicted

    def compute_metrics_from_preds_and_labels(self, preds: Array, labels: Any) -> Any:
        """The task's metric as the major one, both as minor ones."""
        scores = correlation_scores(preds, labels)
        return core.Metrics(major=scores[self.metric], minor=scores)


class TagAccumulator(core.ConcatenateLogitsAccumulator):  # type: ignore[misc]  # jiant is untyped
    """Keeps predicted label ids, sentence by sentence.

    jiant keeps and joins all logits, which takes memory and batches of one length; ids take less,
    and a list takes batches that were trimmed to their longest row.
    """

    def update(self, batch_logits: Array, batch_loss: Any, batch: Any, batch_metadata: Any) -> None:
        """Adds a batch of logits of shape (B, T, num_labels)."""
        super().update(np.argmax(batch_logits, axis=-1), batch_loss, batch, batch_metadata)

    def get_accumulated(self) -> list[Array]:
        """One array of label ids, (T,), per sentence."""
        return [sentence for batch in self.logits_list for sentence in batch]


class TagScheme(core.F1TaggingEvaluationScheme):  # type: ignore[misc]  # jiant is untyped
    """Tagging; the labels cache is the one of jiant's tagging tasks.

    As in jiant, words that were cut off at the maximum length are not scored.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def get_accumulator(self) -> TagAccumulator:
        """A fresh accumulator."""
        return TagAccumulator()

    def get_preds_from_accumulator(self, task: Any, accumulator: Any) -> list[Array]:  # noqa: ARG002
        """One array of label ids, (T,), per sentence; special and padding positions included."""
        predicted: list[Array] = accumulator.get_accumulated()
        return predicted

    def compute_metrics_from_preds_and_labels(self, task: Any, preds: Any, labels: Any) -> Any:
        """The task's metric as the major one, all of them as minor ones."""
        predicted = words_of(task, preds, labels)
        scores = tag_scores(predicted, [row["pos_list"] for row in labels], task.LABELS)
        return core.Metrics(major=scores[self.metric], minor=scores)
