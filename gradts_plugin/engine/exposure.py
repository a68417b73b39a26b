"""How many optimiser steps each task gets where the primary is to have what it has alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PrimaryExposure:
    """What the primary gets of a training.

    Attributes:
        num_steps: its own optimiser steps; expected ones where a sampler draws tasks.
        num_steps_alone: what it has alone.
    """

    num_steps: float
    num_steps_alone: int

    @property
    def share(self) -> float:
        """1 is all that it has alone."""
        return self.num_steps / self.num_steps_alone


def num_auxiliary_steps(num_primary_steps: int, auxiliary_ratio: float) -> int:
    """Steps of all auxiliaries together.

    Args:
        num_primary_steps: optimiser steps of the primary.
        auxiliary_ratio: steps of auxiliaries for each step of the primary.

    Returns:
        At least 1.
    """
    return max(1, round(num_primary_steps * auxiliary_ratio))


def equal_exposure(
    primary_task: str, num_primary_steps: int, num_steps: int, weights: Mapping[str, float]
) -> dict[str, int]:
    """The steps of each task: the primary's own, and the auxiliaries' on top.

    Args:
        primary_task: gets `num_primary_steps`.
        num_primary_steps: what it is trained for alone.
        num_steps: of all auxiliaries together.
        weights: auxiliary -> its share, in any unit.

    Returns:
        Task -> steps, the primary first. Shares are rounded by largest remainders; each auxiliary
        gets one step at least, which the one with the most gives away.
    """
    total = sum(weights.values())
    quotas = {name: num_steps * weight / total for name, weight in weights.items()}
    steps = {name: math.floor(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: steps[name] - quotas[name])
    for name in by_remainder[: num_steps - sum(steps.values())]:
        steps[name] += 1
    for name in [name for name, count in steps.items() if not count]:
        most = max(steps, key=steps.__getitem__)
        steps[most] -= steps[most] > 1
        steps[name] = 1
    return {primary_task: num_primary_steps, **steps}


def size_weights(sizes: Mapping[str, int], temperature: float) -> dict[str, float]:
    """What auxiliaries share their steps by: n^(1 / temperature), as samplers of jiant and T5 do.

    Args:
        sizes: auxiliary -> training instances n.
        temperature: 1 or more; 1 is by size.
    """
    return {name: size ** (1 / temperature) for name, size in sizes.items()}
