"""What jiant's scores follow from: per instance, and the same score to the ninth digit."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_encoders import save_tiny_encoder

from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends

apply_mends()  # before tiny_jiant imports jiant

from jiant.tasks.evaluate import core  # noqa: E402
from tiny_jiant import export_weights, write_setup  # noqa: E402

from gradts_plugin.gains.metrics import score_of  # noqa: E402
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches  # noqa: E402
from gradts_plugin.hosts.jiant.tasks.evaluation import (  # noqa: E402
    CorrelationScheme,
    LabelScheme,
    TagScheme,
)
from gradts_plugin.hosts.jiant.training.predictions import predictions_of  # noqa: E402
from gradts_plugin.hosts.jiant.training.recipe import resolve_recipe  # noqa: E402
from gradts_plugin.hosts.jiant.training.train import train  # noqa: E402
from gradts_plugin.records import TEST_SCORE, TrainingPlan  # noqa: E402
from gradts_plugin.settings.training import TrainingSettings  # noqa: E402

TAGS = {"plain": ["NOUN", "VERB", "ADJ"], "spans": ["O", "B-PER", "I-PER", "B-LOC"]}


def task_with(labels):
    return SimpleNamespace(LABELS=labels, ID_TO_LABEL=dict(enumerate(labels)))


def found_for(scheme, logits, labels, task=None):
    """Predictions of a scheme, and jiant's own score."""
    accumulator = scheme.get_accumulator()
    for start in range(0, len(logits), 8):
        accumulator.update(np.asarray(logits[start : start + 8], np.float32), 0.5, None, {})
    metrics = scheme.compute_metrics_from_accumulator(
        task=task, accumulator=accumulator, tokenizer=None, labels=labels
    )
    return predictions_of(scheme, task, accumulator, labels, float(metrics.major)), metrics.major


def checked(found, score, metric):
    assert found.metric == metric
    assert score_of(found) == pytest.approx(score, abs=1e-9)
    assert 0 < abs(score) < 1  # else every constant would do
    return found.values


@pytest.mark.parametrize(
    ("scheme", "metric", "num_labels"),
    [
        (core.SimpleAccuracyEvaluationScheme(), "accuracy", 3),
        (core.MultipleChoiceAccuracyEvaluationScheme(), "accuracy", 4),
        (core.MCCEvaluationScheme(), "mcc", 2),
        (core.AccAndF1EvaluationScheme(), "acc_and_f1", 2),
        (LabelScheme("accuracy", None), "accuracy", 3),
        (LabelScheme("macro_f1", None), "macro_f1", 4),
        (LabelScheme("mcc", None), "mcc", 3),
        (LabelScheme("f1", 0), "f1", 3),
        (LabelScheme("f1", 2), "f1", 3),
    ],
)
def test_labels(scheme, metric, num_labels):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, num_labels)), rng.integers(num_labels, size=30)
    values = checked(*found_for(scheme, logits, labels), metric)
    predicted = logits.argmax(axis=1)
    if metric == "f1":
        predicted, labels = predicted == scheme.positive_id, labels == scheme.positive_id
    np.testing.assert_array_equal(values, np.column_stack([predicted, labels]))


@pytest.mark.parametrize(
    ("scheme", "metric"),
    [
        (core.PearsonAndSpearmanEvaluationScheme(), "pearson_and_spearman"),
        (CorrelationScheme("pearson"), "pearson"),
        (CorrelationScheme("spearman"), "spearman"),
    ],
)
def test_scores(scheme, metric):
    rng = np.random.default_rng(1)
    logits, right = rng.normal(size=(30, 1)), np.round(rng.uniform(0, 5, size=30))
    values = checked(*found_for(scheme, logits, right), metric)
    np.testing.assert_array_equal(values[:, 1], right)


