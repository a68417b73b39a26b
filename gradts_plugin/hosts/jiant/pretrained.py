"""Pretrained models and tokenizers, loaded whole or refused in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from gradts_plugin.errors import HostError

#: Architectures that are one network under two names.
_SAME_NETWORK = {"roberta", "xlm-roberta"}

#: Characters of somebody else's message that are told.
LONGEST_REASON = 200


def read_config(name: str) -> Any:
    """The transformers configuration of an encoder.

    Args:
        name: hub name or local folder.

    Raises:
        HostError: it cannot be read, or contradicts itself.
    """
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(name)
    except Exception as error:  # wrong values are found in many ways
        raise HostError(f"encoder {name!r} cannot be read: {reason(error)}") from error
    if isinstance(config.dtype, int | float):  # transformers itself takes it for a type of torch
        raise HostError(f"encoder {name!r}: config.json says dtype {config.dtype!r}, which is none")
    named = config.architectures if isinstance(config.architectures, list) else []
    for architecture in named:
        made_for = getattr(getattr(transformers, str(architecture), None), "config_class", None)
        kinds = {config.model_type, getattr(made_for, "model_type", config.model_type)}
        # The weights of one fit the names of the other, and would be read as what they are not.
        if len(kinds) > 1 and kinds != _SAME_NETWORK:
            raise HostError(
                f"encoder {name!r}: config.json says model_type {config.model_type!r}, but its "
                f"weights are of a {architecture}"
            )
    return config


def load_tokenizer(name: str) -> Any:
    """An encoder's tokenizer, as jiant loads it.

    Raises:
        HostError: it cannot be read, or marks neither the ends of texts nor padding.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name, use_fast=False)
    except Exception as error:  # damaged files are found in many ways
        raise HostError(
            f"the tokenizer of encoder {name!r} cannot be read: {reason(error)}"
        ) from error
    for mark in ("cls_token", "sep_token", "pad_token"):
        if getattr(tokenizer, mark, None) is None:
            raise HostError(f"the tokenizer of encoder {name!r} has no {mark}, which jiant needs")
    return tokenizer


def load_pretrained(auto_class: Any, name: str) -> Any:
    """A pretrained model in fp32 that answers with named outputs, all of its encoder stored.

    jiant on the packages of its time loaded every checkpoint in fp32. In chunks the feed-forward
    layers compute the same, but only for sequences of some lengths.

    Args:
        auto_class: transformers' `AutoModel` or a sibling.
        name: hub name or local folder.

    Raises:
        HostError: the model cannot be loaded, or weights of its encoder are missing; heads, the
            pooler among them, may be.
    """
    import torch

    try:
        model, found = auto_class.from_pretrained(
            name,
            dtype=torch.float32,
            return_dict=True,
            chunk_size_feed_forward=0,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except Exception as error:  # damaged files and wrong values are found in many ways
        raise HostError(f"encoder {name!r} cannot be loaded: {reason(error)}") from error
    _require_sizes(name, model, found["mismatched_keys"])
    missing = sorted(_of_encoder(model, found["missing_keys"]))
    if missing:
        raise HostError(
            f"encoder {name!r} is incomplete: {missing[0]} is missing, one of {len(missing)}, and "
            "would be random; do config.json and the file of weights belong together?"
        )
    return model


def _require_sizes(name: str, model: Any, mismatched: Iterable[tuple[str, Any, Any]]) -> None:
    sizes = {weight: (stored, configured) for weight, stored, configured in mismatched}
    for weight in sorted(_of_encoder(model, sizes)):
        stored, configured = sizes[weight]
        raise HostError(
            f"encoder {name!r}: {weight} is stored with the shape {tuple(stored)}, by config.json "
            f"it has {tuple(configured)}"
        )


def _of_encoder(model: Any, weights: Iterable[str]) -> list[str]:
    """Names of weights without those of heads; the pooler is one: MLM checkpoints have none."""
    prefix = f"{model.base_model_prefix}."
    inside = [
        weight for weight in weights if model.base_model is model or weight.startswith(prefix)
    ]
    return [weight for weight in inside if "pooler" not in weight.split(".")]


def reason(error: Exception) -> str:
    """What an error of transformers, torch or safetensors says, on one short line."""
    said = ""
    for sentence in re.split(r"(?<=\.)\s+", " ".join(str(error).split())):
        if said and len(said) + len(sentence) > LONGEST_REASON:
            break  # advice on transformers' or torch's own arguments
        said = f"{said} {sentence}".strip()
    said = said if len(said) <= LONGEST_REASON else f"{said[:LONGEST_REASON]}..."
    # Others are no sentences: a key, or the words of an interpreter.
    return said if said[:1].isupper() else f"{type(error).__name__}: {said}".removesuffix(": ")
