"""Gains: paired by seed and by instance, with an interval that covers what it says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from gradts_plugin.gains.gain import (
    SeedSpread,
    believed_error,
    gain_among,
    gain_of,
    pooled_spread,
)
from gradts_plugin.gains.shrinkage import p_helps
from gradts_plugin.records import Predictions, Trial
from gradts_plugin.scores import Gain

HITS = (1, 1, 0, 1, 0, 1, 1, 0)


def predicted(values, *, metric="mean", ids=None):
    values = np.asarray(values, float).reshape(len(values), -1)
    return Predictions(metric, np.arange(len(values)) if ids is None else np.array(ids), values)


def trial(*scores, name="a", hits=(), tests=()):
    predictions = tuple({"dev": predicted(one)} for one in hits)
    return Trial((name,) if name else (), scores, predictions=predictions, test_scores=tests)


def alone(*scores, **given):
    return trial(*scores, name="", **given)


def test_without_predictions_the_interval_is_students():
    gain = gain_of(trial(0.62, 0.68), alone(0.60, 0.60))
    assert gain.gain == pytest.approx(0.05)
    # Differences .02 and .08: their sd over sqrt(2) is .03, one degree of freedom.
    reach = stats.t.ppf(0.975, 1) * 0.03
    assert (gain.low, gain.high) == pytest.approx((0.05 - reach, 0.05 + reach), rel=0.02)
    assert gain.p_helps == pytest.approx(stats.t.cdf(0.05 / 0.03, 1), abs=0.001)
    assert (gain.num_seeds, gain.num_instances, gain.covers) == (2, 0, ("seeds",))


def test_a_spread_of_the_whole_run_replaces_that_of_two_seeds():
    gain = gain_of(trial(0.62, 0.68), alone(0.60, 0.60), seed_spread=SeedSpread(0.02, 12))
    reach = stats.t.ppf(0.975, 12) * 0.02 / np.sqrt(2)
    assert (gain.low, gain.high) == pytest.approx((0.05 - reach, 0.05 + reach), rel=0.01)


def test_one_seed_without_predictions_says_nothing_of_its_certainty():
    assert gain_of(trial(0.7), alone(0.6)) == Gain(
        pytest.approx(0.1), None, None, None, num_seeds=1, num_instances=0, covers=()
    )


def test_a_spread_of_others_covers_the_one_seed():
    gain = gain_of(trial(0.7), alone(0.6), seed_spread=SeedSpread(0.1, 1000))
    assert gain.covers == ("seeds",)
    assert gain.p_helps == pytest.approx(stats.norm.cdf(1), abs=0.002)


def test_common_seeds_only():
    gain = gain_of(trial(0.7, 0.6), alone(0.6, 0.5, 0.1))
    assert (gain.gain, gain.num_seeds) == (pytest.approx(0.1), 2)


def test_an_undefined_score_leaves_the_gain_undefined():
    gain = gain_of(trial(0.7, None), alone(0.6, 0.5))
    assert (gain.gain, gain.low, gain.high, gain.p_helps) == (None, None, None, None)
    assert gain.shown == "gain undefined"


def test_one_seed_draws_its_instances():
    own, other = trial(0.625, hits=[HITS]), alone(0.5, hits=[(1, 1, 0, 1, 0, 1, 0, 0)])
    gain = gain_of(own, other)
    # One instance of eight differs: the gain of a draw is how often it is drawn, over 8.
    times = np.random.default_rng(0).binomial(8, 1 / 8, size=100_000)
    assert gain.covers == ("instances",)
    assert gain.num_instances == 8
    assert (gain.low, gain.high) == (0, 0.375)
    assert 0.5 < gain.p_helps < np.mean(times > 0) + np.mean(times == 0) / 2  # seeds are unknown
    assert gain.shown == (
        "gain +0.125, 95 % interval [+0.000, +0.375], "
        f"helps with probability {gain.p_helps:.2f}, one seed"
    )


def test_what_one_seed_does_not_show_makes_p_helps_less_sure():
    values = np.random.default_rng(3).normal(0.05, 1, 1000)
    gain = gain_of(trial(values.mean(), hits=[values]), alone(0.0, hits=[np.zeros(1000)]))
    error = values.std() / np.sqrt(1000)
    assert gain.standard_error == pytest.approx(error, rel=0.05)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    # Seeds have twice the variance of instances, it is taken for granted: three times in all.
    sure = stats.norm.cdf(values.mean() / (np.sqrt(3) * error))
    assert gain.p_helps == pytest.approx(sure, abs=0.02)
    assert believed_error(gain) == pytest.approx(np.sqrt(3) * gain.standard_error)
    known = gain_of(trial(0.7), alone(0.6), seed_spread=SeedSpread(0.1, 1000))
    assert believed_error(known) == known.standard_error
    assert believed_error(gain_of(trial(0.7), alone(0.6))) == 0


def test_both_trials_and_all_seeds_see_the_same_draw():
    """A constant difference of every instance has no instance error, whatever is drawn."""
    low, high = np.array([0.1, 0.5, 0.9]), np.array([0.2, 0.3, 0.7])
    gain = gain_of(trial(0.6, 0.5, hits=[low + 0.1, high + 0.1]), alone(0.5, 0.4, hits=[low, high]))
    assert gain.covers == ("seeds", "instances")
    assert (gain.low, gain.high) == pytest.approx((0.1, 0.1))


def test_seeds_and_instances_err_together():
    """What single trainings do to single instances is in the seeds' spread, and counted once."""
    rng = np.random.default_rng(1)
    common, own_part = rng.normal(size=400), rng.normal(size=(2, 400))
    values = common + own_part - own_part.mean(axis=1, keepdims=True)
    own = trial(*values.mean(axis=1), hits=list(values))
    other = alone(0.0, 0.0, hits=np.zeros((2, 400)))
    gain = gain_of(own, other, seed_spread=SeedSpread(0.08, 10_000), num_draws=20_000)
    shared = np.cov(values)[0, 1]  # of both seeds: close to the variance of `common`, 1
    sd = np.sqrt(0.08**2 / 2 + shared / 400)
    assert (gain.high - gain.low) / 2 == pytest.approx(1.96 * sd, rel=0.03)


