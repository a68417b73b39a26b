"""The probe of a frozen encoder: a linear head whose fit has one solution."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch.nn import functional

from gradts_plugin.errors import TrainingError
from gradts_plugin.probing.convex import fit_head, fitted_batches, mean_pooled
from gradts_plugin.records import ProbeBatch

RIDGE = 1e-2


def make_batch(states, labels, mask=None, first_id=0):
    """A batch whose hidden states are what is given: (B, T, d) or (B, C, T, d)."""
    mask = torch.ones(states.shape[:-1], dtype=torch.bool) if mask is None else mask
    return ProbeBatch(
        example_ids=np.arange(first_id, first_id + len(states)),
        instance_losses=lambda: torch.full((len(states),), torch.nan),
        attention_mask=mask,
        hidden_states=lambda: states,
        labels=labels,
    )


def in_two(states, labels):
    half = len(states) // 2
    return [
        make_batch(states[:half], labels[:half]),
        make_batch(states[half:], labels[half:], first_id=half),
    ]


def gaussian(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


def test_padding_takes_no_part_in_the_mean():
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [99.0, 99.0]]])
    batch = make_batch(states, torch.zeros(1), torch.tensor([[True, True, False]]))
    assert mean_pooled(batch).tolist() == [[2.0, 4.0]]


def test_the_head_of_classes_is_the_logistic_regression():
    states = gaussian(40, 3, 5)
    labels = (gaussian(40, seed=1) > 0).long()
    head = fit_head(in_two(states, labels))
    pooled = states.mean(dim=1)
    standard = (pooled - pooled.mean(dim=0)) / pooled.std(dim=0)
    # Two classes have one weight difference; half the ridge on each side, N times the mean loss.
    other = LogisticRegression(C=2 / (RIDGE * 40), tol=1e-10, max_iter=10_000)
    other.fit(standard.numpy(), labels.numpy())
    difference = head.weight[:, 1] - head.weight[:, 0]
    assert difference.numpy() == pytest.approx(other.coef_[0], abs=2e-3)


def test_the_head_of_scores_is_the_ridge_regression():
    states, scores = gaussian(30, 2, 4), gaussian(30, seed=2)
    head = fit_head(in_two(states, scores))
    pooled = states.mean(dim=1)
    standard = (pooled - pooled.mean(dim=0)) / pooled.std(dim=0)
    other = Ridge(alpha=RIDGE / 2 * 30).fit(standard.numpy(), scores.numpy())
    assert head.weight[:, 0].numpy() == pytest.approx(other.coef_, abs=1e-4)
    assert float(head.bias) == pytest.approx(float(other.intercept_), abs=1e-4)


def test_one_instance_is_fitted_by_the_bias_alone():
    head = fit_head([make_batch(gaussian(1, 2, 4), torch.tensor([2.5]))])
    assert head.weight.tolist() == [[0.0]] * 4
    assert float(head.bias) == pytest.approx(2.5, abs=1e-4)


def test_an_encoder_whose_outputs_are_nan_is_a_named_error():
    with pytest.raises(TrainingError, match="outputs are NaN or infinite"):
        fit_head([make_batch(gaussian(4, 2, 4) * torch.nan, torch.arange(4) % 2)])


def test_fitting_twice_gives_the_same_head():
    states, labels = gaussian(20, 2, 4), torch.arange(20) % 3
    first, second = (fit_head(in_two(states, labels)) for _ in range(2))
    assert torch.equal(first.weight, second.weight)


def test_losses_of_classes_scores_and_choices():
    for states, labels in (
        (gaussian(12, 2, 4), torch.arange(12) % 3),
        (gaussian(12, 2, 4), gaussian(12, seed=3)),
        (gaussian(12, 3, 2, 4), torch.arange(12) % 3),
    ):
        batches = in_two(states, labels)
        head = fit_head(batches)
        found = torch.cat([batch.instance_losses() for batch in fitted_batches(batches, head)])
        logits = head(states.mean(dim=-2)).squeeze(-1)
        expected = (
            functional.mse_loss(logits, labels, reduction="none")
            if labels.is_floating_point()
            else functional.cross_entropy(logits, labels, reduction="none")
        )
        assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-6)
        # Fitted, so better than knowing nothing.
        nothing = labels.var() if labels.is_floating_point() else np.log(3)
        assert found.mean() < nothing


def test_the_loss_of_tags_is_the_mean_over_the_instances_own_labelled_tokens():
    states = gaussian(6, 3, 4)
    tags = torch.tensor([[0, 1, -100], [1, -100, -100], [0, 0, 1]] * 2)
    batches = in_two(states, tags)
    head = fit_head(batches)
    found = torch.cat([batch.instance_losses() for batch in fitted_batches(batches, head)])
    for index in range(6):
        labelled = tags[index] != -100
        own = functional.cross_entropy(head(states[index])[labelled], tags[index][labelled])
        assert float(found[index]) == pytest.approx(float(own), abs=1e-6)


@pytest.mark.parametrize("kind", ["classes", "scores", "tags"])
def test_shuffled_labels_are_the_same_labels_in_another_order(kind):
    states = gaussian(30, 2, 4)
    labels = {
        "classes": torch.arange(30) % 3,
        "scores": gaussian(30, seed=4),
        "tags": torch.where(gaussian(30, 2, seed=5) > 0, torch.arange(60).reshape(30, 2) % 4, -100),
    }[kind]
    batches = in_two(states, labels)
    head = fit_head(batches, shuffle_seed=1)
    shuffled = torch.cat([batch.labels for batch in fitted_batches(batches, head, shuffle_seed=1)])
    known = labels != -100
    assert torch.equal(shuffled != -100, known)
    assert sorted(shuffled[known].tolist()) == sorted(labels[known].tolist())
    assert not torch.equal(shuffled, labels)
    assert torch.equal(torch.cat([batch.labels for batch in batches]), labels)
    again = torch.cat([batch.labels for batch in fitted_batches(batches, head, shuffle_seed=1)])
    assert torch.equal(again, shuffled)


def test_gradients_reach_the_encoder_through_the_fitted_head():
    states = gaussian(8, 2, 4).requires_grad_()
    batch = make_batch(states, torch.arange(8) % 2)
    with torch.no_grad():
        head = fit_head([batch])
    (fitted,) = fitted_batches([batch], head)
    (gradient,) = torch.autograd.grad(fitted.instance_losses().sum(), states)
    assert (gradient.abs().sum(dim=(1, 2)) > 0).all()


def test_nothing_to_fit_is_one_line():
    with pytest.raises(TrainingError, match="no instances"):
        fit_head([])


def test_bf16_encodes_under_autocast_and_fits_in_fp32():
    weight = gaussian(4, 4, seed=5)
    states, labels = gaussian(40, 3, 4), (gaussian(40, seed=1) > 0).long()
    batch = make_batch(states, labels)
    seen = []

    def encoded():
        seen.append((states @ weight).dtype)
        return states @ weight

    rounded = fit_head([dataclasses.replace(batch, hidden_states=encoded)], precision="bf16")
    exact = fit_head([dataclasses.replace(batch, hidden_states=encoded)])
    assert seen == [torch.bfloat16, torch.float32]
    assert rounded.weight.dtype == torch.float32
    # The encoder's outputs have 8 bits; the fit itself adds no rounding of that size.
    by_hand = (states.bfloat16() @ weight.bfloat16()).float()
    other = fit_head([make_batch(by_hand, labels)])
    assert rounded.weight.numpy() == pytest.approx(other.weight.numpy(), abs=1e-4)
    assert not torch.equal(rounded.weight, exact.weight)
