"""Batched head importance against a loop over single instances, and against numbers by hand."""

from types import SimpleNamespace

import pytest
import torch
from probing_cases import (
    ENCODERS,
    TASK_KINDS,
    Batch,
    batch_for,
    one_by_one,
    relative_difference,
    task_model,
)
from torch import nn

from gradts_plugin.errors import UnsupportedEncoderError
from gradts_plugin.probing import importance

MEASURES = ("rows", "columns", "gate")
# deberta-v2 has no sdpa implementation.
ATTENTION = [
    (name, attention)
    for name in ENCODERS
    for attention in (("eager",) if name == "deberta-v2" else ("eager", "sdpa"))
]


def measured(model, batch, measure_name):
    measure = getattr(importance, measure_name)
    return measure(model.encoder, lambda: model(batch)).detach()


def difference_from_loop(model, batch, measure_name):
    expected = one_by_one(model, batch, measure_name)
    found = measured(model, batch, measure_name)
    assert found.shape == expected.shape
    return relative_difference(found, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("task_kind", TASK_KINDS)
@pytest.mark.parametrize(("name", "attention"), ATTENTION)
def test_one_backward_pass_equals_a_loop_over_unpadded_instances(
    name, attention, task_kind, dtype, tolerance
):
    model = task_model(name, task_kind, attention=attention, dtype=dtype)
    batch = batch_for(task_kind, dtype=dtype)
    for measure_name in MEASURES:
        assert difference_from_loop(model, batch, measure_name) < tolerance, measure_name


@pytest.mark.parametrize(
    "settings",
    [
        {"share_att_key": True, "pos_att_type": ["c2p"]},
        {"share_att_key": True, "pos_att_type": ["p2c"]},
        {"share_att_key": False},
        {"relative_attention": False, "position_biased_input": True},
        {"conv_kernel_size": 0, "position_buckets": -1},
        {"num_attention_heads": 1},
    ],
)
def test_variants_of_deberta(settings):
    for task_kind, lengths in (
        ("tagging", (5, 3)),
        ("multiple_choice", (4, 4)),
        ("regression", (6,)),
    ):
        model = task_model("deberta-v2", task_kind, dtype=torch.float64, **settings)
        batch = batch_for(task_kind, dtype=torch.float64, lengths=lengths)
        for measure_name in MEASURES:
            assert difference_from_loop(model, batch, measure_name) < 1e-10, measure_name


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_albert_counts_every_application_of_a_shared_layer(groups):
    model = task_model(
        "albert",
        "multiple_choice",
        dtype=torch.float64,
        num_hidden_layers=5,
        num_hidden_groups=groups,
        inner_group_num=2,
    )
    batch = batch_for("multiple_choice")
    for measure_name in MEASURES:
        assert measured(model, batch, measure_name).shape == (3, 10, 4)
        assert difference_from_loop(model, batch, measure_name) < 1e-10, measure_name


def test_what_parameters_require_does_not_matter():
    model, batch = task_model("bert", "tagging", dtype=torch.float64), batch_for("tagging")
    unfrozen = measured(model, batch, "rows")
    model.requires_grad_(False)
    assert torch.allclose(measured(model, batch, "rows"), unfrozen, rtol=1e-12, atol=0)


def test_a_batch_gives_what_its_parts_give():
    model = task_model("roberta", "classification", dtype=torch.float64)
    batch = batch_for("classification")
    whole = measured(model, batch, "rows")
    for index in range(len(batch)):
        part = measured(model, batch.alone(index), "rows")
        assert torch.allclose(part[0], whole[index], rtol=1e-9, atol=1e-14)


def test_choices_are_summed_before_the_absolute_value():
    # Two identical choices: their gradients cancel in every instance, their absolute values
    # would not.
    model = task_model("bert", "multiple_choice", dtype=torch.float64)
    batch = batch_for("multiple_choice")
    same = Batch(
        batch.input_ids[:, :1].repeat(1, 2, 1), batch.mask[:, :1].repeat(1, 2, 1), batch.labels
    )
    for name in MEASURES:
        assert measured(model, same, name).max() < 1e-12 * measured(model, batch, name).max()


# --- by hand --------------------------------------------------------------------------------------


class LinearEncoder(nn.Module):
    """context = a * key(x) + b * value(x), token by token: gradients that fit on a napkin.

    All weights are the identity, H = 2 heads of one dimension, a = (1, -2), b = (0, 1).
    """

    def __init__(self, *, num_layers=1, key_type=nn.Linear):
        super().__init__()
        self.config = SimpleNamespace(model_type="bert", num_attention_heads=2)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList()
        for _ in range(num_layers):
            layer = nn.Module()
            layer.attention = nn.Module()
            layer.attention.self = nn.Module()
            layer.attention.self.key = key_type(2, 2)
            layer.attention.self.value = nn.Linear(2, 2)
            layer.attention.output = nn.Module()
            layer.attention.output.dense = nn.Linear(2, 2)
            self.encoder.layer.append(layer)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.eye_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x):
        attention = self.encoder.layer[0].attention
        context = torch.tensor([1.0, -2.0]) * attention.self.key(x)
        context = context + torch.tensor([0.0, 1.0]) * attention.self.value(x)
        return attention.output.dense(context)


