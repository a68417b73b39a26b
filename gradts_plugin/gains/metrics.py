"""Metrics as they follow from stored predictions, for many draws of the instances at once.

Symbols: N instances, D draws, K labels, q columns of values.

Every metric takes values (N, q) and weights (D, N), how often each draw has each instance, and
gives scores (D,). At weights of one it is the metric as scikit-learn, SciPy and seqeval have it. A
score that has no value is 0 where those who define the metric say so, else NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from gradts_plugin.records import FloatArray, Predictions
from gradts_plugin.scores import Score

#: A spread that is so small beside the squared values is none.
_EQUAL = 1e-12

Metric = Callable[[FloatArray, FloatArray], FloatArray]


def score_of(predictions: Predictions) -> Score:
    """The score that predictions add up to; None where it is undefined.

    Raises:
        KeyError: nobody knows the metric.
    """
    values = predictions.values
    score = float(METRICS[predictions.metric](values, np.ones((1, len(values))))[0])
    return score if np.isfinite(score) else None


def mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The mean over instances. Columns: the instance's own score."""
    return _ratio(weights @ values[:, 0], weights.sum(axis=1))


def accuracy(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Share of right labels. Columns: predicted id, right id."""
    return _ratio(weights @ (values[:, 0] == values[:, 1]), weights.sum(axis=1))


def macro_f1(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean F1 of the labels that are there or predicted. Columns: predicted id, right id."""
    found, gold = _one_hot(values)
    return _mean_f1(weights @ (found * gold), weights @ found, weights @ gold)


def mcc(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Matthews' correlation of K labels; 0 where a side is constant.

    Columns: predicted id, right id. Gorodkin, "Comparing two K-category assignments by a
    K-category correlation coefficient", 2004, equation 8.
    """
    found, gold = _one_hot(values)
    predicted, right, total = weights @ found, weights @ gold, weights.sum(axis=1)
    agreed = weights @ (found * gold).sum(axis=1)
    above = agreed * total - (predicted * right).sum(axis=1)
    below = (total**2 - (predicted**2).sum(axis=1)) * (total**2 - (right**2).sum(axis=1))
    return _ratio(above, np.sqrt(below), undefined=0.0)


def f1(values: FloatArray, weights: FloatArray) -> FloatArray:
    """F1 of the positive label; 0 where it is neither there nor predicted.

    Columns: whether it was predicted, whether it is right (1 or 0).
    """
    found, gold = values[:, 0] == 1, values[:, 1] == 1
    return _f1(weights @ (found & gold), weights @ found, weights @ gold)


def acc_and_f1(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean of accuracy and F1, as GLUE has it for pairs. Columns as of `f1`."""
    return (accuracy(values, weights) + f1(values, weights)) / 2


def span_f1(values: FloatArray, weights: FloatArray) -> FloatArray:
    """F1 over all spans, as seqeval and conlleval have it; 0 where there is no span.

    Columns: a sentence's right predicted spans, predicted spans, right spans.
    """
    true_positives, predicted, right = (weights @ values).T
    return _f1(true_positives, predicted, right)


def word_accuracy(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Share of right labels over all words. Columns: a sentence's right answers, its words."""
    right, words = (weights @ values).T
    return _ratio(right, words)


def word_macro_f1(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean F1, over words, of the labels that are there or predicted.

    Columns: a sentence's right answers of each of K labels, then its K predictions, then its K
    right labels.
    """
    right_answers, predicted, right = np.split(weights @ values, 3, axis=1)
    return _mean_f1(right_answers, predicted, right)


def pearson(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Pearson's r; 0 where a side is constant. Columns: predicted score, right score."""
    return np.nan_to_num(_pearson(values, weights), nan=0.0)


def spearman(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Spearman's rho, ranked anew on each draw; 0 where a side is constant.

    Columns: predicted score, right score.
    """
    return np.nan_to_num(_spearman(values, weights), nan=0.0)


def pearson_and_spearman(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Mean of both, as GLUE has it; NaN where a side is constant. Columns as of `pearson`."""
    return (_pearson(values, weights) + _spearman(values, weights)) / 2


#: Name in `Predictions.metric` -> metric.
METRICS: Final[Mapping[str, Metric]] = {
    metric.__name__: metric
    for metric in (
        *(mean, accuracy, macro_f1, mcc, f1, acc_and_f1),
        *(span_f1, word_accuracy, word_macro_f1),
        *(pearson, spearman, pearson_and_spearman),
    )
}


def _one_hot(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predicted and right labels as float64 (N, K), over the labels that occur."""
    labels = np.unique(values)
    return (values[:, :1] == labels).astype(float), (values[:, 1:] == labels).astype(float)


def _mean_f1(right_answers: FloatArray, predicted: FloatArray, right: FloatArray) -> FloatArray:
    """Mean of F1 over the labels of each draw, all (D, K)."""
    counted = predicted + right > 0
    return _ratio(_f1(right_answers, predicted, right).sum(axis=1), counted.sum(axis=1))


def _f1(true_positives: FloatArray, predicted: FloatArray, right: FloatArray) -> FloatArray:
    return _ratio(2 * true_positives, predicted + right, undefined=0.0)


def _pearson(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Pearson's r of each draw, (D,); NaN where a side has one value only."""
    found, gold = (values - values.mean(axis=0)).T
    columns = np.column_stack([found, gold, found**2, gold**2, found * gold])
    sum_found, sum_gold, squares_found, squares_gold, products = (weights @ columns).T
    total = weights.sum(axis=1)
    return _correlation(
        products - sum_found * sum_gold / total,
        _spread(squares_found, sum_found**2 / total),
        _spread(squares_gold, sum_gold**2 / total),
    )


def _spread(squares: FloatArray, of_mean: FloatArray) -> FloatArray:
    """Sum of squares around the mean; 0 where rounding is all that is left of it."""
    spread = squares - of_mean
    return np.where(spread <= _EQUAL * squares, 0, spread)


def _spearman(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Spearman's rho of each draw, (D,); NaN where a side has one value only."""
    (found, own), (gold, other) = (_ranks(column, weights) for column in values.T)
    return _correlation(np.einsum("dn,dn->d", weights * found, gold), own, other)


def _ranks(scores: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean ranks of scores (N,) around their mean, (D, N), and the sum of their squares, (D,)."""
    different, places = np.unique(scores, return_inverse=True)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(len(different)))
    counts = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.cumsum(counts, axis=1) - counts / 2 - weights.sum(axis=1)[:, None] / 2
    return ranks[:, places], np.einsum("du,du->d", counts * ranks, ranks)


def _correlation(together: FloatArray, own: FloatArray, other: FloatArray) -> FloatArray:
    return np.clip(_ratio(together, np.sqrt(own * other)), -1, 1)


def _ratio(above: FloatArray, below: FloatArray, *, undefined: float = np.nan) -> FloatArray:
    """One by the other, of any shape; `undefined` where the lower one is 0."""
    empty = below == 0
    return np.where(empty, undefined, above / np.where(empty, 1, below))
