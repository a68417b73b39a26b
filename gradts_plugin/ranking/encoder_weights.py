"""An encoder's weights: read in one row, and changed for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from gradts_plugin.records import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn


def flat_weights(encoder: nn.Module) -> FloatArray:
    """All weights of an encoder in one row, float32 of shape (P,)."""
    parts = [parameter.detach().float().flatten().cpu() for parameter in encoder.parameters()]
    return np.concatenate([part.numpy() for part in parts])


@contextmanager
def with_added(
    encoder: nn.Module, changes: Iterable[Tensor | None], *, scale: float = 1.0
) -> Iterator[None]:
    """Adds to an encoder's weights for the duration; then they are, bit for bit, what they were.

    Args:
        encoder: changed in place.
        changes: what is added to each parameter, of its shape or flat; None: nothing.
        scale: what the changes are multiplied by.
    """
    import torch

    parameters = list(encoder.parameters())
    kept = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, change in zip(parameters, changes, strict=True):
                if change is not None:
                    parameter.add_(change.view_as(parameter).to(parameter), alpha=scale)
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(parameters, kept, strict=True):
                parameter.copy_(before)
