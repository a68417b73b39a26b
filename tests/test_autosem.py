"""Which candidates AUTOSEM selects, and in which ratio, from scores that are made up."""

from __future__ import annotations

import math
from functools import partial

import pytest
from fake_runs import TASKS, open_fake
from test_mixing import peaked
from tiny_runs import Recorder

from gradts_plugin.records import TrainingResult, Trial
from gradts_plugin.run import choose, run
from gradts_plugin.selection.autosem import METHOD, UTILITY_METHOD
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.testing.fake_host import FakeHost


def select(method, context):
    """What a method selects, with the settings that the context was made with."""
    defaults = method.faithful if context.settings.faithful else {}
    return method.select(context, method.settings(**{**defaults, **context.own}))


select_by_utility = partial(select, UTILITY_METHOD)
select_by_mixing = partial(select, METHOD)


class Context:
    """A bandit that ends in given posteriors, and a score for each mixture."""

    primary_task = "p"

    def __init__(self, arms=None, score=None, own=(), **settings):
        self.arms = arms or {"a": (3, 1, 5), "b": (1, 3, 4), "c": (4, 1, 9)}
        self.settings = GradTSSettings(primary_task="p", **settings)
        self.own = dict(own)
        self.mixture_score = score
        self.asked = []
        self.schedule = None

    @property
    def candidate_tasks(self):
        return tuple(self.arms)

    def train_with_schedule(self, schedule, *, num_rounds, seed):
        self.schedule = (schedule.steps_per_round, num_rounds, seed, dict(schedule.identity))
        schedule.scheduler.restore(
            {
                **schedule.scheduler.state(),
                "alpha": [1.0, *(arm[0] for arm in self.arms.values())],
                "beta": [1.0, *(arm[1] for arm in self.arms.values())],
                "rounds": [1, *(arm[2] for arm in self.arms.values())],
            }
        )
        return TrainingResult(0.5, {}, (0.5,), 1, 1, 1.0, None)

    def score(self, auxiliary_tasks, kept_instances=None, mixing_ratios=None, *, block_steps=None):
        ratios = dict(mixing_ratios or {})
        self.block_steps = block_steps
        self.asked.append((tuple(auxiliary_tasks), ratios))
        return Trial(
            tuple(auxiliary_tasks),
            (self.mixture_score(ratios),),
            {},
            num_steps=1,
            seconds=1.0,
            reused=False,
            mixing_ratios=ratios,
        )


def test_candidates_that_reach_the_utility_are_selected_best_first():
    context = Context(seed=7)
    selection = select_by_utility(context)
    assert selection.auxiliary_tasks == ("c", "a")
    assert (selection.method, selection.trials, selection.mixing_ratios) == ("autosem-p1", (), {})
    assert selection.reason == (
        "utility >= 0.5 after 60 rounds of 5 steps is reached by 2 of 3 candidates: "
        "c 0.800, a 0.750"
    )
    assert context.schedule[:3] == (5, 60, 7)
    assert context.asked == []


def test_a_utility_exactly_at_the_cut_is_enough_but_an_untrained_prior_is_not():
    selection = select_by_utility(Context({"a": (1, 1, 0), "b": (2, 2, 3)}))
    assert selection.auxiliary_tasks == ("b",)
    assert selection.reason.endswith("1 of 2 candidates: b 0.500; never trained: a")


def test_top_k_takes_the_best_whatever_they_are_worth():
    arms = {"a": (1, 3, 5), "b": (1, 1.5, 4), "c": (1, 4, 9), "d": (1, 1.5, 2)}
    selection = select_by_utility(Context(arms, own={"top_k": 2}))
    assert selection.auxiliary_tasks == ("b", "d")
    assert "b 0.400, d 0.400" in selection.reason


def test_nothing_may_be_selected_and_the_nearest_is_named():
    arms = {"a": (1, 3, 5), "b": (1, 1.5, 4)}
    selection = select_by_utility(Context(arms, own={"min_utility": 0.6}))
    assert selection.auxiliary_tasks == ()
    assert selection.reason == (
        "utility >= 0.6 after 60 rounds of 5 steps is reached by no candidate; the nearest is "
        "b 0.400"
    )
    untrained = select_by_utility(Context({"a": (1, 1, 0)}, own={"rounds": 1}))
    assert untrained.auxiliary_tasks == ()
    assert untrained.reason == "after 1 rounds of 5 steps, no candidate was ever trained"


def test_faithful_takes_the_published_number_of_rounds_unless_it_is_given():
    context = Context(faithful=True)
    select_by_utility(context)
    assert context.schedule[:2] == (10, 200)
    context = Context(faithful=True, own={"rounds": 3})
    select_by_utility(context)
    assert context.schedule[:2] == (10, 3)


@pytest.mark.parametrize("faithful", [False, True])
def test_only_a_faithful_bandit_starts_as_the_reproduction(faithful):
    class FirstRound(Context):
        def train_with_schedule(self, schedule, *, num_rounds, seed):
            schedule.scheduler.next_task()
            schedule.scheduler.observe(0.5)
            self.utilities = schedule.scheduler.utilities

    context = FirstRound(faithful=faithful)
    select_by_utility(context)
    assert context.utilities["p"] == (1 / 2 if faithful else 2 / 3)


