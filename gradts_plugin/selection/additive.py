"""What each candidate adds to the primary's score, with all that is not known about it.

A score of the primary, trained with a set x (1 where a candidate is in it) and a seed, is

    score = mu_seed + sum_i b_i x_i / |x|^p + d_x + e,    e ~ N(0, sigma^2)

b_i is candidate i's effect, d_x what a set of two or more does beyond its members' effects, and
stays over seeds. Effects add up (p = 0), or are averaged (p = 1): where the members of a set share
a fixed number of steps, each has a part of its effect. The prior is b_i ~ N(o_i + a + c z_i,
(u sigma)^2) with o_i what is known of the effect beforehand, z_i the standardised value that
candidate i is ranked by, a ~ N(0, (A sigma)^2), c ~ N(0, (C sigma)^2), d_x ~ N(0, (D sigma)^2): a
ranking that foretells the effects is used, one that does not is overruled. What the effects are
worth in sigma (u, A, C, D), and p, are not known either: every point of a grid is weighted by how
well it explains the scores (its marginal likelihood), and none is picked, so few scores claim
little.

Given a point, all of it is linear: gains have a Student t distribution, in closed form.
Symbols: n scores, k candidates, s sets, G points of the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from gradts_plugin.records import FloatArray, IntArray
from gradts_plugin.scores import Gain

#: (u, A, C, D, p): what effects may be worth, in spreads of a score between seeds, and whether they
#: are added (0) or averaged (1).
Scales = tuple[float, float, float, float, int]

#: What most of an effect may be: the candidate's own, common to all, foretold by the ranking.
_DIRECTIONS = ((1.0, 0.3, 0.1), (0.3, 1.0, 0.1), (0.3, 0.3, 1.0), (0.6, 0.6, 0.6))

#: Sums of effects may be off by more than the spread: without that, three seeds claim too much.
GRID: tuple[Scales, ...] = tuple(
    (worth * own, worth * common, worth * ranked, beyond, power)
    for worth, (own, common, ranked), beyond, power in product(
        (0.1, 0.5, 1.5, 4.0, 10.0), _DIRECTIONS, (0.1, 0.5, 1.5), (0, 1)
    )
)

#: What is believed of the spread between seeds before any score: as of one score that is 0.01 off.
_PRIOR_SPREAD = 0.01
_PRIOR_FREEDOM = 1.0

#: Level of the intervals.
LEVEL = 0.95


class AdditiveModel:
    """The gains of all sets, given the scores of some."""

    def __init__(
        self,
        sets: IntArray,
        seeds: Sequence[int],
        scores: Sequence[float],
        values: Sequence[float],
        grid: Sequence[Scales] = GRID,
        offsets: Sequence[float] | None = None,
    ) -> None:
        """Weighs the grid.

        Args:
            sets: of each score, shape (n, k).
            seeds: of each score, n numbers. There must be more scores than different seeds.
            scores: n numbers.
            values: what the candidates are ranked by, higher is better, k numbers.
            grid: what effects may be worth.
            offsets: what effects are expected to be beforehand, in scores, k numbers; None: 0.
        """
        self._sets = sets
        self._offsets = np.zeros(sets.shape[1]) if offsets is None else np.array(offsets)
        self._values = _standardised(np.array(values, dtype=float))
        *scales, powers = np.array(grid).T
        self._scales = np.square(scales).T
        self._powers = powers.astype(int)
        given = np.array(seeds)
        of_seed = (given[:, None] == np.unique(given)).astype(float)
        self._num_seeds = of_seed.shape[1]
        self._freedom = _PRIOR_FREEDOM + len(given) - self._num_seeds

        covariance = self._covariance(sets, sets) + np.eye(len(given))
        inverse = np.linalg.inv(covariance)
        means = of_seed.T @ inverse @ of_seed
        # The seeds' own means are not known at all: what is left is orthogonal to them.
        self._precision = inverse - inverse @ of_seed @ np.linalg.inv(means) @ of_seed.T @ inverse
        self._scores = np.array(scores, dtype=float)
        unexpected = self._scores - self._expected(sets)  # (G, n)
        self._explained = np.einsum("gnm,gm->gn", self._precision, unexpected)
        squares = _PRIOR_FREEDOM * _PRIOR_SPREAD**2 + (self._explained * unexpected).sum(axis=1)
        self._variance = squares / self._freedom  # of a score, (G,)
        self._weights = _normalised(
            -0.5 * np.linalg.slogdet(covariance)[1]
            - 0.5 * np.linalg.slogdet(means)[1]
            - 0.5 * self._freedom * np.log(squares)
        )

    def means(self, sets: IntArray) -> FloatArray:
        """Expected gains of sets (s, k); shape (s,)."""
        means: FloatArray = np.einsum("g,gs->s", self._weights, self._mean_by_point(sets))
        return means

    def gain(self, chosen: IntArray) -> Gain:
        """What is known of one set's gain over the primary alone; a set has shape (k,)."""
        # Imported late: scipy's distributions take a second, and settings are checked without.
        from scipy.optimize import brentq
        from scipy.special import stdtr

        row = chosen[None]
        means = self._mean_by_point(row)[:, 0]
        to_scores = self._covariance(row, self._sets)[:, 0]  # (G, n)
        known = np.einsum("gn,gnm,gm->g", to_scores, self._precision, to_scores)
        left = np.maximum(self._covariance(row, row)[:, 0, 0] - known, 1e-12)
        spreads = np.sqrt(self._variance * left)

        def below(gain: float) -> float:
            shares = stdtr(self._freedom, (gain - means) / spreads)
            return float(self._weights @ shares)

        reach = 1e3 * spreads.max()
        ends = float(means.min() - reach), float(means.max() + reach)
        low, high = (
            float(brentq(lambda gain, share=share: below(gain) - share, *ends, xtol=1e-9))
            for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
        )
        mean = float(self._weights @ means)
        freedom = max(self._freedom, 3.0)  # with less, a variance is not defined
        squares = np.square(spreads) * freedom / (freedom - 2) + np.square(means - mean)
        return Gain(
            gain=mean,
            low=low,
            high=high,
            p_helps=1 - below(0.0),
            num_seeds=self._num_seeds,
            num_instances=0,
            covers=("seeds",),
            confidence=LEVEL,
            standard_error=float(np.sqrt(self._weights @ squares)),
        )

    def best(self, most_together: int) -> IntArray:
        """The set of one candidate or more whose expected gain is largest; shape (k,).

        Args:
            most_together: candidates in it at most. Larger sets were not tried, and would dilute
                each other in a way that is not known.
        """
        singles = np.eye(self._sets.shape[1], dtype=np.int64)
        order = np.argsort(-self.means(singles), kind="stable")[:most_together]
        # Whether effects add up or are averaged: of the sets of a size that were not tried only
        # these can be the best.
        largest = np.cumsum(singles[order], axis=0)
        pool = np.vstack([largest, self._sets[self._sets.any(axis=1)]])
        means = self.means(pool)
        chosen: IntArray = pool[np.flatnonzero(means >= means.max() - 1e-12)[0]]
        return chosen

    @property
    def fit(self) -> float | None:
        """The share of the scores' variance that the model foretells of scores left out.

        By leaving out one score after the other (Q^2, or predictive R^2): 1 is perfect, 0 or less
        says that it foretells nothing. None with too few scores.
        """
        diagonal = np.einsum("gnn->gn", self._precision)
        judged = (diagonal > 1e-9).all(axis=0)  # not a seed's only score
        if judged.sum() < 3:
            return None
        errors = self._weights @ (self._explained[:, judged] / diagonal[:, judged])
        scores = self._scores[judged]
        total = float(np.square(scores - scores.mean()).sum())
        return 1 - float(np.square(errors).sum()) / total if total > 1e-12 else None

    def _mean_by_point(self, sets: IntArray) -> FloatArray:
        """Expected gains at each point of the grid, shape (G, s)."""
        means: FloatArray = np.einsum(
            "gsn,gn->gs", self._covariance(sets, self._sets), self._explained
        )
        return means + self._expected(sets)

    def _expected(self, sets: IntArray) -> FloatArray:
        """What gains are expected to be beforehand at each point of the grid, shape (G, s)."""
        ways = np.stack([sets @ self._offsets, _averaging(sets) @ self._offsets])
        expected: FloatArray = ways[self._powers]
        return expected

    def _covariance(self, sets: IntArray, others: IntArray) -> FloatArray:
        """Prior covariances of gains in squared spreads of a score, shape (G, s, n)."""
        same = (sets[:, None] == others).all(axis=2) & (sets.sum(axis=1)[:, None] > 1)
        covariance = np.empty((len(self._scales), len(sets), len(others)))
        ways = (sets, others), (_averaging(sets), _averaging(others))
        for power, (left, right) in enumerate(ways):
            parts = np.stack(
                [
                    left @ right.T,
                    np.outer(left.sum(axis=1), right.sum(axis=1)),
                    np.outer(left @ self._values, right @ self._values),
                    same,
                ]
            )
            points = self._powers == power
            covariance[points] = np.einsum("gq,qsn->gsn", self._scales[points], parts)
        return covariance


def _averaging(sets: IntArray) -> FloatArray:
    """The part of its effect that each member of a set has where they are averaged."""
    parts: FloatArray = sets / np.maximum(sets.sum(axis=1, keepdims=True), 1)
    return parts


def _standardised(values: FloatArray) -> FloatArray:
    """Mean 0 and standard deviation 1; all 0 where they do not differ."""
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _normalised(logarithms: FloatArray) -> FloatArray:
    weights = np.exp(logarithms - logarithms.max())
    normalised: FloatArray = weights / weights.sum()
    return normalised
