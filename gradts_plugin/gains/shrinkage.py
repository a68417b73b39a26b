"""Gains as they are expected to be, given all gains of a run: of many, the best is partly lucky.

True gains are taken to be m + N(0, t^2), m ~ N(0, c^2): candidates are as likely to hurt as to
help, each for itself and all together. How much they do is not known, so every (t, c) of a grid is
weighted by how well it explains the gains (its marginal likelihood), and none is picked. The less
is known of a gain, the nearer it is expected to 0, and to the others (Efron and Morris, JASA 1973,
with the variances averaged over). What all gains have in common, the error of the baseline that
they are compared with, is one error, and not many.

Symbols: k gains, G points of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from gradts_plugin.records import FloatArray
from gradts_plugin.scores import Gain

#: (t, c): what true gains may be worth, each and all together, in standard errors of a gain. What
#: all do together is mostly no more than what each does; else a baseline's luck would be that.
GRID = tuple(
    (own, ratio * own)
    for own, ratio in product((0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.0, 1.0, 3.0))
)

#: The share of a gain's squared standard error that is the baseline's own, so that all gains have
#: it: a half where the baseline varies as they do.
SHARED = 0.5

#: Primaries that gain nothing, with which a mean over primaries is taken.
_PRIOR_PRIMARIES = 3

#: Gains without any error, as of scores that never vary, are still divided by one.
_LEAST_ERROR = 1e-9


def shrunk(
    gains: Sequence[Gain],
    *,
    shared: float = SHARED,
    grid: Sequence[tuple[float, float]] = GRID,
) -> list[Gain]:
    """Gains as they are expected to be, given all of them.

    Args:
        gains: over the same baseline, in any order.
        shared: the baseline's share of a squared standard error.
        grid: what true gains may be worth, in standard errors.

    Returns:
        The gains with another mean, standard error, interval and P(helps), in their order; as they
        are where they are undefined or nothing says how sure they are.
    """
    judged = [place for place, gain in enumerate(gains) if gain.standard_error is not None]
    changed = list(gains)
    if judged:
        means = [gains[place].gain for place in judged]
        errors = [gains[place].standard_error for place in judged]
        believed = _Believed(np.array(means, float), np.array(errors, float), shared, grid)
        for number, place in enumerate(judged):
            changed[place] = believed.gain(number, gains[place])
    return changed


def p_helps(gains: Sequence[float], errors: Sequence[float]) -> list[float]:
    """The probability that each gain is truly above 0, given all of them.

    Args:
        gains: over the same baseline, k numbers.
        errors: their standard errors.
    """
    believed = _Believed(np.array(gains, float), np.array(errors, float), SHARED, GRID)
    return [believed.above(0.0, number) for number in range(len(gains))]


def shrunk_mean(gains: Sequence[float]) -> float:
    """Mean gain for n primaries, shrunk by n / (n + 3); 0 without any."""
    return sum(gains) / (len(gains) + _PRIOR_PRIMARIES)


class _Believed:
    """True gains, given what was measured: mixtures of G normal distributions."""

    def __init__(
        self,
        gains: FloatArray,
        errors: FloatArray,
        shared: float,
        grid: Sequence[tuple[float, float]],
    ) -> None:
        variances = np.square(np.maximum(errors, _LEAST_ERROR))
        # The baseline was tried with as many seeds as any set, so the most exact gain says how
        # much of its variance is the baseline's.
        common = shared * float(variances.min())
        own, together = np.square(np.array(grid)).T[:, :, None, None] * np.median(variances)
        prior = own * np.eye(len(gains)) + together  # (G, k, k)
        covariance = prior + np.diag(variances - common) + common
        kept = np.linalg.solve(covariance, prior)
        explained = np.linalg.solve(
            covariance, np.broadcast_to(gains[:, None], kept[..., :1].shape)
        )
        fit = (gains @ explained)[:, 0]
        logarithms = -0.5 * (np.linalg.slogdet(covariance)[1] + fit)
        weights = np.exp(logarithms - logarithms.max())
        self._weights: FloatArray = weights / weights.sum()
        self._means: FloatArray = (prior @ explained)[..., 0]  # (G, k)
        left = np.einsum("gkk->gk", prior - prior @ kept)
        self._spreads: FloatArray = np.sqrt(np.maximum(left, _LEAST_ERROR**2))

    def above(self, value: float, number: int) -> float:
        """The probability that a true gain is above a value."""
        from scipy.special import ndtr

        shares = ndtr((self._means[:, number] - value) / self._spreads[:, number])
        return float(self._weights @ shares)

    def gain(self, number: int, measured: Gain) -> Gain:
        """What is known of one gain."""
        from scipy.optimize import brentq

        means, spreads = self._means[:, number], self._spreads[:, number]
        mean = float(self._weights @ means)
        reach = 10 * float(spreads.max())
        ends = float(means.min()) - reach, float(means.max()) + reach
        outside = (1 - measured.confidence) / 2
        low, high = (
            float(brentq(lambda value, share=share: self.above(value, number) - share, *ends))
            for share in (1 - outside, outside)
        )
        variance = float(self._weights @ (np.square(spreads) + np.square(means - mean)))
        return replace(
            measured,
            gain=mean,
            standard_error=float(np.sqrt(variance)),
            low=low,
            high=high,
            p_helps=self.above(0.0, number),
        )
