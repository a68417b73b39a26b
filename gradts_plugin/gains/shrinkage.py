"""Gains drawn towards their mean: of many sets that were tried, the best one is partly lucky.

Empirical Bayes (Efron and Morris, JASA 1973): true gains are taken to vary as N(m, t^2), with m and
t^2 by the method of moments (DerSimonian and Laird, Controlled Clinical Trials 1986), and each
gain is expected nearer to m the less is known of it. What all gains have in common, the error of
the baseline that they are compared with, puts none of them ahead: it is not drawn in, and stays in
every interval.

Symbols: k gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from gradts_plugin.records import FloatArray
from gradts_plugin.scores import Gain

#: With fewer gains nothing is known of how much true gains vary.
_FEWEST = 3

#: Primaries that gain nothing, with which a mean over primaries is taken.
_PRIOR_PRIMARIES = 3

#: Gains without any error, as of scores that never vary, are still divided by one.
_LEAST_ERROR = 1e-9


def shrunk(gains: Sequence[Gain], *, shared: float = 0.5) -> list[Gain]:
    """Gains as they are expected to be, given all of them.

    Args:
        gains: over the same baseline, in any order.
        shared: the share of a gain's squared standard error that is the baseline's own, so that all
            gains have it; a half where the baseline varies as they do.

    Returns:
        The gains with another mean, interval and P(helps), in their order; as they are where they
        are undefined or have no interval, and where less than 3 have one.
    """
    judged = [place for place, gain in enumerate(gains) if _standard_error(gain) is not None]
    if len(judged) < _FEWEST:
        return list(gains)
    errors = np.array([_standard_error(gains[place]) for place in judged], dtype=float)
    means, spreads = _posterior(
        np.array([gains[place].gain for place in judged], dtype=float),
        np.square(np.maximum(errors, _LEAST_ERROR)),
        shared,
    )
    changed = list(gains)
    for place, mean, spread in zip(judged, means.tolist(), spreads.tolist(), strict=True):
        changed[place] = _normal(gains[place], mean, spread)
    return changed


def shrunk_mean(gains: Sequence[float]) -> float:
    """Mean gain for n primaries, shrunk by n / (n + 3); 0 without any."""
    return sum(gains) / (len(gains) + _PRIOR_PRIMARIES)


def _standard_error(gain: Gain) -> float | None:
    """That of a normal distribution with the gain's interval."""
    if gain.gain is None or gain.low is None or gain.high is None:
        return None
    return (gain.high - gain.low) / (2 * _half_interval(gain.confidence))


def _half_interval(confidence: float) -> float:
    """In standard deviations."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _posterior(
    gains: FloatArray, variances: FloatArray, shared: float
) -> tuple[FloatArray, FloatArray]:
    """Means and standard deviations of the true gains, given gains and their variances, all (k,).

    The baseline was tried with as many seeds as any set, so the most exact gain says how much of
    its variance is the baseline's.
    """
    common = shared * float(variances.min())
    own = variances - common
    between = _variance_between(gains, own)
    weights = 1 / (own + between)
    mean = float(weights @ gains / weights.sum())
    kept = between / (own + between)
    left = kept * own + np.square(1 - kept) / weights.sum() + common
    return kept * gains + (1 - kept) * mean, np.sqrt(left)


def _variance_between(gains: FloatArray, variances: FloatArray) -> float:
    """t^2: what the gains vary by more than their errors do (DerSimonian and Laird 1986)."""
    weights = 1 / variances
    total = float(weights.sum())
    mean = float(weights @ gains) / total
    excess = float(weights @ np.square(gains - mean)) - (len(gains) - 1)
    return max(0.0, excess / (total - float(weights @ weights) / total))


def _normal(gain: Gain, mean: float, spread: float) -> Gain:
    """A gain with a normal distribution."""
    reach = _half_interval(gain.confidence) * spread
    p_helps = NormalDist(mean, spread).cdf(2 * mean)  # as likely above 0 as below twice the mean
    return replace(gain, gain=mean, low=mean - reach, high=mean + reach, p_helps=p_helps)
