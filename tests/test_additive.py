"""The additive model: least squares where nothing is believed, the belief where it is certain."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gradts_plugin.selection.additive import GRID, AdditiveModel
from gradts_plugin.selection.designs import full_design

ALL = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
SINGLES = np.eye(2, dtype=np.int64)

#: One point: effects may be anything, and sets add up; and one where there can be none.
FLAT = ((300.0, 1e-9, 1e-9, 1e-9, 0),)
#: Sets add up, whatever they do.
ADDING = tuple(point for point in GRID if point[-1] == 0)

NOTHING = ((1e-6, 1e-6, 1e-6, 1e-6, 0),)


def test_with_a_flat_prior_effects_are_those_of_least_squares():
    # b1 = (0.54 - 0.50 + 0.57 - 0.51) / 2, b2 = (0.51 - 0.50 + 0.57 - 0.54) / 2
    model = AdditiveModel(ALL, [0] * 4, [0.50, 0.54, 0.51, 0.57], [0, 0], FLAT)
    np.testing.assert_allclose(model.means(SINGLES), [0.05, 0.02], atol=1e-5)
    np.testing.assert_allclose(model.means(np.array([[1, 1]])), [0.07], atol=1e-5)


def test_each_seed_has_a_mean_of_its_own():
    scores = [0.50, 0.54, 0.51, 0.57]
    shifted = [*scores, *(score - 0.2 for score in scores)]
    model = AdditiveModel(np.vstack([ALL, ALL]), [0] * 4 + [1] * 4, shifted, [0, 0], FLAT)
    np.testing.assert_allclose(model.means(SINGLES), [0.05, 0.02], atol=1e-5)


def test_the_interval_is_that_of_least_squares_with_the_prior_counted_as_one_score():
    # Residuals are +-0.01 / 2: squares 4 * 0.005^2 + 0.01^2 over 4 - 1 + 1 degrees of freedom, and
    # an effect has the variance of a score. t(0.975, 4) = 2.7764.
    model = AdditiveModel(ALL, [0] * 4, [0.50, 0.54, 0.51, 0.57], [0, 0], FLAT)
    found = model.gain(SINGLES[0])
    spread = np.sqrt((4 * 0.005**2 + 0.01**2) / 4)
    assert found.gain == pytest.approx(0.05, abs=1e-5)
    assert found.low == pytest.approx(0.05 - 2.7764 * spread, abs=1e-4)
    assert found.high == pytest.approx(0.05 + 2.7764 * spread, abs=1e-4)


def test_with_a_certain_prior_the_scores_change_nothing():
    model = AdditiveModel(ALL, [0] * 4, [0.50, 0.54, 0.51, 0.57], [0, 0], NOTHING)
    np.testing.assert_allclose(model.means(SINGLES), [0.0, 0.0], atol=1e-9)


def test_a_ranking_that_decides_all_puts_effects_on_a_line():
    # u and D are 0: b_i = c z_i with z = (1, -1), so b1 = -b2 = half of what least squares say
    # they differ by.
    line = ((1e-6, 1e-6, 300.0, 1e-6, 0),)
    model = AdditiveModel(ALL, [0] * 4, [0.50, 0.54, 0.48, 0.53], [3.0, 1.0], line)
    effects = np.array([0.045, -0.015])
    np.testing.assert_allclose(
        model.means(SINGLES), [effects @ [0.5, -0.5], effects @ [-0.5, 0.5]], atol=1e-5
    )


def test_what_is_known_beforehand_is_where_effects_begin():
    known = [0.02, -0.01]
    certain = AdditiveModel(ALL, [0] * 4, [0.50, 0.54, 0.51, 0.57], [0, 0], NOTHING, offsets=known)
    np.testing.assert_allclose(certain.means(ALL), [0.0, 0.02, -0.01, 0.01], atol=1e-9)
    assert certain.gain(SINGLES[1]).gain == pytest.approx(-0.01)
    # Where nothing is believed it changes nothing.
    flat = AdditiveModel(ALL, [0] * 4, [0.50, 0.54, 0.51, 0.57], [0, 0], FLAT, offsets=known)
    np.testing.assert_allclose(flat.means(SINGLES), [0.05, 0.02], atol=1e-5)


def test_effects_that_were_known_beforehand_are_told_as_if_they_were_none():
    known = np.array([0.03, -0.02])
    scores = np.array([0.50, 0.51, 0.49, 0.52])
    none = AdditiveModel(ALL, [0] * 4, scores.tolist(), [2, 1], ADDING)
    above = (scores + ALL @ known).tolist()
    told = AdditiveModel(ALL, [0] * 4, above, [2, 1], ADDING, offsets=known)
    for row in ALL[1:]:
        before, after = none.gain(row), told.gain(row)
        for end in ("gain", "low", "high"):
            assert getattr(after, end) == pytest.approx(getattr(before, end) + row @ known)
    # All that the known effects explain is explained: errors are the same, and scores vary more.
    varied = np.square(scores - scores.mean()).sum()
    more = np.square(scores + ALL @ known - (scores + ALL @ known).mean()).sum()
    assert 1 - told.fit == pytest.approx((1 - none.fit) * varied / more)


def test_the_best_set_is_made_of_what_helps_and_no_larger_than_asked_for():
    sets = full_design(4)
    scores = 0.5 + sets @ [0.05, -0.04, 0.03, 0.02]
    model = AdditiveModel(sets, [0] * 8, scores.tolist(), [0] * 4)
    assert model.best(4).tolist() == [1, 0, 1, 1]
    # Of pairs that were not tried the best; nothing larger that was not tried.
    singles = np.vstack([np.zeros((1, 4), dtype=np.int64), np.eye(4, dtype=np.int64)])
    few_scores = (0.5 + singles @ [0.05, -0.04, 0.03, 0.02]).tolist()
    told = AdditiveModel(singles, [0] * 5, few_scores, [0] * 4)
    assert told.best(2).tolist() == [1, 0, 1, 0]
    assert told.best(1).tolist() == [1, 0, 0, 0]
    few = AdditiveModel(sets[:1].repeat(2, axis=0), [0, 0], [0.5, 0.5], [0] * 4)
    assert few.best(2).tolist() == [1, 0, 0, 0]  # nothing is known: one, the first


def test_a_set_that_was_tried_may_be_better_or_worse_than_its_members():
    sets = np.vstack([ALL] * 3)
    seeds = np.repeat([0, 1, 2], 4).tolist()
    noise = np.array([0.001, -0.001, 0.0, 0.0, 0.0, 0.001, -0.001, 0, 0, 0, 0.001, -0.001])
    scores = np.tile([0.50, 0.55, 0.54, 0.45], 3) + noise
    model = AdditiveModel(sets, seeds, scores.tolist(), [0, 0])
    assert model.best(2).tolist() == [1, 0]
    assert model.gain(np.array([1, 1])).p_helps < 0.1


def test_where_effects_are_averaged_a_set_is_worth_what_its_members_are_on_average():
    # b = (0.04, 0.02): averaged the pair is worth 0.03, where it would be worth 0.06.
    averaged = ((300.0, 1e-9, 1e-9, 1e-9, 1),)
    scores = [0.50, 0.54, 0.52, 0.53]
    model = AdditiveModel(ALL, [0] * 4, scores, [0, 0], averaged)
    np.testing.assert_allclose(model.means(SINGLES), [0.04, 0.02], atol=1e-5)
    np.testing.assert_allclose(model.means(np.array([[1, 1]])), [0.03], atol=1e-5)
    known = [0.02, -0.01]
    certain = AdditiveModel(
        ALL, [0] * 4, scores, [0, 0], ((1e-6, 1e-6, 1e-6, 1e-6, 1),), offsets=known
    )
    np.testing.assert_allclose(certain.means(ALL), [0.0, 0.02, -0.01, 0.005], atol=1e-9)


def test_the_scores_say_whether_effects_add_up_or_are_averaged():
    every = np.array(list(itertools.product((0, 1), repeat=3)))
    effects = np.array([0.2, 0.1, -0.1])
    added = AdditiveModel(every, [0] * 8, (0.5 + every @ effects).tolist(), [0] * 3)
    members = every / np.maximum(every.sum(axis=1, keepdims=True), 1)
    averaged = AdditiveModel(every, [0] * 8, (0.5 + members @ effects).tolist(), [0] * 3)
    pair, first = np.array([1, 1, 0]), np.array([1, 0, 0])
    assert added.gain(pair).gain == pytest.approx(0.3, abs=0.01)
    assert averaged.gain(pair).gain == pytest.approx(0.15, abs=0.01)
    # Averaged, nothing is better than the best one alone.
    assert added.best(3).tolist() == pair.tolist()
    assert averaged.best(3).tolist() == first.tolist()


def test_fit_is_near_one_where_effects_add_up_and_not_above_nothing_where_all_is_chance():
    sets = np.vstack([full_design(3)] * 2)
    seeds = [0] * 8 + [1] * 8
    noise = np.random.default_rng(1).normal(0, 0.01, 16)
    added = 0.5 + sets @ [0.1, -0.1, 0.05] + noise
    assert AdditiveModel(sets, seeds, added.tolist(), [0] * 3).fit > 0.9
    assert AdditiveModel(sets, seeds, (0.5 + noise).tolist(), [0] * 3).fit < 0.3
    assert AdditiveModel(sets[:3], [0, 0, 1], added[:3].tolist(), [0] * 3).fit is None


def believed_worlds(number):
    """Gains of two candidates and a set, drawn as the prior says, and what scores tell of them."""
    stream = np.random.default_rng(5)
    sets = full_design(6)
    for _ in range(number):
        scales = GRID[stream.integers(len(GRID))]
        spread = 0.01 / np.abs(stream.normal())  # as of one score that is 0.01 off
        own, common, ranked, beyond = (spread * scale for scale in scales[:4])
        members = sets / np.maximum(sets.sum(axis=1, keepdims=True), 1) ** scales[4]
        values = stream.normal(size=6)
        standard = (values - values.mean()) / values.std()
        slope, level = ranked * stream.normal(), common * stream.normal()
        effects = level + slope * standard + own * stream.normal(size=6)
        gains = members @ effects + beyond * stream.normal(size=8) * (sets.sum(axis=1) > 1)
        scores = 0.6 + gains + spread * stream.normal(size=8)
        model = AdditiveModel(sets, [0] * 8, scores.tolist(), values.tolist())
        singles = np.eye(6, dtype=np.int64)
        yield effects[0], model.gain(singles[0])
        yield effects[5], model.gain(singles[5])
        yield gains[4], model.gain(sets[4])


def test_what_it_says_with_a_probability_is_true_as_often():
    drawn = list(believed_worlds(250))
    stated = np.array([gain.p_helps for _, gain in drawn])
    came_true = np.array([true > 0 for true, _ in drawn])
    for low, high in ((0.0, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.0)):
        among = (stated >= low) & (stated <= high)
        assert among.sum() > 60
        assert stated[among].mean() == pytest.approx(came_true[among].mean(), abs=0.07)
    assert np.mean([gain.low < true < gain.high for true, gain in drawn]) == pytest.approx(
        0.95, abs=0.025
    )


def worlds(number, *, relation):
    """Simulated searches: true effects worth 2 spreads, and the model of their scores.

    Args:
        number: how many.
        relation: correlation of effects with what candidates are ranked by; None: all are ranked
            alike.
    """
    stream = np.random.default_rng(5)
    sets = full_design(6)
    for _ in range(number):
        values, own, noise = stream.normal(size=6), stream.normal(size=6), stream.normal(size=8)
        share = relation or 0.0
        effects = 0.02 * (share * values + np.sqrt(1 - share**2) * own)
        scores = 0.6 + sets @ effects + 0.01 * noise
        ranked_by = np.zeros(6) if relation is None else values
        yield effects, AdditiveModel(sets, [0] * 8, scores.tolist(), ranked_by.tolist(), ADDING)


def mean_error(relation):
    """Of the expected effects, in squared spreads of a score."""
    singles = np.eye(6, dtype=np.int64)
    return np.mean(
        [
            np.square((model.means(singles) - effects) / 0.01).mean()
            for effects, model in worlds(150, relation=relation)
        ]
    )


def test_a_good_ranking_saves_trainings_and_a_misleading_one_is_overruled():
    unranked, good, nothing, opposite = (mean_error(at) for at in (None, 0.98, 0.0, -0.98))
    # Half the error is what twice the trainings would bring.
    assert good < 0.5 * unranked
    assert nothing < 1.15 * unranked
    assert opposite == pytest.approx(good, rel=0.25)  # as good, once the scores have shown it
