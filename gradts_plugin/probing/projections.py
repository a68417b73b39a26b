"""Finds the attention projections inside an encoder, in the order in which it applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from gradts_plugin.errors import UnsupportedEncoderError, nearest

__all__ = ["SUPPORTED_ENCODERS", "AttentionLayer", "EncoderProjections", "find_projections"]


@dataclass(frozen=True)
class AttentionLayer:
    """The projections of one self-attention layer.

    Attributes:
        key: projects (B, T, d_in) to the keys of all heads, (B, T, d_out); head h owns the h-th
            block of d_out / H outputs.
        value: the same for the values.
        output: reads the context of all heads, (B, T, d_out).
        key_reads_positions: the key projection is applied a second time, to relative position
            embeddings that the whole batch shares (deberta-v2 with `share_att_key`).
    """

    key: nn.Linear
    value: nn.Linear
    output: nn.Linear
    key_reads_positions: bool = False


@dataclass(frozen=True)
class EncoderProjections:
    """All self-attention layers of an encoder.

    Attributes:
        layers: one per layer application, in order, length L; a layer whose weights are shared
            (albert) stands here once for each time it is applied.
        num_heads: H.
    """

    layers: tuple[AttentionLayer, ...]
    num_heads: int

    @property
    def num_layers(self) -> int:
        """L, the number of layer applications in one pass through the encoder."""
        return len(self.layers)


def find_projections(encoder: nn.Module) -> EncoderProjections:
    """Finds the key, value and output projections of a supported encoder.

    Args:
        encoder: a Hugging Face model without a head (a host may have subclassed it).

    Returns:
        The projections, layer by layer as they are applied.

    Raises:
        UnsupportedEncoderError: an architecture that is not supported, or modules that are not
            where this architecture has them.
    """
    config: Any = getattr(encoder, "config", None)
    model_type = str(getattr(config, "model_type", type(encoder).__name__))
    find_layers = _FINDERS.get(model_type)
    if find_layers is None:
        raise UnsupportedEncoderError(
            f"cannot probe a {model_type!r} encoder; {nearest(model_type, SUPPORTED_ENCODERS)}"
        )
    try:
        layers = tuple(find_layers(encoder))
    except AttributeError as error:
        raise UnsupportedEncoderError(
            f"this {model_type!r} encoder is built differently from the one known: {error}"
        ) from error
    if not layers:
        raise UnsupportedEncoderError(f"this {model_type!r} encoder has no attention layers")
    projections = EncoderProjections(layers, config.num_attention_heads)
    for layer in layers:
        _check_layer(layer, projections.num_heads, model_type)
    return projections


def _check_layer(layer: AttentionLayer, num_heads: int, model_type: str) -> None:
    for name, projection in (("key", layer.key), ("value", layer.value), ("output", layer.output)):
        # Adapters and quantised layers compute something else than x W^T + b.
        if not isinstance(projection, nn.Linear):
            raise UnsupportedEncoderError(
                f"the {name} projection of this {model_type!r} encoder is a "
                f"{type(projection).__name__}; a torch.nn.Linear is needed"
            )
    if layer.key.out_features % num_heads:
        raise UnsupportedEncoderError(
            f"{layer.key.out_features} key outputs cannot be shared by {num_heads} heads"
        )


def _bert_layers(encoder: Any) -> Iterable[AttentionLayer]:
    for layer in encoder.encoder.layer:
        attention = layer.attention
        yield AttentionLayer(attention.self.key, attention.self.value, attention.output.dense)


def _albert_layers(encoder: Any) -> Iterable[AttentionLayer]:
    config = encoder.config
    groups = encoder.encoder.albert_layer_groups
    for index in range(config.num_hidden_layers):
        # The model's own rounding, which matters where the groups do not divide the layers.
        group = int(index / (config.num_hidden_layers / config.num_hidden_groups))
        for layer in groups[group].albert_layers:
            attention = layer.attention
            yield AttentionLayer(attention.key, attention.value, attention.dense)


def _deberta_layers(encoder: Any) -> Iterable[AttentionLayer]:
    for layer in encoder.encoder.layer:
        attention = layer.attention.self
        yield AttentionLayer(
            attention.key_proj,
            attention.value_proj,
            layer.attention.output.dense,
            key_reads_positions=bool(attention.relative_attention and attention.share_att_key),
        )


_FINDERS: dict[str, Callable[[Any], Iterable[AttentionLayer]]] = {
    "bert": _bert_layers,
    "roberta": _bert_layers,
    "xlm-roberta": _bert_layers,
    "albert": _albert_layers,
    "deberta-v2": _deberta_layers,
}

#: Architectures that can be probed, by the `model_type` of their configuration.
SUPPORTED_ENCODERS: tuple[str, ...] = tuple(_FINDERS)
