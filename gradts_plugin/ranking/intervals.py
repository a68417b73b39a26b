"""How far taus would move with other instances and other fine-tuning seeds.

Symbols: T tasks, C = T - 1 candidates, S fine-tuning seeds, B draws, L layers, H heads, n = L * H.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from gradts_plugin.offers import Correlation
from gradts_plugin.records import FloatArray, Ranking

#: Below so many instances of a task, intervals cover less than they say.
FEW_INSTANCES: Final = 50

#: Of the correction for the pull towards zero, what may be wrong about it (one standard deviation):
#: intervals then cover what they say with heavy tails, too (benchmarks/intervals.py).
_UNSURE_SHARE = 0.75

#: Resamples scatter less than samples do: by 6 to 15 % in simulations, for pairs of heads that are
#: nearly equal change places more often than a resample of one sample shows.
_WIDENING = 1.2


def agreements(correlation: Correlation, profiles: FloatArray, resampled: FloatArray) -> FloatArray:
    """How far a sample's profiles agree with those of another sample of the same size.

    As correlations r of normal scores, which sin(pi tau / 2) is for Kendall's tau. Noise of s times
    the profile's own variance makes it 1 / (1 + s); a resample has noise of 2 s, of which it shares
    s with the sample, so that the two correlate to q = sqrt((1 + s) / (1 + 2 s)).

    Args:
        correlation: correlates one profile of shape (n,) with many.
        profiles: of every task and seed, shape (T, S, n).
        resampled: the same under resampled instances, shape (T, S, B, n).

    Returns:
        Agreements in (0, 1], mean over the seeds, shape (T,).
    """
    found = np.empty(profiles.shape[:2])
    for place in np.ndindex(found.shape):
        q_squared = normal_scores(correlation(profiles[place], resampled[place])).mean() ** 2
        # Where resamples have next to nothing in common with the sample, noise is nearly all.
        noise = (1 - q_squared) / max(2 * q_squared - 1, 0.05)
        found[place] = 1 / (1 + noise)
    agreed: FloatArray = found.mean(axis=1)
    return agreed


def draws_for_all_rows(
    taus: FloatArray, draws: FloatArray, ceilings: FloatArray, noise: FloatArray
) -> FloatArray:
    """Draws of the taus that all rows would give, from those of samples.

    Noise pulls every tau towards zero: correlations r of normal scores by the ceiling, to which two
    tasks with the same profile would agree. Divided by it, both the estimate and what resampling
    does to it are those of all rows. How far the pull goes is itself known from the sample only,
    so a share of it is added as noise (`_UNSURE_SHARE`).

    Args:
        taus: of the samples, shape (C,).
        draws: of resampled instances, shape (B, C).
        ceilings: shape (C,), in (0, 1].
        noise: standard normal, shape (B, C).

    Returns:
        Array of shape (B, C).
    """
    r = normal_scores(taus)
    centre = np.clip(r / ceilings, -1.0, 1.0)
    spread = _WIDENING * centred(normal_scores(draws)) / ceilings
    return as_taus(centre + spread + _UNSURE_SHARE * np.abs(centre - r) * noise)


def agreement_notes(ranking: Ranking) -> list[str]:
    """What to know beside a ranking: how far a task agrees with itself, and what is too few."""
    notes = []
    if ranking.ceiling is not None:
        notes.append(
            f"Two samples of {ranking.primary_task} would agree to tau {ranking.ceiling:.2f}: no "
            "candidate can be expected above that."
        )
    if ranking.num_instances is not None and ranking.num_instances < FEW_INSTANCES:
        notes.append(
            f"{ranking.num_instances} instances of a task are too few for its interval; probe "
            f"{FEW_INSTANCES} or more."
        )
    return notes


def normal_scores(taus: FloatArray) -> FloatArray:
    """The correlation of normal scores that Kendall's tau belongs to (Greiner)."""
    found: FloatArray = np.sin(np.pi / 2 * np.asarray(taus))
    return found


def as_taus(correlations: FloatArray) -> FloatArray:
    """Kendall's tau of correlations of normal scores; what lies outside [-1, 1] is at its edge."""
    found: FloatArray = 2 / np.pi * np.arcsin(np.clip(correlations, -1.0, 1.0))
    return found


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
