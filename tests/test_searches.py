"""Searches with a budget: what they try, when they stop, and what they say in the end."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from fake_runs import TASKS, open_fake
from hypothesis import given, settings
from hypothesis import strategies as st

from gradts_plugin import run
from gradts_plugin.gains.gain import gain_of, pooled_spread
from gradts_plugin.gains.shrinkage import shrunk
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.records import RankedTask, Ranking, Trial
from gradts_plugin.scores import Gain
from gradts_plugin.selection.designed import DesignedSettings, select_by_design
from gradts_plugin.selection.race import select_by_race
from gradts_plugin.selection.search import SearchSettings, num_more
from gradts_plugin.testing.fake_host import FakeHost

NAMES = tuple("abcdef")


class Bench:
    """A context whose scores a test says; what a training costs it says, too."""

    primary_task = "goal"

    def __init__(self, score, *, names=NAMES, taus=None, alone=1, seconds=60.0, donors=None):
        taus = taus or [0.0] * len(names)
        self.asked = []  # (sets with their numbers of seeds, at_most)
        self.told = []
        self._made = []
        self._score, self._alone, self._seconds = score, alone, seconds
        self._donors = donors or {}
        ranked = tuple(RankedTask(*pair, None, None) for pair in zip(names, taus, strict=True))
        self.ranking = Ranking("goal", ranked, 0.95, 0, (), 0, ("goal", *names), None)

    def num_trainings(self, trial):
        return trial.num_seeds * (1 if trial.auxiliary_tasks else self._alone)

    def score_all(self, trials, *, at_most=None):
        self.asked.append(({t.auxiliary_tasks: t.num_seeds for t in trials}, at_most))
        made = [
            Trial(
                trial.auxiliary_tasks,
                tuple(self._score(trial.auxiliary_tasks, seed) for seed in range(trial.num_seeds)),
                seconds=self._seconds * self.num_trainings(trial),
            )
            for trial in trials
        ]
        self._made += made
        return made

    def gain(self, trial, baseline):
        return gain_of(trial, baseline, seed_spread=pooled_spread(self._made, baseline))

    def gains_for_others(self):
        return {name: self._donors.get(name, ()) for name in self.ranking.task_order}

    def tell(self, round_of_search):
        self.told.append(round_of_search)

    @property
    def num_trained(self):
        seeds = {}
        for sets, _ in self.asked:
            seeds |= sets
        return sum(n * (1 if names else self._alone) for names, n in seeds.items())


def planted(effects, *, noise=0.005, world=0):
    """Scores that effects add up to, with the same noise for the same training."""

    def score(names, seed):
        key = [world, seed, *(ord(letter) for name in names for letter in name)]
        chance = np.random.default_rng(key).normal()
        return 0.6 + sum(effects.get(name, 0.0) for name in names) + noise * chance

    return score


#: So that not one of them is thought to help by chance.
WORSE = {"b": -0.02, "e": -0.02, "f": -0.02}


def designed(context, **own):
    return select_by_design(context, DesignedSettings(**own))


def race(context, **own):
    return select_by_race(context, SearchSettings(**own))


# --- designed trials ------------------------------------------------------------------------------


def test_a_design_is_tried_with_one_seed_and_the_best_set_is_confirmed_with_further_ones():
    context = Bench(planted({"a": 0.05, "c": 0.03, "d": -0.04, **WORSE}))
    found = designed(context)
    (first, unlimited), (second, left) = context.asked
    assert len(first) == 8
    assert set(first.values()) == {1}
    assert next(iter(first)) == ()
    assert unlimited is None
    # The best set was not among the first: two trainings with it, and one more alone.
    assert found.auxiliary_tasks == ("a", "c")
    assert second == {(): 2, ("a", "c"): 2}
    assert left == 4
    assert [r.num_trainings for r in found.rounds] == [8, 11]
    assert found.rounds == tuple(context.told)
    assert len(found.trial_of_selected().scores) == 2


def test_it_says_what_is_gained_and_how_sure_that_is():
    found = designed(Bench(planted({"a": 0.05, "c": 0.03, "d": -0.04, **WORSE})))
    gain = found.rounds[-1].best.gain
    assert gain.low < 0.08 < gain.high
    assert found.reason == (
        f"goal with a, c, gain {gain.gain:+.3f}, 95 % interval [{gain.low:+.3f}, "
        f"{gain.high:+.3f}], helps with probability above 0.99, after 11 of 12 trainings"
    )
    effects = {effect.auxiliary_tasks: effect.gain for effect in found.rounds[-1].effects}
    assert list(effects)[:2] == [("a",), ("c",)]
    assert list(effects)[-1] == ("d",)
    assert effects["d",].p_helps < 0.05
    assert found.rounds[-1].fit > 0.8


def test_where_nothing_helps_it_says_so_and_what_would_settle_it():
    found = designed(Bench(planted({}, world=3)))
    best = found.rounds[-1].best
    assert best.gain.p_helps < 0.9
    assert found.auxiliary_tasks == ()
    assert re.fullmatch(
        r"none of these is likely to help goal: the best guess is [a-f, ]+, gain [+-]0\.\d+, "
        r"95 % interval \[.*\], helps with probability 0\.\d\d \(asked for: 0\.9\), after \d+ of "
        r"12 trainings(; (about \d+|more than 100) more trainings would settle it)?",
        found.reason,
    )


def test_with_no_effect_at_all_something_is_selected_no_more_often_than_the_certainty_allows():
    wrong = [
        bool(designed(Bench(planted({}, noise=0.01, world=world))).auxiliary_tasks)
        for world in range(60)
    ]
    assert np.mean(wrong) <= 0.2


def test_a_good_ranking_saves_trainings():
    effects = dict(zip(NAMES, (0.012, 0.008, 0.004, -0.004, -0.008, -0.012), strict=True))
    gained = {}
    for name, taus in (("good", [3, 2, 1, -1, -2, -3]), ("none", None)):
        contexts = [Bench(planted(effects, noise=0.01, world=w), taus=taus) for w in range(25)]
        selected = [designed(context).auxiliary_tasks for context in contexts]
        gained[name] = np.mean([sum(effects[chosen] for chosen in names) for names in selected])
    # 0.024 is all there is where effects add up, which the scores have to show first.
    assert gained["good"] > 0.008
    assert gained["good"] > 1.5 * gained["none"]


def test_what_candidates_gained_others_is_where_effects_begin():
    # Shrunk: 3 * 0.06 / (3 + 3), and 1 * -0.04 / (1 + 3). The scores show no difference at all.
    context = Bench(lambda *_: 0.5, donors={"b": (0.05, 0.06, 0.07), "c": (-0.04,)})
    (first, *_) = designed(context, donor_prior=True).rounds
    effects = {effect.auxiliary_tasks[0]: effect.gain.gain for effect in first.effects}
    assert 0.001 < effects["b"] < 0.03
    assert -0.01 < effects["c"] < -0.0003
    assert first.effects[0].auxiliary_tasks == ("b",)
    assert first.effects[-1].auxiliary_tasks == ("c",)


def test_without_the_donor_prior_nothing_is_known_of_others():
    donors = {"b": (0.05, 0.06, 0.07)}
    without = designed(Bench(planted({"a": 0.05})))
    assert designed(Bench(planted({"a": 0.05}), donors=donors)) == without
    assert designed(Bench(planted({"a": 0.05}), donors=donors), donor_prior=True) != without
    nothing = Bench(planted({"a": 0.05}), donors={"a": ()})
    assert designed(nothing, donor_prior=True) == without


def test_good_donors_save_trainings_and_misleading_ones_are_overruled():
    effects = dict(zip(NAMES, (0.02, 0.01, 0.0, -0.01, -0.02, -0.03), strict=True))
    told = {
        "good": {name: (effect,) * 9 for name, effect in effects.items()},
        "none": {},
        "opposite": {name: (-effect,) * 9 for name, effect in effects.items()},
    }

    def gained(donors):
        contexts = [Bench(planted(effects, noise=0.02, world=w), donors=donors) for w in range(20)]
        found = [designed(context, donor_prior=True) for context in contexts]
        selected = [selection.auxiliary_tasks for selection in found]
        return np.mean([sum(effects[chosen] for chosen in names) for names in selected])

    good, none, opposite = (gained(donors) for donors in told.values())
    assert good > 0.015 > 2 * none  # 0.03 is all there is
    assert opposite > -0.005


@settings(max_examples=40, deadline=None)
@given(
    budget=st.integers(8, 40),
    number=st.integers(1, 6),
    alone=st.sampled_from([1, 2]),
    confirm=st.integers(1, 12),
    world=st.integers(0, 99),
    method=st.sampled_from([designed, race]),
)
def test_no_search_trains_more_than_its_budget_and_each_knows_what_it_trained(
    budget, number, alone, confirm, world, method
):
    context = Bench(planted({"a": 0.01}, world=world), names=NAMES[:number], alone=alone)
    own = {"confirm": confirm} if method is designed else {}
    found = method(context, budget=budget, **own)
    assert context.num_trained <= budget
    assert found.rounds[-1].num_trainings == context.num_trained
    assert found.rounds[-1].budget == budget
    assert () in [trial.auxiliary_tasks for trial in found.trials]
    assert len(found.rounds) > 1  # something was tried again, with another seed
    for before, (_, at_most) in zip(found.rounds, context.asked[1:], strict=False):
        assert at_most == budget - before.num_trainings


def test_while_effects_are_in_doubt_the_design_is_tried_with_the_next_seed():
    context = Bench(planted({"a": 0.005}))
    found = designed(context, budget=24)
    numbers = [set(sets.values()) for sets, _ in context.asked]
    assert numbers[:2] == [{1}, {2}]
    assert [r.num_trainings for r in found.rounds[:2]] == [8, 16]
    assert len(context.asked) == 3
    assert found.rounds[-1].num_trainings > 20  # the confirmation uses what is left


def test_once_every_effect_is_sure_nothing_but_the_confirmation_follows():
    effects = dict(zip(NAMES, (0.3, -0.3, 0.3, -0.3, 0.3, -0.3), strict=True))
    context = Bench(planted(effects, noise=0.001))
    found = designed(context, budget=100, confirm=2)
    # After the first round it is in doubt whether effects add up. In the end two further seeds of
    # alone, and four of the set, which was not tried.
    assert [r.num_trainings for r in found.rounds] == [8, 16, 16 + 2 + 4]
    assert found.auxiliary_tasks == ("a", "c", "e")


def test_minutes_end_a_search_between_rounds():
    # 8 trainings of a minute; the confirmation takes 3 or 2.
    long = designed(Bench(planted({"a": 0.05})), minutes=12)
    short = designed(Bench(planted({"a": 0.05})), minutes=9)
    assert [r.num_trainings for r in short.rounds] == [8]
    assert len(long.rounds) == 2
    # Stored trainings took what they took, so a search that goes on ends where it would have.
    assert short == designed(Bench(planted({"a": 0.05})), minutes=9)


def test_undefined_scores_select_nothing():
    found = designed(Bench(lambda names, seed: None))
    assert found.auxiliary_tasks == ()
    assert found.reason == "the scores of goal are undefined, so none can be told to help"
    assert found.rounds[-1].best is None
    assert race(Bench(lambda names, seed: None)).reason == found.reason


def test_a_set_without_a_score_is_not_selected():
    # By what it says together with b it would be the best.
    score = planted({"a": 0.1, "b": -0.05})
    found = designed(
        Bench(lambda names, seed: None if names == ("a",) else score(names, seed), names=("a", "b"))
    )
    assert found.rounds[-1].best.auxiliary_tasks == ("a",)
    assert found.auxiliary_tasks == ()
    assert found.reason.startswith("the scores of goal are undefined")


@pytest.mark.parametrize(
    ("gain", "low", "high", "expected"),
    [
        # Standard error 0.0792 / 3.92 = 0.0202; (0.8416 * 0.0202 / 0.01)^2 = 2.89; 12 * 1.89 = 23.
        (0.01, -0.0296, 0.0496, 23),
        (-0.01, -0.0496, 0.0296, 23),
        (0.05, 0.0104, 0.0896, 0),
        (0.0, -0.1, 0.1, None),
        (0.01, None, None, None),
    ],
)
def test_how_many_more_trainings_would_settle_it(gain, low, high, expected):
    assert num_more(Gain(gain, low, high, None, 1, 0, ()), 0.8, 12) == expected


# --- races ----------------------------------------------------------------------------------------


def test_singles_and_then_prefixes_start_that_half_of_the_budget_has_room_for():
    context = Bench(planted({}), names=tuple("abc"))
    race(context, budget=12)
    first, _ = context.asked[0]
    assert list(first) == [(), ("a",), ("b",), ("c",), ("a", "b"), ("a", "b", "c")]
    smaller = Bench(planted({}), names=tuple("abc"), alone=2)
    race(smaller, budget=12)
    assert list(smaller.asked[0][0]) == [(), ("a",), ("b",), ("c",), ("a", "b")]


def test_who_is_surely_worse_leaves_and_the_others_go_on():
    effects = {"a": 0.10, "b": -0.10, "c": 0.098}
    context = Bench(planted(effects, noise=0.002), names=tuple("abc"))
    found = race(context, budget=20)
    (first, _), (second, _), (third, _) = context.asked[:3]
    assert first.keys() == second.keys()  # one seed says nothing of the spread
    assert ("b",) not in third
    assert {("a",), ("c",)} <= set(third)
    assert () in third
    assert found.auxiliary_tasks in {("a",), ("c",)}
    assert found.rounds[0].best.gain.p_helps is None
    assert found.rounds[-1].best.gain.p_helps > 0.99


def test_a_set_without_a_score_leaves_the_race_at_once():
    score = planted({"a": 0.01})
    context = Bench(
        lambda names, seed: None if names == ("b",) else score(names, seed), names=("a", "b")
    )
    race(context)
    assert ("b",) in context.asked[0][0]
    assert ("b",) not in context.asked[1][0]


def test_what_a_race_tells_are_gains_drawn_towards_each_other():
    context = Bench(planted({"a": 0.02}, noise=0.01), names=tuple("abc"))
    found = race(context, budget=20)
    trials = {trial.auxiliary_tasks: trial for trial in found.trials}
    names = [names for names in trials if names]
    plain = [context.gain(trials[one], trials[()]) for one in names]
    expected = dict(zip(names, shrunk(plain), strict=True))
    told = {effect.auxiliary_tasks: effect.gain for effect in found.rounds[-1].effects}
    assert told == expected
    best = found.rounds[-1].best
    assert best.gain == expected[best.auxiliary_tasks]
    assert best.gain.gain < plain[names.index(best.auxiliary_tasks)].gain
    assert best.gain.shown in found.reason


@pytest.mark.parametrize(("certainty", "share"), [(0.9, 0.15), (0.7, 0.3)])
def test_with_no_effect_at_all_a_race_seldom_selects(certainty, share):
    benches = [Bench(planted({}, noise=0.01, world=world)) for world in range(60)]
    wrong = [bool(race(bench, certainty=certainty).auxiliary_tasks) for bench in benches]
    assert np.mean(wrong) <= share  # with 0.9 it is 0.25 with plain gains
    right = [
        race(Bench(planted({"a": 0.04}, noise=0.01, world=world))).auxiliary_tasks == ("a",)
        for world in range(20)
    ]
    assert np.mean(right) >= 0.75


def test_a_race_that_is_won_ends():
    context = Bench(planted({"a": 0.2}, noise=0.001), names=("a",))
    found = race(context, budget=40)
    assert [r.num_trainings for r in found.rounds] == [2, 4]
    context = Bench(planted({"a": -0.2}, noise=0.001), names=("a",))
    found = race(context, budget=40)
    assert found.auxiliary_tasks == ()
    assert found.reason.startswith("none of these is likely to help goal: the best guess is a, ")


def test_one_seed_makes_nobody_leave_however_sure_its_instances_are():
    class OfInstances(Bench):
        def gain(self, trial, baseline):
            gain = super().gain(trial, baseline)
            surely = replace(gain, low=0.01, high=0.02, p_helps=0.999, covers=("instances",))
            return surely if gain.num_seeds == 1 else gain

    context = OfInstances(planted({"a": 0.1, "b": -0.1}, noise=0.002), names=("a", "b"))
    found = race(context)
    (first, _), (second, _) = context.asked[:2]
    assert first.keys() == second.keys()
    assert found.rounds[0].best.gain.p_helps is None


# --- on the engine --------------------------------------------------------------------------------


class InterruptedRunError(Exception):
    pass


class Stop:
    def __init__(self, after):
        self.left = after

    @hookimpl
    def after_training(self):
        self.left -= 1
        if not self.left:
            raise InterruptedRunError


def described(selection):
    return selection.auxiliary_tasks, selection.reason, selection.rounds


@pytest.mark.parametrize("method", ["designed", "race"])
def test_a_search_that_was_killed_goes_on_and_ends_as_if_it_never_was(tmp_path, method):
    values = {"method": {"name": method, "budget": 14}}
    whole = run.run(open_fake(tmp_path / "whole", values))
    with pytest.raises(InterruptedRunError):
        run.run(open_fake(tmp_path / "killed", values, plugins=[Stop(6)]))
    resumed = run.run(open_fake(tmp_path / "killed", values))
    assert described(resumed.selection) == described(whole.selection)
    # The sixth was not written down yet.
    assert resumed.done.training_runs == whole.done.training_runs - 5
    written = json.loads((tmp_path / "killed" / "result.json").read_text())
    last = written["selection"]["rounds"][-1]
    assert last["num_trainings"] == whole.selection.rounds[-1].num_trainings
    assert last["best"]["gain"]["p_helps"] == whole.selection.rounds[-1].best.gain.p_helps


@pytest.mark.parametrize("method", ["designed", "race"])
def test_a_plan_counts_the_budget_and_the_weights_of_the_selection(tmp_path, method):
    plan = make_plan(open_fake(tmp_path, {"method": method}), final_training=True)
    told = {part.what: (part.num_to_do, part.upper_bound) for part in plan.parts}
    assert told["trials"] == (12, True)
    assert told["final trainings"] == (1, True)


def _note_on_budget(engine):
    (note,) = [n for n in make_plan(engine, final_training=True).notes if "trainings tell" in n]
    return note


def test_a_plan_says_which_gains_a_budget_can_tell(tmp_path):
    # Two standard errors of 2 / sqrt(16) spreads of 0.03.
    values = {"method": {"name": "designed", "budget": 16}}
    assert _note_on_budget(open_fake(tmp_path, values)) == (
        "16 trainings tell gains above about 0.030 from none, if a score varies by 0.030 between "
        "seeds, as is usual for small tasks, until some trainings with several seeds are stored."
    )
    # Alone scores 0.5, 0.6, 0.7 with its seeds: a standard deviation of 0.1.
    host = FakeHost(TASKS, score=lambda training: 0.5 + 0.1 * training.seed)
    many = {"method": "alone", "training_seeds": 3}
    run.run(open_fake(tmp_path, many, host=host))
    note = _note_on_budget(open_fake(tmp_path, values, host=host))
    assert note == (
        "16 trainings tell gains above about 0.100 from none, if a score varies by 0.100 between "
        "seeds, as 3 stored trainings of goal alone do."
    )
    # Two seeds each: two standard errors of one spread.
    raced = {"method": {"name": "race", "budget": 16}}
    note = _note_on_budget(open_fake(tmp_path, raced, host=host))
    assert note.startswith("16 trainings tell gains above about 0.200 from none")
    other = make_plan(open_fake(tmp_path, {"method": "trial"}, host=host), final_training=True)
    assert not [note for note in other.notes if "trainings tell" in note]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("method", ["designed", "race"])
def test_what_is_foretold_of_a_search_that_goes_on_is_its_upper_bound(tmp_path, method, seed):
    host = FakeHost(TASKS, score=lambda t: planted({}, noise=0.1)(t.auxiliary_tasks, t.seed))
    values = {"method": {"name": method, "budget": 8 + seed}}
    run.run(open_fake(tmp_path, values, host=host))
    values = {"method": {"name": method, "budget": 20 + seed}}
    plan = make_plan(open_fake(tmp_path, values, host=host), final_training=True)
    done = run.run(open_fake(tmp_path, values, host=host)).done
    foretold = sum(part.num_to_do for part in plan.parts)
    assert done.training_runs <= foretold <= 20 + seed + 1  # the selection's lost weights
