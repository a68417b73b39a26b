"""Tiny models and batches for the probe, and the slow loop it must agree with.

Used by the tests and, with larger models, by benchmarks/exactness.py.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

ENCODERS: dict[str, tuple[Any, Any]] = {
    "bert": (BertConfig, BertModel),
    "roberta": (RobertaConfig, RobertaModel),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaModel),
    "albert": (AlbertConfig, AlbertModel),
    "deberta-v2": (DebertaV2Config, DebertaV2Model),
}
TASK_KINDS = ("classification", "regression", "tagging", "multiple_choice")
NUM_LABELS = 3

# Weights far from zero, so that no head is lost in rounding.
TINY = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
    "initializer_range": 0.3,
    "pad_token_id": 1,
}
OWN_SETTINGS: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16, "num_hidden_groups": 1},
    # As in the published deberta-v3 models: one weight projects tokens and relative positions.
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 4,
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "conv_kernel_size": 3,
        "position_biased_input": False,
    },
}


@dataclass(frozen=True)
class Batch:
    """Instances of one task.

    Attributes:
        input_ids: (B, T), or (B, C, T) for multiple choice.
        mask: the same shape, 1 for real tokens.
        labels: class ids (B,), scores (B,), tags (B, T) with -100 for unlabelled, or choices (B,).
    """

    input_ids: Tensor
    mask: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def alone(self, index: int) -> Batch:
        """One instance without the padding that the batch gave it."""
        mask = self.mask[index : index + 1]
        length = int(mask.sum(-1).max())
        labels = self.labels[index : index + 1]
        return Batch(
            self.input_ids[index : index + 1, ..., :length],
            mask[..., :length],
            labels[:, :length] if labels.dim() == 2 else labels,
        )


class TaskModel(nn.Module):
    """An encoder with one linear head; returns each instance's own mean loss."""

    def __init__(self, encoder: nn.Module, task_kind: str) -> None:
        super().__init__()
        self.encoder = encoder
        self.task_kind = task_kind
        num_outputs = NUM_LABELS if task_kind in ("classification", "tagging") else 1
        self.head = nn.Linear(encoder.config.hidden_size, num_outputs)

    def forward(self, batch: Batch) -> Tensor:
        if self.task_kind == "multiple_choice":
            # One encoder call per choice, as jiant does it.
            scores = [
                self._encoded(batch.input_ids[:, choice], batch.mask[:, choice])[:, 0]
                for choice in range(batch.input_ids.shape[1])
            ]
            logits = torch.cat([self.head(score) for score in scores], dim=1)
            return functional.cross_entropy(logits, batch.labels, reduction="none")
        hidden = self._encoded(batch.input_ids, batch.mask)
        if self.task_kind == "tagging":
            losses = functional.cross_entropy(
                self.head(hidden).transpose(1, 2), batch.labels, reduction="none"
            )
            return losses.sum(dim=1) / (batch.labels != -100).sum(dim=1)
        logits = self.head(hidden[:, 0])
        if self.task_kind == "regression":
            return (logits.squeeze(-1) - batch.labels).square()
        return functional.cross_entropy(logits, batch.labels, reduction="none")

    def _encoded(self, input_ids: Tensor, mask: Tensor) -> Tensor:
        # forward(), not a call: jiant bypasses the encoder's own hooks in the same way.
        return self.encoder.forward(input_ids=input_ids, attention_mask=mask).last_hidden_state


def tiny_encoder(name: str, *, attention: str = "eager", **settings: Any) -> nn.Module:
    """A random encoder of about ten thousand parameters."""
    config_class, model_class = ENCODERS[name]
    values = {**TINY, **OWN_SETTINGS.get(name, {}), **settings}
    config = config_class(**values, attn_implementation=attention)
    return model_class(config).eval()


def task_model(
    name: str, task_kind: str, *, attention: str = "eager", dtype: torch.dtype, **settings: Any
) -> TaskModel:
    """A seeded model in eval mode."""
    torch.manual_seed(7)
    return (
        TaskModel(tiny_encoder(name, attention=attention, **settings), task_kind).to(dtype).eval()
    )