def test_a_metric_that_is_no_mean_is_computed_anew_on_each_draw():
    """A hit is 1 of 3 of F1's denominators: the draws follow F1 of rows, not a mean."""
    own = Trial(("a",), (1.0,), predictions=({"dev": predicted([[1, 1], [0, 0]], metric="f1")},))
    other = Trial((), (0.0,), predictions=({"dev": predicted([[0, 1], [0, 0]], metric="f1")},))
    gain = gain_of(own, other)
    # A quarter of the draws has no positive instance, and there both are 0; the others gain 1, with
    # twice the variance 3/16 of that for other seeds.
    above = stats.norm.cdf(1 / np.sqrt(2 * 3 / 16))
    assert gain.p_helps == pytest.approx(0.75 * above + 0.25 / 2, abs=0.02)
    assert (gain.low, gain.high) == (0, 1)


@pytest.mark.parametrize(
    "other",
    [
        {"dev": predicted(HITS, ids=range(1, 9))},
        {"dev": predicted(HITS, metric="accuracy")},
        {"test": predicted(HITS)},
        {},
    ],
    ids=["other instances", "other metric", "other split", "none"],
)
def test_what_does_not_match_is_not_paired(other):
    gain = gain_of(trial(0.6, hits=[HITS]), Trial((), (0.5,), predictions=(other,)))
    assert (gain.covers, gain.num_instances, gain.p_helps) == ((), 0, None)


def test_a_seed_without_predictions_leaves_seeds_only():
    own = trial(0.6, 0.7, hits=[HITS])
    gain = gain_of(own, alone(0.5, 0.5, hits=[HITS, HITS]))
    assert gain.covers == ("seeds",)


def test_test_scores_are_compared_on_the_test_split():
    own = Trial(("a",), (0.1,), test_scores=(0.75,), predictions=({"test": predicted([1, 0.5])},))
    other = Trial((), (0.9,), test_scores=(0.25,), predictions=({"test": predicted([0.5, 0])},))
    gain = gain_of(own, other, split="test")
    assert (gain.gain, gain.low, gain.high) == (0.5, 0.5, 0.5)


def test_the_seed_decides_the_draws():
    own, other = trial(0.625, hits=[HITS]), alone(0.5, hits=[HITS[::-1]])
    assert gain_of(own, other) == gain_of(own, other)
    assert gain_of(own, other).p_helps != gain_of(own, other, seed=1).p_helps


def test_nobody_is_certain():
    gain = gain_of(trial(0.9, 0.9), alone(0.5, 0.5), num_draws=99)
    assert gain.p_helps == 0.99
    assert gain_of(alone(0.5, 0.5), trial(0.9, 0.9), num_draws=99).p_helps == pytest.approx(0.01)
    assert gain_of(trial(0.5, 0.5), alone(0.5, 0.5)).p_helps == 0.5


