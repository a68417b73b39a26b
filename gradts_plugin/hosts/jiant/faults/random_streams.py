"""Random streams of their own for every purpose, and the states of the global ones."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_stream(seed: int, *names: str | int) -> np.random.RandomState:
    """A random stream of its own for every purpose.

    Args:
        seed: the run's seed.
        names: the purpose; other names give an unrelated stream.

    Returns:
        A generator that depends on nothing but the arguments.
    """
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype=np.uint32))


@dataclass(frozen=True)
class RandomStates:
    """The states of the global random streams.

    Attributes:
        python: of the module random.
        numpy: of numpy's global generator.
        torch: of torch on the CPU.
        cuda: of torch on each CUDA device; None without CUDA.
    """

    python: Any
    numpy: Any
    torch: Tensor
    cuda: list[Tensor] | None

    @classmethod
    def now(cls) -> RandomStates:
        """Those of this moment."""
        return cls(
            python=random.getstate(),
            numpy=np.random.get_state(),
            torch=torch.get_rng_state(),
            cuda=torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None,
        )

    def restore(self) -> None:
        """Puts the global random streams into these states."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self.cuda)
