"""Metrics of stored predictions: as the libraries have them, and on draws as on repeated rows."""

from __future__ import annotations

import numpy as np
import pytest
import seqeval.metrics
from scipy import stats
from sklearn import metrics as sklearn_metrics

from gradts_plugin.gains.metrics import METRICS, score_of
from gradts_plugin.records import Predictions

FOUND = np.array([0, 1, 1, 2, 0, 1, 2, 2, 0, 1])
GOLD = np.array([0, 1, 0, 2, 0, 1, 1, 2, 1, 1])
SCORES = np.array([0.5, 1.5, 1.5, 4.0, 2.0, 0.0, 3.0])
RIGHT = np.array([1.0, 1.0, 2.0, 5.0, 2.0, 0.0, 2.0])


def score(name, *columns, weights=None):
    values = np.column_stack(columns).astype(float)
    given = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    return METRICS[name](values, given[None])[0]


@pytest.mark.parametrize(
    ("name", "columns", "expected"),
    [
        ("mean", [[0.25, 0.5, 1.5]], 0.75),
        ("accuracy", [[0, 1, 2, 2], [0, 1, 2, 0]], 0.75),
        # F1 of 0: 2/3; of 1: 1; of 2: 2/3; nobody said 3.
        ("macro_f1", [[0, 1, 2, 2], [0, 1, 2, 0]], 7 / 9),
        # tp 2, fp 1, fn 1, tn 1: (2 - 1) / sqrt(3 * 3 * 2 * 2)
        ("mcc", [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0]], 1 / 6),
        ("f1", [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0]], 2 / 3),
        ("acc_and_f1", [[1, 1, 1, 0, 0], [1, 1, 0, 1, 0]], (3 / 5 + 2 / 3) / 2),
        # 3 right of 4 predicted, of 5 that are there
        ("span_f1", [[1, 2], [2, 2], [2, 3]], 2 * 3 / 9),
        ("word_accuracy", [[1, 5], [4, 6]], 0.6),
        # label 0: 2 * 3 / (4 + 5); label 1: 2 * 1 / (2 + 2); label 2 is neither there nor predicted
        (
            "word_macro_f1",
            [[1, 2], [0, 1], [0, 0], [2, 2], [1, 1], [0, 0], [2, 3], [1, 1], [0, 0]],
            (2 / 3 + 1 / 2) / 2,
        ),
        ("pearson", [[1, 2, 3], [1, 3, 2]], 0.5),
        ("spearman", [[1, 2, 30], [1, 3, 2]], 0.5),
        ("pearson_and_spearman", [[1, 2, 3], [1, 3, 2]], 0.5),
    ],
)
def test_a_score_worked_by_hand(name, columns, expected):
    assert score(name, *columns) == pytest.approx(expected, abs=1e-12)


def test_every_metric_has_its_name():
    assert all(metric.__name__ == name for name, metric in METRICS.items())
    assert len(METRICS) == 12


def test_labels_are_scored_as_scikit_learn_does():
    labels = [FOUND, GOLD]
    assert score("accuracy", *labels) == sklearn_metrics.accuracy_score(GOLD, FOUND)
    expected = sklearn_metrics.f1_score(GOLD, FOUND, average="macro")
    assert score("macro_f1", *labels) == pytest.approx(expected, abs=1e-12)
    expected = sklearn_metrics.matthews_corrcoef(GOLD, FOUND)
    assert score("mcc", *labels) == pytest.approx(expected, abs=1e-12)
    expected = sklearn_metrics.f1_score(GOLD == 1, FOUND == 1)
    assert score("f1", FOUND == 1, GOLD == 1) == pytest.approx(expected, abs=1e-12)


def test_correlations_are_those_of_scipy():
    pearson, spearman = stats.pearsonr(SCORES, RIGHT)[0], stats.spearmanr(SCORES, RIGHT)[0]
    assert score("pearson", SCORES, RIGHT) == pytest.approx(pearson, abs=1e-12)
    assert score("spearman", SCORES, RIGHT) == pytest.approx(spearman, abs=1e-12)
    both = score("pearson_and_spearman", SCORES, RIGHT)
    assert both == pytest.approx((pearson + spearman) / 2, abs=1e-12)


def test_spans_are_scored_as_seqeval_does():
    right = [["B-PER", "I-PER", "O"], ["B-LOC", "O", "B-ORG"]]
    found = [["B-PER", "O", "O"], ["B-LOC", "O", "B-LOC"]]
    assert score("span_f1", [0, 1], [1, 2], [1, 2]) == pytest.approx(
        seqeval.metrics.f1_score(right, found)
    )


def columns_of(name):
    rng = np.random.default_rng(3)
    if name in ("accuracy", "macro_f1", "mcc"):
        return rng.integers(3, size=(12, 2)).astype(float)
    if name in ("f1", "acc_and_f1"):
        return rng.integers(2, size=(12, 2)).astype(float)
    if name in ("span_f1", "word_accuracy"):
        right = rng.integers(1, 4, size=(12, 1))
        return np.hstack([right - 1, right, right + 1][: 3 if name == "span_f1" else 2]).astype(
            float
        )
    if name == "word_macro_f1":
        right = rng.integers(0, 3, size=(12, 2))
        return np.hstack([right, right + 1, right + np.array([0, 1])]).astype(float)
    return rng.integers(5, size=(12, 2)).astype(float)  # scores, some of them equal


@pytest.mark.parametrize("name", METRICS)
def test_a_draw_scores_as_the_rows_it_drew(name):
    values, rng = columns_of(name), np.random.default_rng(4)
    weights = np.stack([np.bincount(rng.integers(12, size=12), minlength=12) for _ in range(6)])
    drawn = METRICS[name](values, weights.astype(float))
    assert drawn.shape == (6,)
    assert len(set(drawn.tolist())) > 2
    for one, given in zip(drawn, weights, strict=True):
        rows = np.repeat(values, given, axis=0)
        assert one == pytest.approx(METRICS[name](rows, np.ones((1, 12)))[0], abs=1e-12)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
def test_a_correlation_with_a_constant_side_counts_0(name):
    assert score(name, [0.1, 0.1, 0.1], [1, 2, 3]) == 0
    assert score(name, [1, 2, 3], [0.7, 0.7, 0.7]) == 0
    # Each of the three has another predicted score; the draw has one of them only.
    assert score(name, [0.1, 0.2, 0.3], [1, 2, 3], weights=[0, 3, 0]) == 0


def test_of_both_correlations_nothing_is_made_up():
    assert np.isnan(score("pearson_and_spearman", [0.1, 0.1, 0.1], [1, 2, 3]))
    constant = Predictions("pearson_and_spearman", np.arange(2), np.array([[0.1, 1], [0.1, 2]]))
    assert score_of(constant) is None


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("mcc", [[1, 1], [1, 0]]),
        ("mcc", [[1, 1], [1, 1]]),
        ("f1", [[0, 0], [0, 0]]),
        ("span_f1", [[0, 0], [0, 0], [0, 0]]),
    ],
)
def test_what_its_authors_count_0_is_0(name, columns):
    assert score(name, *columns) == 0


def test_nearly_equal_scores_are_not_equal():
    close = 1 + np.array([0.0, 1e-7, 2e-7])
    assert score("pearson", close, [1, 2, 3]) == pytest.approx(1, abs=1e-6)


def test_predictions_add_up_to_their_score():
    assert score_of(Predictions("mean", np.arange(2), np.array([[0.25], [0.5]]))) == 0.375
