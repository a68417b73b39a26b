"""Random streams of their own for every purpose, and the states of the global ones."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch


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


def random_states() -> dict[str, Any]:
    """The states of the global random streams."""
    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Puts the global random streams into these states."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])