def test_many_instances_are_drawn_in_blocks():
    values = np.random.default_rng(2).normal(size=9_000)
    own = trial(values.mean(), hits=[values])
    gain = gain_of(own, alone(0.0, hits=[np.zeros(9_000)]), num_draws=1000)
    assert (gain.high - gain.low) / 2 == pytest.approx(
        1.96 * values.std() / np.sqrt(9_000), rel=0.1
    )


def test_a_pooled_spread_of_one_trial_is_its_own():
    spread = pooled_spread([trial(0.62, 0.68, 0.61)], alone(0.60, 0.60, 0.60))
    assert spread.sd == pytest.approx(np.std([0.02, 0.08, 0.01], ddof=1))
    assert spread.degrees_of_freedom == 2


def test_what_a_seed_does_to_all_trials_is_no_spread():
    trials = [trial(0.5, 0.7, name="a"), trial(0.6, 0.8, name="b")]
    spread = pooled_spread(trials, alone(0.1, 0.3))
    assert spread.sd == pytest.approx(0, abs=1e-12)
    assert spread.degrees_of_freedom == 2


def test_trials_with_one_seed_add_nothing_to_the_spread():
    both = [trial(0.62, 0.68, name="a"), alone(0.60, 0.60)]
    spread = pooled_spread([*both, trial(0.9, name="b")], both[1])
    assert spread.sd == pytest.approx(np.std([0.02, 0.08], ddof=1))
    assert spread.degrees_of_freedom == 1
    assert pooled_spread([trial(0.9), trial(0.5, name="b")], alone(0.5)) is None
    assert pooled_spread([], alone(None)) is None


@pytest.mark.parametrize(
    "other", [{"longer": True}, {"mixing_ratios": {"a": 2}}, {"num_kept": {"a": 2}}]
)
def test_trainings_of_the_same_tasks_that_differ_are_other_trials(other):
    first = replace(trial(0.62, 0.68), mixing_ratios={"a": 1}, num_kept={"a": 1})
    spread = pooled_spread([first, replace(first, scores=(0.5, 0.6), **other)], alone(0.6, 0.6))
    assert spread.degrees_of_freedom == 2  # six scores, three levels and one seed beside another


def simulated(rng, num_seeds, gains, noise=0.02):
    """Scores of trials: their own gain, the seed's level, and an error."""
    levels = rng.normal(0, 0.03, num_seeds)
    rows = [gain + levels + rng.normal(0, noise, num_seeds) for gain in (0.0, *gains)]
    first, *others = [
        Trial((f"t{number}",) if number else (), tuple(row)) for number, row in enumerate(rows)
    ]
    return first, others


@pytest.mark.parametrize(("num_seeds", "num_trials"), [(2, 4), (3, 4), (3, 1)])
def test_intervals_cover_and_probabilities_mean_what_they_say(num_seeds, num_trials):
    rng = np.random.default_rng(num_seeds)
    covered, stated, helped = [], [], []
    for _ in range(400):
        gains = rng.normal(0, 0.03, num_trials)
        baseline, trials = simulated(rng, num_seeds, gains)
        spread = pooled_spread(trials, baseline)
        gain = gain_of(trials[0], baseline, seed_spread=spread, num_draws=400)
        covered.append(gain.low <= gains[0] <= gain.high)
        stated.append(gain.p_helps)
        helped.append(gains[0] > 0)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.03)
    order = np.argsort(stated)
    bins = [order[start:end] for start, end in pairwise(range(0, 401, 80))]
    errors = [abs(np.mean(np.take(stated, b)) - np.mean(np.take(helped, b))) for b in bins]
    assert np.mean(errors) < 0.08


def test_instances_and_seeds_together_are_calibrated():
    """Each training hits or misses each of 60 instances; true gains are known."""
    rng = np.random.default_rng(7)

    def trained(gain, number, ease, levels):
        hits = [rng.random(60) < np.clip(ease + gain + level, 0, 1) for level in levels]
        return trial(*(np.mean(one) for one in hits), name=f"{number or ''}", hits=hits)

    covered = []
    for _ in range(400):
        gains = [0.0, *rng.normal(0, 0.05, 4)]
        ease = rng.uniform(0.3, 0.7, 60)
        rows = [
            trained(gain, number, ease, rng.normal(0, 0.02, 3)) for number, gain in enumerate(gains)
        ]
        spread = pooled_spread(rows[1:], rows[0])
        gain = gain_of(rows[1], rows[0], seed_spread=spread, num_draws=200)
        covered.append(gain.low <= gains[1] <= gain.high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)