@pytest.mark.parametrize(
    ("scheme", "kind", "metric"),
    [
        (core.F1TaggingEvaluationScheme(), "spans", "span_f1"),
        (core.F1TaggingEvaluationScheme(), "plain", "span_f1"),
        (TagScheme("seqeval_f1"), "spans", "span_f1"),
        (TagScheme("accuracy"), "spans", "word_accuracy"),
        (TagScheme("macro_f1"), "plain", "word_macro_f1"),
    ],
)
def test_tags(scheme, kind, metric):
    rng, task = np.random.default_rng(2), task_with(TAGS[kind])
    masks = rng.integers(2, size=(20, 9)).astype(bool)
    masks[:, 0] = True
    labels = [
        {"label_mask": mask, "pos_list": list(rng.choice(task.LABELS, size=mask.sum()))}
        for mask in masks
    ]
    logits = rng.normal(size=(20, 9, len(task.LABELS)))
    values = checked(*found_for(scheme, logits, labels, task), metric)
    assert len(values) == 20
    if metric == "word_accuracy":
        assert values[:, 1].tolist() == masks.sum(axis=1).tolist()


def test_spans_of_one_sentence_counted_by_hand():
    task = task_with(TAGS["spans"])
    labels = [{"label_mask": np.ones(4, bool), "pos_list": ["B-PER", "I-PER", "O", "B-LOC"]}]
    # Predicted: B-PER I-PER B-PER B-LOC: three spans, two of them right, of two.
    logits = [[[0, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]]
    found, score = found_for(TagScheme("seqeval_f1"), logits, labels, task)
    assert found.values.tolist() == [[2, 3, 2]]
    assert score == pytest.approx(0.8)


def test_where_another_score_follows_there_are_none():
    scheme = core.SimpleAccuracyEvaluationScheme()
    accumulator = scheme.get_accumulator()
    accumulator.update(np.eye(2), 0.5, None, {})
    labels = np.array([0, 1])
    assert predictions_of(scheme, None, accumulator, labels, 1.0) is not None
    assert predictions_of(scheme, None, accumulator, labels, 1 - 1e-6) is None
    assert predictions_of(scheme, None, accumulator, labels, None) is None


def test_of_an_unknown_scheme_there_are_none():
    class Other(core.SimpleAccuracyEvaluationScheme):
        """Might score in any way."""

    assert predictions_of(Other(), None, None, [0], 0.0) is None
    assert predictions_of(core.SQuADEvaluationScheme(), None, None, [0], 0.0) is None


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("setup")
    encoder = save_tiny_encoder("bert", folder / "encoder")
    weights = export_weights(encoder, folder / "weights.p")
    path = write_setup(folder, encoder, ("cola", "stsb", "udpos"), 6, num_val=12)
    arguments = HostArguments(str(encoder), str(weights), no_cuda=True)
    return json.loads(path.read_text()), arguments


@pytest.mark.parametrize("task", ["cola", "stsb", "udpos"])
def test_a_training_keeps_those_of_its_best_evaluation(setup, task):
    container, arguments = setup
    caches = container["task_cache_config_dict"][task]
    with_test = {**caches, "test": caches["val"], "test_labels": caches["val_labels"]}
    container = {**container, "task_cache_config_dict": {task: with_test}}
    settings = TrainingSettings(max_steps=6, evaluations=3, batch_size=4, learning_rate=2e-3)
    recipe = resolve_recipe(settings, container, arguments, [task], {task: 18})

    def trained(purpose):
        plan = TrainingPlan(purpose, (task,), task, seed=1, recipe=recipe)
        return train(
            container,
            plan,
            arguments,
            switches=FaultSwitches(),
            observe=lambda step: None,
            output_dir=None,
        ).result

    result = trained("trial")
    assert sorted(result.predictions) == ["dev", "test"]
    dev, test = result.predictions["dev"], result.predictions["test"]
    assert score_of(dev) == pytest.approx(result.score, abs=1e-9)
    assert score_of(test) == pytest.approx(result.metrics[TEST_SCORE], abs=1e-9)
    assert dev.example_ids.tolist() == list(range(12))
    np.testing.assert_array_equal(dev.values, test.values)
    assert trained("fine-tuning").predictions == {}
