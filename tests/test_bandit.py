"""AUTOSEM's bandit: its sums by hand, and what it learns."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gradts_plugin.selection.bandit import BetaBernoulliBandit

PUBLISHED = {"decay": 0.3, "alpha0": 1.0, "beta0": 1.0}


def bandit_of(arms, seed=0, **changes):
    return BetaBernoulliBandit(arms, **{**PUBLISHED, **changes}, seed=seed)


def round_on(bandit, arm, score):
    """One round in which a given arm is trained, whatever was drawn."""
    bandit.restore({**bandit.state(), "arm": arm})
    bandit.observe(score)


def test_posteriors_are_those_worked_by_hand():
    bandit = bandit_of(["p", "a"])
    rounds = [
        # arm, score, then alpha and beta of p and a
        (0, 0.5, [2.0, 1.0], [1.0, 1.0]),  # 0.5 >= 0: pays
        (1, 0.4, [1.7, 1.0], [1.0, 2.0]),  # 0.4 < 0.5
        (1, 0.4, [1.49, 2.0], [1.0, 1.7]),  # as good as before: pays
        (0, None, [1.343, 1.7], [2.0, 1.49]),  # counts as 0
        (1, 0.0, [1.2401, 2.49], [1.7, 1.343]),
    ]
    for arm, score, alpha, beta in rounds:
        round_on(bandit, arm, score)
        state = bandit.state()
        assert state["alpha"] == pytest.approx(alpha, abs=1e-12)
        assert state["beta"] == pytest.approx(beta, abs=1e-12)
    assert bandit.utilities == pytest.approx({"p": 1.2401 / 2.9401, "a": 2.49 / 3.833})
    assert bandit.rounds == {"p": 2, "a": 3}


def test_the_reproduction_learns_nothing_from_the_first_round():
    bandit = bandit_of(["p", "a"], first_round_counts=False)
    rounds = [
        # arm, score, then alpha and beta of p and a
        (0, 0.5, [1.0, 1.0], [1.0, 1.0]),  # nothing to compare with
        (1, 0.4, [1.0, 1.0], [1.0, 2.0]),  # 0.4 < 0.5
        (0, 0.4, [2.0, 1.0], [1.0, 1.7]),  # as good as before: pays
        (0, 0.3, [1.7, 1.0], [2.0, 1.49]),
    ]
    for arm, score, alpha, beta in rounds:
        round_on(bandit, arm, score)
        state = bandit.state()
        assert state["alpha"] == pytest.approx(alpha, abs=1e-12)
        assert state["beta"] == pytest.approx(beta, abs=1e-12)
    assert bandit.rounds == {"p": 3, "a": 1}
    assert bandit.identity != bandit_of(["p", "a"]).identity  # another run


def test_decay_leads_back_to_the_prior_and_its_absence_only_counts():
    forgetful = bandit_of(["p", "a"], decay=1.0, alpha0=2.0, beta0=3.0)
    counting = bandit_of(["p", "a"], decay=0.0, alpha0=2.0, beta0=3.0)
    for bandit in (forgetful, counting):
        for score in (0.1, 0.2, 0.3, 0.2):
            round_on(bandit, 0, score)
    assert (forgetful.state()["alpha"], forgetful.state()["beta"]) == ([2.0, 2.0], [4.0, 3.0])
    assert (counting.state()["alpha"], counting.state()["beta"]) == ([5.0, 2.0], [4.0, 3.0])


@pytest.mark.parametrize("seed", range(5))
def test_the_primary_is_trained_first(seed):
    bandit = bandit_of(["p", "a", "b", "c"], seed=seed)
    assert bandit.next_task() == "p"


@pytest.mark.parametrize("seed", range(8))
def test_the_one_task_that_helps_is_found(seed):
    bandit = bandit_of(["p", "a", "b", "c", "d"], seed=seed)
    score = 0.5
    for _ in range(100):
        score += 0.01 if bandit.next_task() == "c" else -0.01
        bandit.observe(score)
    candidates = {name: bandit.utilities[name] for name in "abcd"}
    assert [name for name, utility in candidates.items() if utility > 0.5] == ["c"]
    assert bandit.rounds["c"] == max(bandit.rounds.values())


def _play(bandit, rounds, noise):
    played = []
    for _ in range(rounds):
        played.append(bandit.next_task())
        bandit.observe(float(noise.random()))
    return played


@pytest.mark.parametrize("kept", [0, 1, 17])
def test_a_restored_bandit_goes_on_with_the_identical_sequence(kept):
    scores = np.random.default_rng(5)
    bandit = bandit_of("pabcd", seed=3)
    _play(bandit, kept, scores)
    stored = json.loads(json.dumps(bandit.state(), allow_nan=False))
    following = np.random.default_rng(9).random(40).tolist()
    other = bandit_of("pabcd", seed=99)
    other.restore(stored)

    def sequence(played):
        drawn = []
        for score in following:
            drawn.append(played.next_task())
            played.observe(score)
        return drawn

    assert sequence(bandit) == sequence(other)
    assert bandit.state() == other.state()


def test_another_seed_is_another_sequence_and_another_identity():
    first, second = (bandit_of("pabcd", seed=seed) for seed in (1, 2))
    assert first.identity != second.identity
    assert json.loads(json.dumps(first.identity)) == first.identity
    noise = np.random.default_rng(0)
    assert _play(first, 30, noise) != _play(second, 30, np.random.default_rng(0))
