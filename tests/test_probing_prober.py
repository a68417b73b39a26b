"""The prober streams importances and leaves no trace on the model."""

import numpy as np
import pytest
import torch
from probing_cases import batch_for, task_model
from torch.backends import cuda

from gradts_plugin.errors import TrainingError
from gradts_plugin.probing.importance import rows
from gradts_plugin.probing.prober import frozen, probe
from gradts_plugin.records import ProbeBatch


@pytest.fixture
def model():
    """A model in a mixed state: modes, frozen parameters and gradients differ from part to part."""
    model = task_model("bert", "classification", dtype=torch.float32)
    model.train()
    model.encoder.embeddings.eval()
    model.encoder.encoder.layer[1].attention.eval()
    model.head.bias.requires_grad_(False)
    for parameter in model.encoder.encoder.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    return model


def state_of(model):
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "requires": {name: value.requires_grad for name, value in model.named_parameters()},
        "grads": {
            name: None if value.grad is None else (value.grad, value.grad.clone())
            for name, value in model.named_parameters()
        },
        "modes": {name: module.training for name, module in model.named_modules()},
        "random": torch.get_rng_state(),
    }


def assert_untouched(model, before):
    now = state_of(model)
    for name, value in before["values"].items():
        assert torch.equal(now["values"][name], value), name
    assert now["requires"] == before["requires"]
    assert now["modes"] == before["modes"]
    assert torch.equal(now["random"], before["random"])
    for name, grad in before["grads"].items():
        if grad is None:
            assert now["grads"][name] is None, name
        else:
            assert now["grads"][name][0] is grad[0], name
            assert torch.equal(grad[0], grad[1]), name
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks


def probe_batch(ids, losses):
    """A batch of which only the losses are of interest."""
    unused = torch.zeros(len(ids))
    return ProbeBatch(ids, losses, unused, lambda: unused, unused)


def batches_of(model, count=2, losses=None):
    batch = batch_for("classification")
    for index in range(count):
        ids = np.arange(len(batch), dtype=np.int64) + 100 * index
        yield probe_batch(ids, losses or (lambda: model(batch)))


def run(model, batches, measure=rows, *, train_mode=False, precision="fp32"):
    return probe(model, model.encoder, batches, measure, train_mode=train_mode, precision=precision)


@pytest.mark.parametrize("train_mode", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_streams_ids_and_float32_importances_and_changes_nothing(model, train_mode, precision):
    before = state_of(model)
    num_batches = 0
    for ids, raw in run(model, batches_of(model), train_mode=train_mode, precision=precision):
        assert_untouched(model, before)  # also while control is outside
        assert ids.tolist() == [100 * num_batches + i for i in range(3)]
        assert raw.dtype == np.float32
        assert raw.shape == (3, 2, 4)
        assert (raw > 0).all()
        num_batches += 1
    assert num_batches == 2
    assert_untouched(model, before)


def test_is_lazy(model):
    def batches():
        yield from batches_of(model, 1)
        pytest.fail("read ahead")

    next(run(model, batches()))


def test_closed_early_changes_nothing(model):
    before = state_of(model)
    stream = run(model, batches_of(model, 3), train_mode=True)
    next(stream)
    stream.close()
    assert_untouched(model, before)


@pytest.mark.parametrize("train_mode", [False, True])
def test_an_exception_changes_nothing(model, train_mode):
    before = state_of(model)

    def interrupted():
        model(batch_for("classification"))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run(model, batches_of(model, losses=interrupted), train_mode=train_mode))
    assert_untouched(model, before)


def test_an_exception_in_the_measure_changes_nothing(model):
    before = state_of(model)

    def measure(encoder, instance_losses):
        instance_losses()
        raise RuntimeError("no measure")

    with pytest.raises(RuntimeError, match="no measure"):
        list(run(model, batches_of(model), measure))
    assert_untouched(model, before)


def test_frozen_freezes_and_restores(model):
    before = state_of(model)
    with frozen(model):
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert not any(module.training for module in model.modules())
    with frozen(model, train_mode=True):
        assert all(module.training for module in model.modules())
    assert_untouched(model, before)


# --- modes and precision --------------------------------------------------------------------------


