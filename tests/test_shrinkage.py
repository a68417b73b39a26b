"""Gains drawn towards their mean: what is taken off the best of many, and what is not."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from gradts_plugin.gains.shrinkage import shrunk, shrunk_mean
from gradts_plugin.scores import Gain

Z = 1.959964


def gain(mean, error, confidence=0.95):
    """A gain with a normal interval."""
    half = NormalDist().inv_cdf((1 + confidence) / 2) * error
    p = NormalDist(mean, error).cdf(2 * mean)
    return Gain(mean, mean - half, mean + half, p, 2, 50, ("seeds", "instances"), confidence)


def shown(found):
    """Means, and the standard deviations that their intervals have."""
    return [one.gain for one in found], [(one.high - one.low) / (2 * Z) for one in found]


def test_equal_errors_by_hand():
    # m 0.03, Q = 18; t^2 = (18 - 2) / (3e4 - 1e4) = 8e-4; kept 8e-4 / 9e-4. What is left is
    # 8/9 of 1e-4, and 1/81 of the variance of the mean, 9e-4 / 3.
    means, spreads = shown(shrunk([gain(x, 0.01) for x in (0.0, 0.06, 0.03)], shared=0.0))
    kept = 8 / 9
    assert means == pytest.approx([0.03 - kept * 0.03, 0.03 + kept * 0.03, 0.03])
    assert spreads == pytest.approx([np.sqrt(kept * 1e-4 + 3e-4 / 81)] * 3, rel=1e-5)


def test_the_error_of_the_baseline_is_not_drawn_in():
    # Half of 1e-4 is common: Q = 36, t^2 = (36 - 2) / (6e4 - 2e4) = 8.5e-4, kept 8.5 / 9.
    means, spreads = shown(shrunk([gain(x, 0.01) for x in (0.0, 0.06, 0.03)]))
    kept = 8.5 / 9
    assert means == pytest.approx([0.03 - kept * 0.03, 0.03 + kept * 0.03, 0.03])
    left = kept * 5e-5 + (1 - kept) ** 2 * 3e-4 + 5e-5
    assert spreads == pytest.approx([np.sqrt(left)] * 3, rel=1e-5)


def test_what_is_known_worse_is_drawn_in_more():
    # Weights 1e4, 2500, 2500: m 0.035, Q = 7.875, t^2 = 5.875 / (15000 - 7500).
    between = 5.875 / 7500
    found = shrunk([gain(0.02, 0.01), gain(0.05, 0.02), gain(0.08, 0.02)], shared=0.0)
    sums = np.array([1e-4, 4e-4, 4e-4]) + between
    mean = (np.array([0.02, 0.05, 0.08]) / sums).sum() / (1 / sums).sum()
    kept = between / sums
    assert mean == pytest.approx(0.046949, abs=1e-6)
    assert [one.gain for one in found] == pytest.approx(
        kept * [0.02, 0.05, 0.08] + (1 - kept) * mean
    )
    # Half of the least squared error is common: all of it, the baseline having most seeds.
    _, spreads = shown(shrunk([gain(0.05, e) for e in (0.01, 0.02, 0.02)], shared=0.5))
    own = np.array([0.5e-4, 3.5e-4, 3.5e-4])
    assert spreads == pytest.approx([np.sqrt(1 / (1 / own).sum() + 0.5e-4)] * 3, rel=1e-5)


def test_gains_that_differ_no_more_than_chance_are_all_their_mean():
    # Own variances 2e-4: the mean has a third of that, and the common 2e-4.
    found = shrunk([gain(x, 0.02) for x in (0.01, 0.02, 0.03)])
    means, spreads = shown(found)
    assert means == pytest.approx([0.02] * 3)
    assert spreads == pytest.approx([np.sqrt(2e-4 / 3 + 2e-4)] * 3, rel=1e-5)
    expected = NormalDist(0.02, np.sqrt(2e-4 / 3 + 2e-4))
    assert found[0].p_helps == pytest.approx(1 - expected.cdf(0.0), rel=1e-6)


def test_gains_that_differ_much_stay():
    before = [gain(x, 0.001) for x in (-0.5, 0.0, 0.5)]
    for one, found in zip(before, shrunk(before), strict=True):
        assert found.gain == pytest.approx(one.gain, abs=1e-5)
        assert found.low == pytest.approx(one.low, abs=1e-5)


def test_everything_else_is_as_it_was():
    before = [gain(x, 0.01, confidence=0.8) for x in (0.0, 0.06, 0.03)]
    after = shrunk(before)
    for one, found in zip(before, after, strict=True):
        same = {name: getattr(one, name) for name in ("gain", "low", "high", "p_helps")}
        assert replace(found, **same) == one
    assert after[2].high - after[2].gain == pytest.approx(
        1.281552 * np.sqrt(8.5 / 9 * 5e-5 + 3e-4 / 18**2 + 5e-5), rel=1e-5
    )


def test_less_than_three_stay_and_so_do_those_that_say_nothing():
    undefined = Gain(None, None, None, None, 2, 0, ())
    unsure = Gain(0.3, None, None, None, 1, 0, ())
    few = [gain(0.0, 0.01), undefined, gain(0.06, 0.01), unsure]
    assert shrunk(few) == few
    found = shrunk([*few, gain(0.03, 0.01)])
    assert found[1] == undefined
    assert found[3] == unsure
    assert [found[n] for n in (0, 2, 4)] == shrunk([gain(x, 0.01) for x in (0.0, 0.06, 0.03)])
    assert shrunk([]) == []


def test_gains_without_any_error_stay():
    before = [gain(x, 1e-12) for x in (0.0, 0.1, 0.1)]
    assert [one.gain for one in shrunk(before)] == pytest.approx([0.0, 0.1, 0.1])
    certain = replace(gain(0.1, 1e-3), low=0.1, high=0.1)
    assert [one.gain for one in shrunk([certain] * 3)] == pytest.approx([0.1] * 3)


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
