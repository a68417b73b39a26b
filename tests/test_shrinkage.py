"""Gains as they are expected given all of a run: what is taken off the best of many."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from gradts_plugin.gains.shrinkage import p_helps, shrunk, shrunk_mean
from gradts_plugin.scores import Gain


def gain(mean, error, confidence=0.95):
    """A gain with a normal interval."""
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error
    p = NormalDist(mean, error).cdf(2 * mean)
    covers = ("seeds", "instances")
    return Gain(mean, mean - half, mean + half, p, 2, 50, covers, confidence, error)


def test_one_gain_by_hand():
    # t is the standard error: half of the gain is believed, and half of the variance is left.
    (found,) = shrunk([gain(0.02, 0.01)], shared=0.0, grid=[(1.0, 0.0)])
    left = 0.01 / np.sqrt(2)
    assert found.gain == pytest.approx(0.01)
    assert found.standard_error == pytest.approx(left)
    assert (found.low, found.high) == pytest.approx(
        (0.01 - 1.959964 * left, 0.01 + 1.959964 * left)
    )
    assert found.p_helps == pytest.approx(NormalDist().cdf(np.sqrt(2)))


def test_the_error_of_the_baseline_is_in_both():
    # Variances: 1 of true gains, 1 of errors, half of it common. (1.5 I + 0.5 J)^-1 (2, 1) by
    # Sherman and Morrison: ((2, 1) - 0.2 * 3) / 1.5; what is left: 1 - 0.8 / 1.5.
    one, other = shrunk([gain(2.0, 1.0), gain(1.0, 1.0)], grid=[(1.0, 0.0)])
    assert (one.gain, other.gain) == pytest.approx((1.4 / 1.5, 0.4 / 1.5))
    assert one.standard_error == pytest.approx(np.sqrt(1 - 0.8 / 1.5))


def test_what_all_candidates_do_together():
    # c 1, t 0: both gains are one, 2 and 1 measured with variance 1 each: (2 + 1) / (2 + 1).
    grid = [(0.0, 1.0)]
    found = shrunk([gain(2.0, 1.0), gain(1.0, 1.0)], shared=0.0, grid=grid)
    assert [one.gain for one in found] == pytest.approx([1.0, 1.0])
    assert found[0].standard_error == pytest.approx(np.sqrt(1 / 3))


def test_what_is_known_worse_is_believed_less():
    # t 0.02, the median error: of a gain with error 0.01 4/5 is believed, with 0.04 1/5.
    found = shrunk(
        [gain(0.05, error) for error in (0.01, 0.02, 0.04)], shared=0.0, grid=[(1.0, 0.0)]
    )
    assert [one.gain for one in found] == pytest.approx([0.04, 0.025, 0.01])


def test_grid_points_are_weighted_by_how_well_they_explain_the_gains():
    # Densities of 3 under N(0, 1 + t^2): t 1 and t 2.
    (found,) = shrunk([gain(3.0, 1.0)], shared=0.0, grid=[(1.0, 0.0), (2.0, 0.0)])
    weights = np.array([NormalDist(0, np.sqrt(2)).pdf(3.0), NormalDist(0, np.sqrt(5)).pdf(3.0)])
    weights /= weights.sum()
    means, variances = np.array([1.5, 2.4]), np.array([0.5, 0.8])
    mean = weights @ means
    assert found.gain == pytest.approx(mean)
    assert found.standard_error == pytest.approx(
        np.sqrt(weights @ (variances + (means - mean) ** 2))
    )
    mixture = [NormalDist(m, v**0.5) for m, v in zip(means, variances, strict=True)]

    def below(value):
        return sum(w * one.cdf(value) for w, one in zip(weights, mixture, strict=True))

    assert found.p_helps == pytest.approx(1 - below(0.0))
    assert (below(found.low), below(found.high)) == pytest.approx((0.025, 0.975))


def test_a_gain_among_nothing_but_chance_is_believed_less_than_one_among_many():
    lonely = p_helps([0.02, 0.001, -0.002, 0.001, -0.001, 0.002], [0.01] * 6)[0]
    among = p_helps([0.02, 0.06, -0.05, 0.04, -0.03, 0.05], [0.01] * 6)[0]
    assert lonely < 0.92 < among


def test_gains_that_are_all_high_are_partly_a_baseline_that_is_low():
    alone = p_helps([0.015, -0.02, 0.02, -0.01], [0.01] * 4)[0]
    together = p_helps([0.015, 0.015, 0.015, 0.015], [0.01] * 4)[0]
    assert together < alone


def test_gains_that_differ_much_stay():
    before = [gain(x, 0.001) for x in (-0.5, 0.0, 0.5)]
    for one, found in zip(before, shrunk(before), strict=True):
        # The largest spread of the grid is 8 errors: 1 part in 65 is taken off.
        assert found.gain == pytest.approx(one.gain * 64 / 65, rel=0.02, abs=5e-3)


def test_everything_else_is_as_it_was():
    before = [gain(x, 0.01, confidence=0.8) for x in (0.0, 0.06, 0.03)]
    after = shrunk(before)
    names = ("gain", "low", "high", "p_helps", "standard_error")
    for one, found in zip(before, after, strict=True):
        assert replace(found, **{name: getattr(one, name) for name in names}) == one
    narrow = shrunk([gain(0.02, 0.01, confidence=0.8)], shared=0.0, grid=[(1.0, 0.0)])[0]
    assert narrow.high - narrow.gain == pytest.approx(1.281552 * 0.01 / np.sqrt(2), rel=1e-5)


def test_those_that_say_nothing_stay():
    undefined = Gain(None, None, None, None, 2, 0, ())
    unsure = Gain(0.3, None, None, None, 1, 0, ())
    few = [gain(0.0, 0.01), undefined, gain(0.06, 0.01), unsure]
    found = shrunk(few)
    assert (found[1], found[3]) == (undefined, unsure)
    assert [found[0], found[2]] == shrunk([few[0], few[2]])
    assert shrunk([undefined, unsure]) == [undefined, unsure]
    assert shrunk([]) == []


def test_gains_without_any_error():
    certain = replace(gain(0.1, 1e-3), low=0.1, high=0.1, standard_error=0.0)
    for found in shrunk([certain] * 3):
        assert found.p_helps > 0.5
        assert np.isfinite([found.gain, found.low, found.high]).all()


def test_a_mean_over_primaries_is_shrunk_by_how_few_they_are():
    assert shrunk_mean([0.05, -0.01]) == pytest.approx(0.02 * 2 / 5)
    assert shrunk_mean([0.04] * 9) == pytest.approx(0.04 * 9 / 12)
    assert shrunk_mean([]) == 0


def best_of_eight(number):
    """What the best gain says, plain and drawn in, and whether the set truly helps."""
    stream = np.random.default_rng(5)
    for _ in range(number):
        differ = stream.choice([0.2, 0.5, 1.0])
        true = 1.5 * stream.normal() + differ * stream.normal(size=8)
        # Each score errs by sqrt(1 / 2), so each gain by 1; the baseline's error is in all.
        errors = np.sqrt(0.5) * (stream.normal(size=8) - stream.normal())
        plain = [gain(float(x), 1.0) for x in true + errors]
        best = int(np.argmax(true + errors))
        yield plain[best].p_helps, shrunk(plain)[best].p_helps, true[best] > 0


def test_the_best_of_eight_helps_as_often_as_it_says_and_less_often_than_it_did():
    plain, drawn_in, came_true = np.array(list(best_of_eight(2500)), dtype=float).T
    for low, high in ((0.5, 0.9), (0.9, 1.0)):
        among = (drawn_in >= low) & (drawn_in <= high)
        assert among.sum() > 300
        assert drawn_in[among].mean() == pytest.approx(came_true[among].mean(), abs=0.04)
    among = (plain >= 0.5) & (plain < 0.9)
    assert plain[among].mean() > came_true[among].mean() + 0.15
    among = (plain >= 0.9) & (plain < 0.99)
    assert plain[among].mean() > came_true[among].mean() + 0.06
