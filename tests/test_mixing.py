"""In which ratio tasks are mixed: the grid, and the search in it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from gradts_plugin.selection import mixing


@pytest.mark.parametrize("num_auxiliaries", [1, 2, 3, 5])
def test_the_grid_holds_every_mixture_once(num_auxiliaries):
    grid = mixing.ratio_grid(num_auxiliaries, np.random.default_rng(0))
    assert grid.shape[1] == 1 + num_auxiliaries
    assert grid[:, 0].min() == 1
    assert (grid.min(), grid.max()) == (0, 9)
    assert (np.gcd.reduce(grid, axis=1) == 1).all()
    assert len(np.unique(grid, axis=0)) == len(grid) <= mixing.GRID_SIZE
    assert (grid == 1).all(axis=1).sum() == 1
    if num_auxiliaries <= 2:
        every = itertools.product(range(1, 10), *[range(10)] * num_auxiliaries)
        assert grid.tolist() == [list(row) for row in every if math.gcd(*row) == 1]


def test_a_grid_of_just_the_size_is_searched_whole(monkeypatch):
    whole = mixing.ratio_grid(1, np.random.default_rng(0))
    monkeypatch.setattr(mixing, "GRID_SIZE", 9 * 10)
    assert mixing.ratio_grid(1, np.random.default_rng(0)).tolist() == whole.tolist()
    monkeypatch.setattr(mixing, "GRID_SIZE", 9 * 10 - 1)
    assert len(mixing.ratio_grid(1, np.random.default_rng(0))) < len(whole)


def test_expected_improvement_by_hand():
    expected = mixing.expected_improvement(
        np.array([1.0, 1.0, 3.0, 0.0]), np.array([1.0, 2.0, 1e-6, 1e-6]), best=1.0
    )
    density = 1 / math.sqrt(2 * math.pi)
    assert expected == pytest.approx([density, 2 * density, 2.0, 0.0])


def peaked(ratios, peak=(0.55, 0.3, 0.15)):
    """What a mixture of three tasks scores."""
    shares = np.array(ratios) / sum(ratios)
    return 1.0 - float(((shares - peak) ** 2).sum())


def test_optimised_ratios_beat_random_ones_of_the_same_number():
    optimised, at_random = [], []
    for seed in range(12):
        noise = np.random.default_rng(seed).normal(scale=0.005, size=10)
        found = []

        def score(ratios, found=found, noise=noise):
            found.append(peaked(ratios))
            return found[-1] + noise[len(found) - 1]

        mixing.optimise_ratios(score, 2, 10, np.random.default_rng(seed))
        assert len(found) == 10
        optimised.append(max(found))
        drawn = mixing.random_ratios(2, 10, np.random.default_rng(seed))
        at_random.append(max(peaked(ratios) for ratios in drawn))
    # What is left to gain is halved at least.
    assert 1 - np.mean(optimised) < (1 - np.mean(at_random)) / 2


def test_the_next_mixture_is_judged_by_the_score_itself_and_against_the_best_mean():
    # Of the process, which also knows the noise of single trainings: neither does that noise
    # count as an improvement to come, nor is a lucky score what has to be improved on.
    grid = mixing.ratio_grid(1, np.random.default_rng(0))
    shares = grid / grid.sum(axis=1, keepdims=True)
    stream = np.random.default_rng(1)
    tried = stream.choice(len(grid), size=9, replace=False).tolist()
    scores = stream.normal(scale=0.4, size=9) - 4 * (shares[tried, 0] - 0.6) ** 2
    found = mixing._most_promising(shares, tried, scores.tolist(), np.random.default_rng(0))

    standardised = (scores - scores.mean()) / scores.std()
    process = GaussianProcessRegressor(
        Matern(length_scale=0.5, length_scale_bounds=(0.05, 5.0), nu=2.5)
        + WhiteKernel(noise_level=0.1, noise_level_bounds=(1e-4, 1.0)),
        n_restarts_optimizer=2,
        random_state=int(np.random.default_rng(0).integers(2**31)),
    ).fit(shares[tried], standardised)
    mean, with_noise = process.predict(shares, return_std=True)
    without = np.sqrt(np.maximum(with_noise**2 - process.kernel_.k2.noise_level, 1e-12))

    def choice(deviation, best):
        improvement = mixing.expected_improvement(mean, deviation, best)
        improvement[tried] = -1.0
        return int(improvement.argmax())

    best_mean, best_score = mean[tried].max(), standardised.max()
    assert found == choice(without, best_mean)
    assert found != choice(with_noise, best_mean)
    assert found != choice(without, best_score)


def test_no_mixture_is_tried_twice_and_equal_ratios_come_first():
    tried = []
    mixing.optimise_ratios(tried.append, 1, 1000, np.random.default_rng(0))
    assert tried[0] == (1, 1)
    assert sorted(tried) == [tuple(row) for row in mixing.ratio_grid(1, np.random.default_rng(0))]


def test_random_ratios_are_one_for_each_task():
    drawn = mixing.random_ratios(3, 50, np.random.default_rng(0))
    assert {len(ratios) for ratios in drawn} == {4}
    assert all(ratios[0] > 0 and any(ratios[1:]) for ratios in drawn)
    assert max(max(ratios) for ratios in drawn) == 9


@pytest.mark.parametrize(("num_trials", "modelled"), [(4, 0), (5, 1)])
def test_the_first_trials_are_equal_parts_and_random_ones(monkeypatch, num_trials, modelled):
    asked = []

    def most_promising(shares, tried, scores, rng):
        asked.append(tried[:])
        return int(np.setdiff1d(np.arange(len(shares)), tried)[0])

    monkeypatch.setattr(mixing, "_most_promising", most_promising)
    scored = []

    def score(ratios):
        scored.append(ratios)
        return 0.5

    mixing.optimise_ratios(score, 2, num_trials, np.random.default_rng(0))
    assert len(asked) == modelled
    assert scored[0] == (1, 1, 1)
    assert len(set(scored)) == num_trials
