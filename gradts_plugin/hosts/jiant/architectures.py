"""Which encoder architectures jiant runs on today's packages."""

from __future__ import annotations

from gradts_plugin.errors import UnsupportedEncoderError

#: Encoder architectures (transformers' `model_type`) that jiant runs on today's stack.
SUPPORTED_ENCODERS = ("bert", "roberta", "xlm-roberta", "albert", "deberta-v2")

_BROKEN_IN_HOST = {
    "electra": "jiant reads hidden states that it never asks the encoder for",
    "bart": "jiant's encode() for it does not accept the arguments jiant gives",
    "mbart": "jiant's encode() for it does not accept the arguments jiant gives",
    "xlm": "jiant's class for it is abstract and cannot be created",
}


def require_supported_encoder(model_type: str) -> None:
    """Checks that jiant can run an encoder architecture.

    Args:
        model_type: as in the encoder's config.json, e.g. "bert".

    Raises:
        UnsupportedEncoderError: it cannot; says why.
    """
    if model_type in SUPPORTED_ENCODERS:
        return
    why = _BROKEN_IN_HOST.get(model_type, "jiant has no class for it")
    raise UnsupportedEncoderError(
        f"encoder architecture {model_type!r} cannot be used: {why}; "
        f"supported: {', '.join(SUPPORTED_ENCODERS)}"
    )