# Two instances of two tokens. With S = sum of an instance's tokens and the loss sum(output):
# dL/dW_K = (1, -2)^T S, dL/dW_V = (0, 1)^T S; S = (4, -2) and (0, 6).
X = torch.tensor([[[1.0, 2.0], [3.0, -4.0]], [[-1.0, 1.0], [1.0, 5.0]]])


@pytest.mark.parametrize(
    ("measure_name", "expected"),
    [
        # |dW_K| = [[4, 2], [8, 4]] and |dW_V| = [[0, 0], [4, 2]] of the first instance,
        # [[0, 6], [0, 12]] and [[0, 0], [0, 6]] of the second
        ("rows", [[[3.0 + 0.0, 6.0 + 3.0]], [[3.0 + 0.0, 6.0 + 3.0]]]),
        ("columns", [[[6.0 + 2.0, 3.0 + 1.0]], [[0.0 + 0.0, 9.0 + 3.0]]]),
        # context = (1, -1) * x: tokens (1, -2), (3, 4) and (-1, -1), (1, -5); all gradients are 1
        ("gate", [[[4.0, 2.0]], [[0.0, 6.0]]]),
        ("gate_gradient", [[[4.0, 2.0]], [[0.0, -6.0]]]),
    ],
)
def test_values_worked_by_hand(measure_name, expected):
    encoder = LinearEncoder()
    found = getattr(importance, measure_name)(encoder, lambda: encoder(X).sum(dim=(1, 2)))
    assert found.dtype == torch.float32
    assert found.tolist() == expected


def test_losses_scale_importance():
    encoder = LinearEncoder()
    factors = torch.tensor([-3.0, 0.0])
    found = importance.rows(encoder, lambda: factors * encoder(X).sum(dim=(1, 2)))
    assert found.tolist() == [[[9.0, 27.0]], [[0.0, 0.0]]]


# --- refused --------------------------------------------------------------------------------------


def test_a_skipped_layer_is_refused():
    encoder = LinearEncoder(num_layers=2)
    with pytest.raises(UnsupportedEncoderError, match="same number of times"):
        importance.rows(encoder, lambda: encoder(X).sum(dim=(1, 2)))


def test_a_projection_that_is_used_more_often_than_the_others_is_refused():
    encoder = LinearEncoder()
    value = encoder.encoder.layer[0].attention.self.value
    with pytest.raises(UnsupportedEncoderError, match="same number of times"):
        importance.rows(encoder, lambda: (encoder(X) + value(X)).sum(dim=(1, 2)))


def test_rows_that_are_not_instances_are_refused():
    encoder = LinearEncoder()
    with pytest.raises(UnsupportedEncoderError, match="read 2 rows for 1 losses"):
        importance.rows(encoder, lambda: encoder(X).sum(dim=(1, 2))[:1])


def test_losses_without_a_gradient_are_refused():
    encoder = LinearEncoder()
    for measure_name in MEASURES:
        with pytest.raises(UnsupportedEncoderError, match="no gradient"):
            getattr(importance, measure_name)(encoder, lambda: encoder(X).sum(dim=(1, 2)).detach())


def test_repeated_positions_that_are_never_repeated_are_refused(monkeypatch):
    # Another way of spreading positions over the batch must not be taken for a zero gradient.
    model = task_model("deberta-v2", "classification", dtype=torch.float32)
    batch = batch_for("classification")
    monkeypatch.setattr(
        torch.Tensor, "repeat", lambda self, times, *ones: torch.cat([self] * times), raising=True
    )
    with pytest.raises(UnsupportedEncoderError, match="same number of times"):
        measured(model, batch, "rows")


@pytest.mark.parametrize("measure_name", MEASURES)
def test_no_hook_is_left_behind(measure_name):
    model = task_model("deberta-v2", "classification", dtype=torch.float32)

    def fail():
        model(batch_for("classification"))
        raise RuntimeError("out of luck")

    measured(model, batch_for("classification"), measure_name)
    with pytest.raises(RuntimeError, match="out of luck"):
        getattr(importance, measure_name)(model.encoder, fail)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert not torch.overrides._get_current_function_mode_stack()
