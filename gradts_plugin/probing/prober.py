"""Probes a fine-tuned model: streams the head importance of every instance, changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradts_plugin.errors import TrainingError
from gradts_plugin.offers import HeadImportanceMeasure
from gradts_plugin.records import FloatArray, IntArray, ProbeBatch

__all__ = ["frozen", "probe"]


def probe(
    model: nn.Module,
    encoder: nn.Module,
    batches: Iterable[ProbeBatch],
    measure: HeadImportanceMeasure,
    *,
    train_mode: bool,
    precision: Literal["fp32", "bf16"],
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Measures the head importance of every instance, without an optimiser step.

    The model is as it was whenever control is outside: between two batches, after an exception,
    and when the iterator is dropped half-way.

    Args:
        model: the whole model that the losses come from.
        encoder: the Transformer inside it.
        batches: the instances.
        measure: how head importance is computed.
        train_mode: leave dropout on, as the published code does; off, results are reproducible.
        precision: "bf16" runs the forward and backward pass under bfloat16 autocast.

    Yields:
        (example ids of shape (b,), raw importances as a float32 array of shape (b, L, H)).

    Raises:
        TrainingError: a loss or importance is NaN or infinite; names the instances.
    """
    randomness = _Randomness(next(encoder.parameters()).device)
    for batch in batches:
        with frozen(model, train_mode=train_mode), randomness.own():
            importance = _measured(batch, encoder, measure, precision)
        yield batch.example_ids, importance


@contextmanager
def frozen(model: nn.Module, *, train_mode: bool = False) -> Iterator[None]:
    """Lends a model whose parameters need no gradient, in eval or train mode.

    Args:
        model: restored on exit: each parameter's `requires_grad`, each module's mode.
        train_mode: the mode all modules are put into.
    """
    required = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.train(train_mode)
        for parameter, _ in required:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, requires_grad in required:
            parameter.requires_grad_(requires_grad)
        for module, training in modes:
            # Not module.train(): that would reach into the children and undo theirs.
            module.training = training


class _Randomness:
    """A random stream of the probe's own, so that its dropout disturbs nobody else's.

    It begins where the caller's stream stands and goes on from batch to batch.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = [device] if device.type == "cuda" else []
        self._states: tuple[Tensor, list[Tensor]] | None = None

    @contextmanager
    def own(self) -> Iterator[None]:
        """Switches to the probe's stream and back."""
        with torch.random.fork_rng(self._cuda):
            if self._states is not None:
                torch.set_rng_state(self._states[0])
                for device, state in zip(self._cuda, self._states[1], strict=True):
                    torch.cuda.set_rng_state(state, device)
            yield
            cuda_states = [torch.cuda.get_rng_state(device) for device in self._cuda]
            self._states = torch.get_rng_state(), cuda_states


def _measured(
    batch: ProbeBatch,
    encoder: nn.Module,
    measure: HeadImportanceMeasure,
    precision: Literal["fp32", "bf16"],
) -> FloatArray:
    ids = batch.example_ids
    device_type = next(encoder.parameters()).device.type

    def instance_losses() -> Tensor:
        # Only around the forward pass: backward follows its types, and products of gradients
        # keep theirs.
        with _autocast(device_type, precision):
            losses = batch.instance_losses()
        if losses.shape != ids.shape:
            raise TrainingError(
                f"one loss per instance is needed: found losses of shape {tuple(losses.shape)} "
                f"for {len(ids)} instances"
            )
        _require_finite(losses.detach().isfinite(), ids, "loss")
        return losses.to(torch.promote_types(losses.dtype, torch.float32))

    with torch.enable_grad(), torch.autocast(device_type, enabled=False):
        importance = measure(encoder, instance_losses)
    importance = importance.detach().to("cpu", torch.float32)
    _require_finite(importance.isfinite().all(dim=2).all(dim=1), ids, "head importance")
    array: FloatArray = importance.numpy()
    return array


@contextmanager
def _autocast(device_type: str, precision: Literal["fp32", "bf16"]) -> Iterator[None]:
    """The forward pass in a precision.

    Without dropout torch takes its fused attention, whose backward pass in bf16 takes a CPU longer
    than all else together; by plain products the whole pass takes about half the time.
    """
    if precision == "fp32":
        yield
        return
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(device_type, torch.bfloat16))
        if device_type == "cpu":
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def _require_finite(finite: Tensor, ids: IntArray, what: str) -> None:
    """Names the examples whose entry in `finite`, bool of shape (b,), is False."""
    bad = ids[~finite.cpu().numpy()]
    if len(bad):
        shown = ", ".join(str(example_id) for example_id in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise TrainingError(f"{what} is NaN or infinite for example {shown}{more}")
