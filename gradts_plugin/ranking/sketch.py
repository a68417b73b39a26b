"""Gradients of an encoder as short vectors: a random projection that keeps inner products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class CountSketch:
    """A sparse random projection that keeps inner products, in expectation.

    Every entry of a vector is multiplied by a random sign and added to one bucket, in turn
    (Charikar et al. 2002). There is no projection matrix: one byte per entry is kept, and a vector
    of any length costs one pass over it.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        dimension: int,
        seed: int,
        device: torch.device | None = None,
    ) -> None:
        """Draws the signs.

        Args:
            sizes: lengths of the parts of a vector.
            dimension: number of buckets, k.
            seed: of the signs.
            device: where the parts lie; None: the CPU.
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        self.dimension = dimension
        self._signs = [
            torch.randint(0, 2, (size,), generator=generator, dtype=torch.int8).mul(2).sub(1)
            for size in sizes
        ]
        if device is not None:
            self._signs = [signs.to(device) for signs in self._signs]

    def __call__(self, parts: Iterable[Tensor | None]) -> Tensor:
        """Projects a vector given in parts of any shape; None is a part of zeros.

        Returns:
            float32 tensor of shape (k,).
        """
        import torch
        from torch.nn import functional

        total = torch.zeros(self.dimension, device=self._signs[0].device)
        for signs, part in zip(self._signs, parts, strict=True):
            if part is None:
                continue
            signed = part.flatten().float() * signs
            padded = functional.pad(signed, (0, -len(signed) % self.dimension))
            total += padded.view(-1, self.dimension).sum(dim=0)
        return total


def layer_parameters(encoder: nn.Module) -> list[nn.Parameter]:
    """The parameters that every token of every task goes through: no embeddings, no pooler."""
    return [
        parameter
        for name, parameter in encoder.named_parameters()
        if "embedding" not in name and "pooler" not in name
    ]