def test_the_best_mixture_is_selected_with_its_ratios():
    context = Context(score=lambda ratios: peaked([ratios.get(name, 0) for name in "pca"]))
    selection = select_by_mixing(context)
    scores = [trial.score for trial in selection.trials]
    assert len(scores) == 10
    best = selection.trials[scores.index(max(scores))]
    assert (selection.auxiliary_tasks, selection.mixing_ratios) == (
        best.auxiliary_tasks,
        best.mixing_ratios,
    )
    assert context.asked[0] == (("c", "a"), {"p": 1, "c": 1, "a": 1})
    for auxiliaries, ratios in context.asked:
        assert tuple(ratios) in {("p", *auxiliaries), ()}
        assert all(ratios.values())
    assert selection.method == "autosem"
    assert context.block_steps is selection.block_steps is None
    mixture = " : ".join(f"{name} {ratio}" for name, ratio in best.mixing_ratios.items())
    assert selection.reason.endswith(
        f"; mixed as {mixture} they score {best.score:.4f}, best of 10 optimised mixtures"
    )
    again = Context(score=context.mixture_score)
    select_by_mixing(again)
    assert again.asked == context.asked


def test_if_every_auxiliary_hurts_the_primary_is_trained_alone():
    arms = {"a": (3, 1, 5)}
    context = Context(arms, score=lambda ratios: 0.5 - ratios.get("a", 0) / 10, own={"trials": 15})
    selection = select_by_mixing(context)
    assert (selection.auxiliary_tasks, selection.mixing_ratios) == ((), {})
    assert ((), {}) in context.asked
    assert "; mixed as p alone they score 0.5000" in selection.reason


def test_without_an_auxiliary_nothing_is_mixed():
    context = Context({"a": (1, 3, 5)})
    selection = select_by_mixing(context)
    assert (selection.auxiliary_tasks, selection.trials, context.asked) == ((), (), [])
    assert selection.method == "autosem"
    assert selection.reason.endswith("; p is trained alone")


def test_faithful_tries_ten_random_mixtures_and_takes_the_first_of_the_best():
    context = Context(score=lambda ratios: 0.5, faithful=True)
    selection = select_by_mixing(context)
    assert len(context.asked) == 10
    assert context.block_steps == selection.block_steps == 10
    assert all(auxiliaries for auxiliaries, _ in context.asked)
    assert (selection.auxiliary_tasks, selection.mixing_ratios) == context.asked[0]
    assert any(math.gcd(*ratios.values()) > 1 for _, ratios in context.asked)
    assert selection.reason.endswith("best of 10 random mixtures")


# --- whole runs -----------------------------------------------------------------------------------

BANDIT = {"name": "autosem", "rounds": 14, "steps_per_round": 2, "top_k": 2, "trials": 3}


def helpful(training):
    """Only `related` helps, the more the more often it is trained."""
    ratios = training.mixing_ratios
    share = ratios.get("related", 0) / sum(ratios.values()) if ratios else 0
    return 0.5 + share / 10 - training.seed / 1000


@pytest.fixture
def finished(tmp_path):
    recorder, host = Recorder(), FakeHost(TASKS, score=helpful)
    engine = open_fake(tmp_path / "out", {"method": BANDIT}, host=host, plugins=[recorder])
    return run(engine), recorder


def test_the_cost_counts_the_bandits_run_and_every_mixture_once(finished):
    outcome, recorder = finished
    assert outcome.ranking is None
    assert recorder.of("after_task_probed") == []
    assert len(outcome.selection.trials) == 3
    different = {str(trial.mixing_ratios): trial.num_steps for trial in outcome.selection.trials}
    assert outcome.cost.num_steps == 28 + sum(different.values())


def test_the_delivered_weights_are_those_of_the_mixture(finished):
    outcome, _ = finished
    assert outcome.selected.mixing_ratios == outcome.selection.mixing_ratios
    best = max(outcome.selection.trials, key=lambda trial: trial.score)
    assert outcome.selected.scores == best.scores
    # The primary alone, which is trained later and to be compared with, does not displace them.
    assert all(path.is_file() for path in outcome.weights)


def test_a_stored_run_restores_the_bandit_whatever_the_cut(finished, tmp_path):
    outcome, _ = finished
    again, host = Recorder(), FakeHost(TASKS)
    stored = run(open_fake(tmp_path / "out", {"method": BANDIT}, host=host, plugins=[again]))
    assert again.of("before_training") == []
    assert stored.selection.reason == outcome.selection.reason
    assert stored.selection.mixing_ratios == outcome.selection.mixing_ratios
    assert stored.cost == outcome.cost
    first = {key: BANDIT[key] for key in ("rounds", "steps_per_round")}
    cut = {"name": "autosem-p1", **first, "min_utility": 0.0}
    opened = open_fake(tmp_path / "out", {"method": cut}, host=host)
    selection = choose(opened).selection
    assert set(selection.auxiliary_tasks) >= set(outcome.selection.auxiliary_tasks)
    assert not host.trained