def batch_for(
    task_kind: str,
    *,
    dtype: torch.dtype = torch.float32,
    lengths: tuple[int, ...] = (4, 7, 2),
    vocab_size: int = TINY["vocab_size"],
    padding_id: int = TINY["pad_token_id"],
) -> Batch:
    """A seeded batch with an instance of each length."""
    generator = torch.Generator().manual_seed(3)
    size, longest = len(lengths), max(lengths)
    ends = torch.tensor(lengths)
    shape: tuple[int, ...] = (size, longest)
    if task_kind == "multiple_choice":
        # Choices of one instance differ in length, too.
        ends = torch.stack([ends, (ends - 1).clamp(min=2)], dim=1)
        shape = (size, 2, longest)
    input_ids = torch.randint(3, vocab_size, shape, generator=generator)
    mask = (torch.arange(longest) < ends.unsqueeze(-1)).long()
    input_ids = input_ids.where(mask.bool(), padding_id)
    if task_kind == "regression":
        labels = torch.randn(size, generator=generator).to(dtype)
    elif task_kind == "tagging":
        labels = torch.randint(0, NUM_LABELS, shape, generator=generator)
        labels = labels.where(mask.bool(), -100)
        labels[0, 1] = -100  # a second piece of a word has no label of its own
    else:
        num_classes = 2 if task_kind == "multiple_choice" else NUM_LABELS
        labels = torch.randint(0, num_classes, (size,), generator=generator)
    return Batch(input_ids, mask, labels)


# --- the slow loop --------------------------------------------------------------------------------


def one_by_one(model: TaskModel, batch: Batch, measure_name: str) -> Tensor:
    """Head importances (B, L, H) from parameter gradients, one unpadded instance at a time."""
    model = unshared(model)
    importance_of = _gate_gradients if measure_name == "gate" else _weight_gradients
    return torch.stack(
        [importance_of(model, batch.alone(index), measure_name) for index in range(len(batch))]
    )


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference in an instance's matrix, relative to that matrix's maximum."""
    difference = (found - expected).abs().amax(dim=(1, 2))
    return float((difference / expected.amax(dim=(1, 2))).max())


def unshared(model: TaskModel) -> TaskModel:
    """The same function with weights of its own for each layer application (albert)."""
    twin = copy.deepcopy(model)
    config = twin.encoder.config
    if config.model_type == "albert":
        transformer = twin.encoder.encoder
        per_group = config.num_hidden_layers / config.num_hidden_groups
        transformer.albert_layer_groups = nn.ModuleList(
            copy.deepcopy(transformer.albert_layer_groups[int(index / per_group)])
            for index in range(config.num_hidden_layers)
        )
        config.num_hidden_groups = config.num_hidden_layers
    return twin


def attention_layers(encoder: nn.Module) -> list[tuple[nn.Linear, nn.Linear, nn.Linear]]:
    """(key, value, output) projections by name, in order; weights must not be shared."""
    found: dict[str, list[nn.Linear]] = {"key": [], "value": [], "output": []}
    for name, module in encoder.named_modules():
        last = name.rsplit(".", 1)[-1]
        if last in ("key", "key_proj"):
            found["key"].append(module)
        elif last in ("value", "value_proj"):
            found["value"].append(module)
        elif name.endswith(("attention.output.dense", "attention.dense")):
            found["output"].append(module)
    return list(zip(found["key"], found["value"], found["output"], strict=True))


def _weight_gradients(model: TaskModel, alone: Batch, measure_name: str) -> Tensor:
    num_heads = model.encoder.config.num_attention_heads
    model.zero_grad(set_to_none=True)
    model(alone).sum().backward()

    def per_head(weight: Tensor) -> Tensor:
        # Rows of a (out, in) weight, or columns of it.
        parts = weight.grad if measure_name == "rows" else weight.grad.T
        return torch.stack([part.abs().mean() for part in parts.chunk(num_heads)])

    return torch.stack(
        [
            per_head(key.weight) + per_head(value.weight)
            for key, value, _ in attention_layers(model.encoder)
        ]
    )


def _gate_gradients(model: TaskModel, alone: Batch, measure_name: str) -> Tensor:
    num_heads = model.encoder.config.num_attention_heads
    layers = attention_layers(model.encoder)
    dtype = next(model.parameters()).dtype
    gates = torch.ones(len(layers), num_heads, dtype=dtype, requires_grad=True)

    def gated(index: int) -> Callable[..., tuple[Tensor]]:
        def hook(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
            size = args[0].shape[-1] // num_heads
            return (args[0] * gates[index].repeat_interleave(size),)

        return hook

    handles = [
        output.register_forward_pre_hook(gated(index))
        for index, (_, _, output) in enumerate(layers)
    ]
    (gradient,) = torch.autograd.grad(model(alone).sum(), gates)
    for handle in handles:
        handle.remove()
    return gradient.abs()
