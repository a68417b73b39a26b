"""AUTOSEM's second stage: in which ratio the tasks are mixed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from gradts_plugin.records import FloatArray, IntArray
from gradts_plugin.scores import Score

#: Largest ratio of a task (as in the published code).
MAX_RATIO = 9

#: Grids up to this size are searched whole, larger ones in a random part of this size.
GRID_SIZE = 10_000

#: Trials before a Gaussian process has anything to go by: equal ratios, and random ones.
INITIAL_TRIALS = 4

#: Scores one choice of ratios, a tuple with the primary's first.
RatioScore = Callable[[tuple[int, ...]], Score]


def ratio_grid(num_auxiliaries: int, rng: np.random.Generator) -> IntArray:
    """Ratios to choose among: the primary's in 1..9, each auxiliary's in 0..9.

    Ratios with a common divisor are the same mixture and stand there once.

    Args:
        num_auxiliaries: K, at least 1.
        rng: draws the part of a grid that is too large to be searched whole.

    Returns:
        int64 array of shape (M, 1 + K), in lexicographic order.
    """
    if MAX_RATIO * (MAX_RATIO + 1) ** num_auxiliaries <= GRID_SIZE:
        sizes = (MAX_RATIO, *(MAX_RATIO + 1,) * num_auxiliaries)
        ratios = np.indices(sizes).reshape(len(sizes), -1).T
        ratios[:, 0] += 1
    else:
        ratios = rng.integers(MAX_RATIO + 1, size=(GRID_SIZE, 1 + num_auxiliaries))
        ratios[:, 0] = rng.integers(1, MAX_RATIO + 1, size=GRID_SIZE)
        ratios[0] = 1
    ratios = ratios // np.gcd.reduce(ratios, axis=1, keepdims=True)
    return np.unique(ratios, axis=0).astype(np.int64)


def random_ratios(
    num_auxiliaries: int, num_trials: int, rng: np.random.Generator
) -> list[tuple[int, ...]]:
    """Ratios as the published reproduction drew them: the primary and one auxiliary above 0.

    Args:
        num_auxiliaries: K, at least 1.
        num_trials: how many.
        rng: draws them.
    """
    drawn: list[tuple[int, ...]] = []
    while len(drawn) < num_trials:
        ratios = rng.integers(MAX_RATIO + 1, size=1 + num_auxiliaries)
        if ratios[0] and ratios[1:].any():
            drawn.append(tuple(ratios.tolist()))
    return drawn


def optimise_ratios(
    score: RatioScore, num_auxiliaries: int, num_trials: int, rng: np.random.Generator
) -> None:
    """Scores the ratios that promise most, one after another.

    Guo et al. 2019 (AUTOSEM), stage 2: a Gaussian process models the score over the mixtures,
    and the next trial is where the expected improvement is largest. No trial is made twice.

    Args:
        score: scores one choice; an undefined score counts as the worst so far.
        num_auxiliaries: K, at least 1.
        num_trials: how many choices are scored; fewer where there are not so many.
        rng: draws the first random choices and restarts the fit.
    """
    grid = ratio_grid(num_auxiliaries, rng)
    equal = int(np.flatnonzero((grid == 1).all(axis=1))[0])
    others = np.delete(np.arange(len(grid)), equal)
    upcoming = [equal, *rng.choice(others, size=INITIAL_TRIALS - 1, replace=False).tolist()]
    # Ratios are a direction: what the model gets of each task is its share of the steps.
    shares = grid / grid.sum(axis=1, keepdims=True)
    tried: list[int] = []
    scores: list[Score] = []
    while len(tried) < min(num_trials, len(grid)):
        index = upcoming.pop(0) if upcoming else _most_promising(shares, tried, scores, rng)
        scores.append(score(tuple(grid[index].tolist())))
        tried.append(index)


def _most_promising(
    shares: FloatArray, tried: list[int], scores: Sequence[Score], rng: np.random.Generator
) -> int:
    """The untried row of shares (M, 1 + K) with the largest expected improvement."""
    # Imported late: scikit-learn takes seconds, and only this method needs it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import Matern, WhiteKernel

    values = _standardised(scores)
    process = GaussianProcessRegressor(
        Matern(length_scale=0.5, length_scale_bounds=(0.05, 5.0), nu=2.5)
        + WhiteKernel(noise_level=0.1, noise_level_bounds=(1e-4, 1.0)),
        n_restarts_optimizer=2,
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        # A length scale or noise at its bound is as good an answer as another.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(shares[tried], values)
    mean, deviation = process.predict(shares, return_std=True)
    # Of the score itself: another run's noise is no improvement.
    deviation = np.sqrt(np.maximum(deviation**2 - process.kernel_.k2.noise_level, 1e-12))
    # The best mean, not the best score, which may owe its place to noise.
    improvement = expected_improvement(mean, deviation, best=float(mean[tried].max()))
    improvement[tried] = -1.0
    return int(improvement.argmax())


def expected_improvement(mean: FloatArray, deviation: FloatArray, best: float) -> FloatArray:
    """E[max(f - best, 0)] for normal f.

    Args:
        mean: shape (M,).
        deviation: standard deviations above 0, shape (M,).
        best: what is to be improved on.

    Returns:
        Shape (M,), at least 0.
    """
    from scipy.stats import norm

    units = (mean - best) / deviation
    expected: FloatArray = (mean - best) * norm.cdf(units) + deviation * norm.pdf(units)
    return expected


def _standardised(scores: Sequence[Score]) -> FloatArray:
    """Scores with mean 0 and standard deviation 1; undefined ones count as the worst."""
    worst = min((score for score in scores if score is not None), default=0.0)
    values = np.array([worst if score is None else score for score in scores])
    spread = values.std()
    centred: FloatArray = values - values.mean()
    return centred / spread if spread > 0 else centred