def test_without_a_spread_of_seeds_the_draws_keep_their_width():
    """A trial and itself have no two trials to judge seeds by: instances alone, whole."""
    values = np.random.default_rng(8).normal(size=(2, 300))
    own = alone(*values.mean(axis=1), hits=list(values))
    gain = gain_of(own, alone(0.0, 0.0, hits=np.zeros((2, 300))))
    assert gain.covers == ("instances",)
    sd = values.mean(axis=0).std() / np.sqrt(300)
    assert (gain.high - gain.low) / 2 == pytest.approx(1.96 * sd, rel=0.06)


@pytest.mark.parametrize(
    ("gain", "shown"),
    [
        (
            Gain(0.0412, 0.012, 0.069, 0.987, 2, 400, ("seeds", "instances")),
            "gain +0.041, 95 % interval [+0.012, +0.069], helps with probability 0.99",
        ),
        (
            Gain(-0.04, -0.06, -0.02, 0.0005, 2, 0, ("seeds",), 0.9),
            "gain -0.040, 90 % interval [-0.060, -0.020], helps with probability below 0.01",
        ),
        (
            Gain(0.04, 0.02, 0.06, 0.9995, 2, 0, ("seeds",)),
            "gain +0.040, 95 % interval [+0.020, +0.060], helps with probability above 0.99",
        ),
        (Gain(0.04, None, None, None, 1, 0, ()), "gain +0.040, one seed"),
    ],
)
def test_a_gain_reads_as_a_sentence(gain, shown):
    assert gain.shown == shown
    assert gain.shown_short == shown.removeprefix("gain ")


def test_the_length_of_alone_that_does_not_count_says_nothing_of_the_spread():
    unfinished = replace(alone(0.2, 0.9), longer=False)
    counted = replace(alone(0.60, 0.60), longer=True)
    trials = [unfinished, counted, trial(0.62, 0.68)]
    spread = pooled_spread(trials, counted)
    assert spread == pooled_spread(trials[1:], counted)
    assert spread.sd == pytest.approx(0.06 / np.sqrt(2))  # of the differences .02 and .08
    # Where sets are compared with each other, all trials count.
    assert pooled_spread(trials, trials[2]).degrees_of_freedom == 2


def test_among_others_p_helps_is_what_all_gains_make_likely():
    baseline, one = alone(0.60, 0.60), trial(0.62, 0.68)
    others = [trial(0.61, 0.61, name="b"), trial(0.58, name="c")]
    plain = gain_of(one, baseline, seed_spread=pooled_spread([one, *others], baseline))
    found = gain_among(one, baseline, others)
    # The third has half of the seeds.
    error = plain.standard_error
    expected = p_helps([0.05, 0.01, -0.02], [error, error, error * np.sqrt(2)])[0]
    assert found == replace(plain, p_helps=pytest.approx(expected))
    # A trial that was made twice, with the same or further seeds, counts once; alone never does.
    again = [trial(0.62, name="a"), *others, alone(0.63), *others]
    assert gain_among(one, baseline, again).p_helps == found.p_helps


def test_among_others_one_seed_is_as_unsure():
    rng = np.random.default_rng(4)
    baseline = alone(0.0, hits=[np.zeros(500)])
    one, *others = [
        trial(hits.mean(), name=name, hits=[hits])
        for name, hits in ((name, rng.normal(0.1, 1, 500)) for name in "abc")
    ]
    plain = gain_of(one, baseline)
    means = [each.scores[0] for each in (one, *others)]
    expected = p_helps(means, [np.sqrt(3) * plain.standard_error] * 3)[0]
    assert gain_among(one, baseline, others).p_helps == pytest.approx(expected)


def test_over_another_set_a_gain_stands_for_itself():
    one, other = trial(0.62, 0.68), trial(0.60, 0.60, name="b")
    spread = pooled_spread([one], other)
    assert gain_among(one, other, [one, other]) == gain_of(one, other, seed_spread=spread)


def test_a_gain_among_others_may_be_unknown():
    assert gain_among(trial(None), alone(0.6), [trial(0.7, name="b")]).p_helps is None
    assert gain_among(trial(0.7), alone(0.6), []).p_helps is None
    assert gain_among(trial(0.7, 0.72), alone(0.6, 0.6), [trial(None, name="b")]).p_helps > 0.8


def test_the_standard_error_is_that_of_the_middle():
    gain = gain_of(trial(0.7), alone(0.6), seed_spread=SeedSpread(0.1, 1000))
    assert gain.standard_error == pytest.approx(0.1, rel=0.01)
    heavy = gain_of(trial(0.7), alone(0.6), seed_spread=SeedSpread(0.1, 2))
    assert heavy.standard_error == pytest.approx(0.1 * stats.t.ppf(0.841345, 2), rel=0.01)
