"""A forecast is the run's own upper bound, whatever the scores, and for every method alike."""

from __future__ import annotations

import dataclasses
import zlib

import pytest
from fake_runs import TASKS, open_fake, settings_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradts_plugin import run
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.offers import Method
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.records import Selection
from gradts_plugin.testing.fake_host import FakeHost


def select_greedily(context, _settings):
    """Adds the candidates that score better, one after the other; a plugin's method."""
    best = context.score(())
    for name in context.candidate_tasks:
        trial = context.score((*best.auxiliary_tasks, name))
        if trial.comparable() > best.comparable():
            best = trial
    return Selection("greedy", context.primary_task, best.auxiliary_tasks, "by greed")


class Greedy:
    @hookimpl
    def extend_selection_methods(self):
        return [Method("greedy", select_greedily, "Greedy", needs_ranking=False)]


METHODS = (
    "thres",
    {"name": "trial", "patience": 1},
    {"name": "trial", "confirm": 2, "max_auxiliaries": 3},
    {"name": "trial", "prefixes": "threshold"},
    {"name": "fg", "patience": 3},
    "top",
    "alone",
    "all",
    {"name": "autosem-p1", "rounds": 6, "steps_per_round": 2},
    {"name": "autosem", "rounds": 8, "steps_per_round": 2, "trials": 3},
    "designed",
    {"name": "designed", "budget": 30, "confirm": 3},
    {"name": "designed", "budget": 9, "max_candidates": 2, "certainty": 0.95},
    "race",
    {"name": "race", "budget": 25},
    "matched",
    "greedy",
)


def values_of(method):
    """Settings that choose a method, with the ranker that it needs."""
    ranker = "matching" if method == "matched" else "heads"
    return {"method": method, "ranking": {"ranker": ranker, "bootstrap": 100}}


def random_scores(seed):
    """Scores that depend on what is trained, and on nothing that a test would know."""

    def score(training):
        key = (seed, training.auxiliary_tasks, training.seed, training.evaluation)
        return (zlib.crc32(repr(key).encode()) % 1000) / 1000

    return score


def made(outcome):
    return outcome.done.training_runs, outcome.done.training_steps, outcome.done.probes


def foretold(plan):
    trainings = sum(part.num_to_do for part in plan.parts if "probes" not in part.what)
    probes = sum(part.num_to_do for part in plan.parts if "probes" in part.what)
    return trainings, sum(part.num_steps for part in plan.parts), probes


@pytest.mark.parametrize("method", METHODS, ids=str)
@given(
    seed=st.integers(0, 10**6),
    probing=st.sampled_from([{}, {"model": "fine-tuned"}, {"max_instances": 5}]),
    faithful=st.booleans(),
    known=st.booleans(),
    exposure=st.sampled_from(["total", "equal"]),
)
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_the_scores_a_run_does_at_most_what_was_foretold(
    tmp_path_factory, method, seed, probing, faithful, known, exposure
):
    folder = tmp_path_factory.mktemp("run")
    host = FakeHost(TASKS, score=random_scores(seed))
    faithful &= exposure == "total"  # which is what was published
    values = {
        **values_of(method),
        "probing": probing,
        "faithful": faithful,
        "seed": seed % 7,
        "training": {"max_steps": 4, "exposure": exposure},
    }
    opened = open_fake(folder, values, host=host, plugins=[Greedy()])
    if known:  # the ranking, and whatever that stores
        run.rank(opened)
    engine = open_fake(folder, values, host=host, plugins=[Greedy()])
    plan = make_plan(engine, final_training=True)
    assert not plan.unknown
    before = dataclasses.replace(engine.session.accounts.counters)
    assert before == type(before)()  # a plan is no run
    outcome = run.run(engine)
    for done, most in zip(made(outcome), foretold(plan), strict=True):
        assert done <= most
    if not plan.upper_bound:
        assert made(outcome) == foretold(plan)


def test_a_forecast_trains_nothing_and_writes_nothing(tmp_path):
    host = FakeHost(TASKS)
    engine = open_fake(tmp_path / "run", {"method": "fg"}, host=host)
    make_plan(engine, final_training=True)
    assert not host.asked["train"] + host.asked["fine_tuned"] + host.asked["untrained"]
    assert not (tmp_path / "run").exists()


def test_after_a_run_nothing_is_left_and_the_selection_is_known(tmp_path):
    for method in METHODS[:-1]:
        outcome = run.run(open_fake(tmp_path, values_of(method)))
        plan = make_plan(open_fake(tmp_path, values_of(method)), final_training=True)
        assert plan.nothing_to_do, method
        assert plan.auxiliary_tasks == outcome.selection.auxiliary_tasks


def test_a_trial_may_train_every_prefix_and_confirm_each(tmp_path):
    values = {"method": {"name": "trial", "confirm": 2, "patience": 1}, "training_seeds": 2}
    plan = make_plan(open_fake(tmp_path, values), final_training=True)
    (trials,) = [part for part in plan.parts if part.what == "trials"]
    # Alone and four prefixes, each with two seeds and two to confirm.
    assert (trials.num_to_do, trials.upper_bound) == (5 * 4, True)
    (final,) = [part for part in plan.parts if part.what == "final trainings"] or [None]
    assert final is None or final.num_to_do == 0


def test_settings_are_the_ones_of_the_run():
    assert settings_of({"method": {"name": "trial", "patience": 3}}).method.own == {"patience": 3}
