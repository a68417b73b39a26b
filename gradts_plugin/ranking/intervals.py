"""How far taus would move with other instances and other fine-tuning seeds.

Symbols: T tasks, C = T - 1 candidates, S fine-tuning seeds, B draws, L layers, H heads, n = L * H.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from gradts_plugin.protocols import ImportanceSource
from gradts_plugin.records import FloatArray, IntArray

# Bootstrap weights held in memory at once; 8 bytes each.
_BLOCK_WEIGHTS = 1 << 21


def resampled_profiles(
    sources: Sequence[ImportanceSource],
    bootstrap: int,
    generator: np.random.Generator,
    normal: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    """Profiles of one task under resampled instances, shape (S, B, n)."""
    # Every seed starts from the same state: the same instances get the same weights, since it is
    # one and the same sample of instances that all seeds of a task were probed on.
    state = generator.bit_generator.state
    profiles = []
    for source in sources:
        generator.bit_generator.state = state
        matrices = _resampled_matrices(source, bootstrap, generator)
        profiles.append(normal(matrices).reshape(bootstrap, -1))
    return np.stack(profiles)


def _resampled_matrices(
    source: ImportanceSource, bootstrap: int, generator: np.random.Generator
) -> FloatArray:
    """Task matrices under resampled instances, in one pass over the source.

    Returns:
        float64 array of shape (B, L, H).
    """
    num_instances, num_layers, num_heads = source.shape
    sums = np.zeros((bootstrap, num_layers * num_heads))
    # Instances still to be drawn of each resample, and rows that are still to come.
    to_draw = np.full(bootstrap, num_instances)
    rows_left = num_instances
    for example_ids, importances in source.batches():
        num_rows = len(example_ids)
        values = importances.reshape(num_rows, -1).astype(np.float64)
        drawn = generator.binomial(to_draw, num_rows / rows_left)
        for block, weights in _weight_blocks(drawn, num_rows, generator):
            sums[block] += weights @ values
        to_draw -= drawn
        rows_left -= num_rows
    return (sums / num_instances).reshape(bootstrap, num_layers, num_heads)


def _weight_blocks(
    drawn: IntArray, num_rows: int, generator: np.random.Generator
) -> Iterator[tuple[slice, FloatArray]]:
    """Spreads each resample's draws evenly over rows: blocks of multinomial weights (b, rows)."""
    step = max(1, _BLOCK_WEIGHTS // num_rows)
    for start in range(0, len(drawn), step):
        counts = drawn[start : start + step]
        resample = np.repeat(np.arange(len(counts)), counts)
        row = generator.integers(num_rows, size=len(resample))
        weights = np.bincount(resample * num_rows + row, minlength=len(counts) * num_rows)
        yield (
            slice(start, start + len(counts)),
            weights.reshape(len(counts), num_rows).astype(np.float64),
        )


def seed_deviations(
    pair_taus: FloatArray, names: Sequence[str], bootstrap: int, seed: int
) -> FloatArray:
    """Deviations of tau under resampled fine-tuning seeds.

    Args:
        pair_taus: shape (C, S, S), the primary's seeds first.
        names: the primary, then the candidates.
        bootstrap: number of draws, B.
        seed: makes the draws repeatable.

    Returns:
        Array of shape (B, C).
    """
    num_seeds = pair_taus.shape[1]
    even = np.full(num_seeds, 1 / num_seeds)
    shares = [
        generator(seed, name, "seeds").multinomial(num_seeds, even, size=bootstrap) / num_seeds
        for name in names
    ]
    draws = np.stack(
        [
            np.einsum("bi,ij,bj->b", shares[0], taus, candidate_shares)
            for taus, candidate_shares in zip(pair_taus, shares[1:], strict=True)
        ],
        axis=1,
    )
    deviations: FloatArray = centred(draws) * np.sqrt(num_seeds / (num_seeds - 1))
    return deviations


def centred(draws: FloatArray) -> FloatArray:
    """Deviations of draws (B, C) from their own mean."""
    deviations: FloatArray = draws - draws.mean(axis=0)
    return deviations


def probability_above(draws: FloatArray, next_draws: FloatArray) -> float:
    """Share of joint draws in which the one stands above the other; ties count half."""
    return float(np.mean(draws > next_draws) + np.mean(draws == next_draws) / 2)


def generator(seed: int, task_name: str, purpose: str = "instances") -> np.random.Generator:
    """Random numbers that depend on the seed and the task, not on its place among the tasks."""
    digest = hashlib.sha256(f"{purpose}:{task_name}".encode()).digest()
    words = np.frombuffer(digest, dtype="<u4")
    return np.random.default_rng([seed, *(int(word) for word in words)])
