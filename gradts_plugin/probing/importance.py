"""Head importance of every instance of a batch, exactly, from one backward pass.

For instance i with loss L_i (its own mean loss), layer l and head h, GradTS (Ma et al. 2021,
section 3.1; details from the authors' published code) measures

    M_i[l, h] = mean(|dL_i/dW_K| over head h's part) + mean(|dL_i/dW_V| over head h's part)

which a loop over single instances would get from the parameters' gradients. A projection computes
y = x W^T + b for each token, and instances do not touch each other, so with g = d(sum of losses)/dy

    dL_i/dW = sum over tokens t of g[i, t] x[i, t]^T

is one batched matrix product: nothing is approximated, and padding contributes nothing because no
gradient reaches it. The parameters themselves need no gradient.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradts_plugin.errors import UnsupportedEncoderError
from gradts_plugin.probing.projections import AttentionLayer, EncoderProjections, find_projections

__all__ = ["columns", "gate", "gate_gradient", "rows"]

InstanceLosses = Callable[[], Tensor]


def rows(encoder: nn.Module, instance_losses: InstanceLosses) -> Tensor:
    """Absolute gradient of each head's key and value weights.

    A torch Linear weight has shape (out, in), and a head owns a block of outputs: head h's part
    of W_K and W_V is its block of rows.

    Args:
        encoder: the Transformer inside the model.
        instance_losses: runs the forward pass; returns losses of shape (B,).

    Returns:
        Tensor of shape (B, L, H), float32 (float64 for a float64 model), on the model's device.

    Raises:
        UnsupportedEncoderError: the encoder, or the way the model uses it, is not understood.
    """
    return _weight_importance(encoder, instance_losses, _mean_per_row_block)


def columns(encoder: nn.Module, instance_losses: InstanceLosses) -> Tensor:
    """Absolute gradient of key and value weights, split as the authors' published code does it.

    That code takes the last axis of the weight for the heads, so its "head h" is a block of
    columns: a slice of the layer's input that all heads read. For comparison with published
    numbers only.

    Takes, returns and refuses what `rows` does.
    """
    return _weight_importance(encoder, instance_losses, _mean_per_column_block)


def gate(encoder: nn.Module, instance_losses: InstanceLosses) -> Tensor:
    """Sensitivity of the loss to switching each head off (Michel et al. 2019, equation 2).

    With a gate xi_h = 1 that multiplies head h's context c_h, |dL_i/dxi_h| is the absolute value
    of c_h * dL_i/dc_h summed over tokens and head dimensions.

    Takes, returns and refuses what `rows` does.
    """
    return gate_gradient(encoder, instance_losses).abs()


def gate_gradient(encoder: nn.Module, instance_losses: InstanceLosses) -> Tensor:
    """dL_i/dxi_h with its sign: negative where more of a head would lower the loss (see `gate`).

    Takes, returns and refuses what `gate` does; it is no importance, because of the sign.
    """
    projections = find_projections(encoder)
    by_layer: list[list[Tensor]] = [[] for _ in projections.layers]
    for use, gradient in _differentiated(projections, instance_losses, ("output",)):
        accumulate = _accumulation_type(gradient)
        product = use.inputs.to(accumulate) * gradient.to(accumulate)
        by_layer[use.layer].append(_by_head(product, projections.num_heads).sum(dim=(1, 3)))
    # A gate is one number however often the encoder is called (once per choice): its gradient is
    # summed before an absolute value is taken.
    return _summed(by_layer)


def _weight_importance(
    encoder: nn.Module,
    instance_losses: InstanceLosses,
    mean_per_head: Callable[[Tensor, int], Tensor],
) -> Tensor:
    projections = find_projections(encoder)
    grouped: dict[tuple[int, str], list[tuple[Tensor, Tensor]]] = {}
    for use, gradient in _differentiated(projections, instance_losses, ("key", "value")):
        grouped.setdefault((use.layer, use.projection), []).append((gradient, use.inputs))
    by_layer: list[list[Tensor]] = [[] for _ in projections.layers]
    for (layer, _), pieces in grouped.items():
        by_layer[layer].append(mean_per_head(_weight_gradient(pieces), projections.num_heads))
    return _summed(by_layer)


def _summed(by_layer: Sequence[Sequence[Tensor]]) -> Tensor:
    """L lists of (B, H) -> (B, L, H), each list summed."""
    return torch.stack([torch.stack(list(parts)).sum(dim=0) for parts in by_layer], dim=1)


def _weight_gradient(pieces: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """dL_i/dW of shape (B, d_out, d_in) from all (gradient, input) pairs of one projection.

    A weight that is used several times (once per choice, or for relative positions) has the sum
    of its uses as gradient: joined along the token axis, the product adds them up.
    """
    gradients = [gradient for gradient, _ in pieces]
    inputs = [inputs.expand(len(gradient), -1, -1) for gradient, inputs in pieces]
    if len(pieces) == 1:
        return torch.bmm(gradients[0].transpose(1, 2), inputs[0].to(gradients[0].dtype))
    joined = torch.cat(gradients, dim=1)
    return torch.bmm(joined.transpose(1, 2), torch.cat(inputs, dim=1).to(joined.dtype))


def _mean_per_row_block(weight_gradient: Tensor, num_heads: int) -> Tensor:
    """(B, d_out, d_in) -> (B, H), mean absolute value over each head's block of rows."""
    blocks = _by_head(weight_gradient.flatten(1), num_heads)
    # In place: the gradient is as large as the weights times B, and is not needed again.
    return blocks.abs_().sum(dim=2, dtype=_accumulation_type(blocks)) / blocks.shape[2]