def test_eval_mode_is_repeatable_and_train_mode_leaves_dropout_on(model):
    def importances(**options):
        return [raw for _, raw in run(model, batches_of(model), **options)]

    first, second = importances()
    assert np.array_equal(first, second)
    torch.manual_seed(0)
    dropped, dropped_again = importances(train_mode=True)
    assert not np.allclose(dropped, first, rtol=0.01)
    # Each batch draws dropout of its own, although the caller's random stream stands still.
    assert not np.allclose(dropped, dropped_again, rtol=0.01)
    assert np.array_equal(importances(train_mode=True), [dropped, dropped_again])
    torch.manual_seed(1)
    assert not np.allclose(importances(train_mode=True)[0], dropped, rtol=0.01)


def test_bf16_runs_under_autocast_and_stays_close(model):
    (_, full), *_ = run(model, batches_of(model))
    seen = []
    hook = model.encoder.encoder.layer[0].attention.self.key.register_forward_hook(
        lambda module, args, output: seen.append((output.dtype, cuda.flash_sdp_enabled()))
    )
    (_, half), *_ = run(model, batches_of(model), precision="bf16")
    list(run(model, batches_of(model)))
    hook.remove()
    # The fused attention's backward pass is slow in bf16 on a CPU; fp32 may take it.
    assert seen[0] == (torch.bfloat16, False)
    assert seen[-1] == (torch.float32, True)
    # bfloat16 keeps 8 bits: some hundredths after a few layers, and not exactly the same.
    assert 0 < np.abs(half - full).max() / full.max() < 0.05


def test_fp32_switches_a_surrounding_autocast_off(model):
    (_, full), *_ = run(model, batches_of(model))
    with torch.autocast("cpu", torch.bfloat16):
        (_, again), *_ = run(model, batches_of(model))
    assert np.array_equal(again, full)


def test_works_where_gradients_are_switched_off(model):
    with torch.no_grad():
        assert len(list(run(model, batches_of(model)))) == 2
        assert not torch.is_grad_enabled()


# --- what cannot be ranked ------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_example(model, value):
    before = state_of(model)
    batch = batch_for("classification")

    def losses():
        return model(batch) + torch.tensor([0.0, value, 0.0])

    with pytest.raises(TrainingError, match=r"^loss is NaN or infinite for example 1$"):
        list(run(model, batches_of(model, losses=losses)))
    assert_untouched(model, before)


def test_an_importance_that_is_not_finite_names_the_examples(model):
    def measure(encoder, instance_losses):
        values = rows(encoder, instance_losses)
        values[1:, 0, 0] = torch.tensor([float("nan"), float("inf")])
        return values

    with pytest.raises(
        TrainingError, match=r"^head importance is NaN or infinite for example 1, 2$"
    ):
        list(run(model, batches_of(model), measure))


def test_many_bad_examples_are_counted(model):
    def measure(encoder, instance_losses):
        return torch.full((9, 2, 4), float("nan"))

    batch = probe_batch(np.arange(9) * 11, lambda: torch.zeros(9))
    with pytest.raises(TrainingError, match=r"for example 0, 11, 22, 33, 44 and 4 more$"):
        list(run(model, [batch], measure))


def test_one_loss_per_instance_is_needed(model):
    batch = batch_for("classification")
    with pytest.raises(TrainingError, match=r"shape \(\) for 3 instances"):
        list(run(model, batches_of(model, losses=lambda: model(batch).mean())))


def test_a_float64_model_is_measured_in_float64(model):
    model.double()
    seen = []

    def measure(encoder, instance_losses):
        seen.append(rows(encoder, instance_losses))
        return seen[-1]

    (_, raw), *_ = run(model, batches_of(model), measure)
    assert seen[0].dtype == torch.float64
    assert raw.dtype == np.float32
    assert np.array_equal(raw, seen[0].numpy().astype(np.float32))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("train_mode", [False, True])
def test_cuda_gives_what_the_cpu_gives(model, train_mode):
    (_, on_cpu), *_ = run(model, batches_of(model))
    model.cuda()
    batch = batch_for("classification")
    batch = type(batch)(batch.input_ids.cuda(), batch.mask.cuda(), batch.labels.cuda())
    random_state = torch.cuda.get_rng_state()
    batches = [probe_batch(np.arange(3), lambda: model(batch))] * 2
    (_, first), (_, second) = run(model, batches, train_mode=train_mode)
    assert torch.equal(torch.cuda.get_rng_state(), random_state)
    assert np.array_equal(first, second) != train_mode
    if not train_mode:
        assert np.abs(first - on_cpu).max() < 1e-4 * on_cpu.max()