def _mean_per_column_block(weight_gradient: Tensor, num_heads: int) -> Tensor:
    """(B, d_out, d_in) -> (B, H), mean absolute value over each of H blocks of columns."""
    _, d_out, d_in = weight_gradient.shape
    if d_in % num_heads:
        raise UnsupportedEncoderError(
            f"{d_in} inputs cannot be split into {num_heads} blocks of columns"
        )
    per_column = weight_gradient.abs_().sum(dim=1, dtype=_accumulation_type(weight_gradient))
    return _by_head(per_column, num_heads).sum(dim=2) / (d_out * d_in // num_heads)


def _by_head(values: Tensor, num_heads: int) -> Tensor:
    """(..., H * d) -> (..., H, d)."""
    return values.reshape(*values.shape[:-1], num_heads, -1)


def _accumulation_type(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


# --- recording a forward pass ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Use:
    """One call of a projection.

    Attributes:
        layer: which layer application, 0 .. L - 1.
        projection: "key", "value" or "output".
        inputs: what it read, (B, T, d_in); (1, T, d_in) where the batch shares it.
        watched: the tensor the losses are differentiated by: what a key or value projection
            computed, (B, T, d_out); what an output projection read, (B, T, d_in); where the batch
            shares the inputs, each instance's own copy of the keys, (B * H, T, d_out / H).
        shared: whether the batch shares the inputs (relative positions).
    """

    layer: int
    projection: str
    inputs: Tensor
    watched: Tensor
    shared: bool = False


def _differentiated(
    projections: EncoderProjections, instance_losses: InstanceLosses, names: Sequence[str]
) -> Iterator[tuple[_Use, Tensor]]:
    """Runs forward and backward; yields every use with its gradient of shape (B, T, d)."""
    tape = _Tape(projections)
    with tape.recording(names):
        losses = instance_losses()
    tape.check(len(losses), names)
    if not losses.requires_grad:
        raise UnsupportedEncoderError("the losses carry no gradient back to the encoder")
    # A tensor that no loss depends on has the gradient zero, which is its true value.
    gradients = torch.autograd.grad(
        losses.sum(), [use.watched for use in tape.uses], allow_unused=True, materialize_grads=True
    )
    for use, gradient in zip(tape.uses, gradients, strict=True):
        yield use, _by_token(gradient, len(losses)) if use.shared else gradient


def _by_token(gradient: Tensor, batch_size: int) -> Tensor:
    """(B * H, T, d) -> (B, T, H * d)."""
    per_head = gradient.reshape(batch_size, -1, *gradient.shape[1:])
    return per_head.transpose(1, 2).flatten(2)


class _Tape:
    """Records the uses of projections during one forward pass, over any number of encoder calls."""

    def __init__(self, projections: EncoderProjections) -> None:
        self.uses: list[_Use] = []
        self._projections = projections
        self._num_calls: Counter[tuple[str, nn.Module]] = Counter()
        # A (layer, inputs, keys per head) whose copies for the batch have not been made yet.
        self._awaited: tuple[int, Tensor, Tensor] | None = None

    @contextmanager
    def recording(self, names: Sequence[str]) -> Iterator[None]:
        """Records the projections of these names; no hook is left behind."""
        with ExitStack() as hooks:
            for name in names:
                for module, layers in self._applications(name).items():
                    if name == "output":
                        hook = partial(self._on_context, layers)
                        handle = module.register_forward_pre_hook(hook)
                    else:
                        handle = module.register_forward_hook(
                            partial(self._on_projected, name, layers)
                        )
                    hooks.callback(handle.remove)
            if "key" in names and any(
                layer.key_reads_positions for layer in self._projections.layers
            ):
                hooks.enter_context(_RepeatWatch(self._on_repeat))
            yield

    def check(self, batch_size: int, names: Sequence[str]) -> None:
        """Refuses a forward pass that was not understood.

        Raises:
            UnsupportedEncoderError: a projection was skipped or used more often than the others,
                or the rows of its input are not the instances.
        """
        calls = Counter((use.layer, use.projection, use.shared) for use in self.uses)
        expected = {
            (index, name, shared)
            for index, layer in enumerate(self._projections.layers)
            for name in names
            for shared in ((False, True) if _alternates(layer, name) else (False,))
        }
        if set(calls) != expected or len(set(calls.values())) != 1:
            raise UnsupportedEncoderError(
                "the encoder did not use its attention layers the same number of times each; "
                f"found calls per projection {sorted(calls.values())}, of {len(expected)} known"
            )
        for use in self.uses:
            if not use.shared and len(use.inputs) != batch_size:
                raise UnsupportedEncoderError(
                    f"the encoder read {len(use.inputs)} rows for {batch_size} losses; "
                    "one row per instance is needed in each call"
                )

    def _applications(self, name: str) -> dict[nn.Module, list[int]]:
        """Module -> the layer applications it serves; more than one where weights are shared."""
        applications: dict[nn.Module, list[int]] = {}
        for index, layer in enumerate(self._projections.layers):
            applications.setdefault(getattr(layer, name), []).append(index)
        return applications

    def _next_layer(self, name: str, module: nn.Module, layers: list[int]) -> tuple[int, bool]:
        """The layer application that this call belongs to, and whether it reads positions."""
        call = self._num_calls[name, module]
        self._num_calls[name, module] += 1
        if _alternates(self._projections.layers[layers[0]], name):
            return layers[call // 2 % len(layers)], call % 2 == 1
        return layers[call % len(layers)], False

    def _on_projected(
        self, name: str, layers: list[int], module: nn.Module, args: tuple[Any, ...], output: Tensor
    ) -> None:
        layer, reads_positions = self._next_layer(name, module, layers)
        inputs = args[0].detach()
        if reads_positions:
            per_head = _by_head(output.detach(), self._projections.num_heads)
            self._awaited = (layer, inputs, per_head.transpose(1, 2).flatten(0, 1))
        else:
            self.uses.append(_Use(layer, name, inputs, _watched(output)))

    def _on_context(self, layers: list[int], module: nn.Module, args: tuple[Any, ...]) -> None:
        layer, _ = self._next_layer("output", module, layers)
        self.uses.append(_Use(layer, "output", args[0].detach(), _watched(args[0])))

    def _on_repeat(self, source: Tensor, repeated: Tensor) -> None:
        if self._awaited is None:
            return
        layer, inputs, keys = self._awaited
        # The positions' queries are repeated too: only the keys' own values count.
        if source.shape == keys.shape and torch.equal(source, keys):
            self._awaited = None
            self.uses.append(_Use(layer, "key", inputs, _watched(repeated), shared=True))


def _alternates(layer: AttentionLayer, name: str) -> bool:
    return name == "key" and layer.key_reads_positions


def _watched(tensor: Tensor) -> Tensor:
    # With frozen parameters the first layer's tensors are leaves that nothing differentiates yet.
    return tensor if tensor.requires_grad else tensor.requires_grad_()


class _RepeatWatch(TorchFunctionMode):
    """Reports every `Tensor.repeat`.

    deberta-v2 with `share_att_key` projects the relative positions once, with the same weight as
    the tokens, and repeats the result for the batch. An instance's own part of the gradient
    exists only after that repetition, which no module hook sees.
    """

    def __init__(self, on_repeat: Callable[[Tensor, Tensor], None]) -> None:
        super().__init__()
        self._on_repeat = on_repeat

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.Tensor.repeat:
            self._on_repeat(args[0], result)
        return result
