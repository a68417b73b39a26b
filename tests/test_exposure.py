"""Equal exposure: the primary gets what it gets alone, and auxiliaries come on top."""

import pytest
from fake_runs import open_fake

from gradts_plugin.engine.exposure import equal_exposure, size_weights
from gradts_plugin.engine.jobs import TrialRequest


def test_steps_by_largest_remainder():
    # quotas 5.83, 2.92, 1.25: floors 5, 2, 1; the two largest remainders get the last two steps
    weights = {"a": 7.0, "b": 3.5, "c": 1.5}
    assert equal_exposure("p", 20, 10, weights) == {"p": 20, "a": 6, "b": 3, "c": 1}


def test_every_auxiliary_gets_a_step_which_the_largest_gives():
    assert equal_exposure("p", 5, 4, {"a": 100.0, "b": 1.0}) == {"p": 5, "a": 3, "b": 1}


@pytest.mark.parametrize("num_steps", [1, 2])
def test_nobody_gives_its_only_step(num_steps):
    weights = {"a": 100.0, "b": 1.0}
    assert equal_exposure("p", 5, num_steps, weights) == {"p": 5, "a": 1, "b": 1}


def test_sizes_count_less_at_a_higher_temperature():
    assert size_weights({"a": 100, "b": 4}, 1.0) == {"a": 100, "b": 4}
    assert size_weights({"a": 100, "b": 4}, 2.0) == {"a": 10, "b": 2}


def trained(tmp_path, request, **training):
    engine = open_fake(tmp_path, {"training": {"max_steps": 6, "batch_size": 4, **training}})
    trial = engine.trainings.score(request)
    return trial, [plan.recipe for plan in engine.session.host.trained]


@pytest.mark.parametrize(("ratio", "on_top"), [(1.0, 6), (0.5, 3), (2.0, 12)])
def test_the_primary_keeps_its_steps(tmp_path, ratio, on_top):
    request = TrialRequest(("related",), range(1))
    _, [recipe] = trained(tmp_path, request, exposure="equal", auxiliary_ratio=ratio)
    assert recipe.task_steps == {"goal": 6, "related": on_top}
    assert recipe.max_steps == 6 + on_top


def test_ratios_share_what_is_on_top(tmp_path):
    request = TrialRequest(
        ("related", "degree"), range(1), mixing_ratios={"goal": 5, "related": 1, "degree": 2}
    )
    _, [recipe] = trained(tmp_path, request, exposure="equal")
    assert recipe.task_steps == {"goal": 6, "related": 2, "degree": 4}


def test_alone_is_the_better_of_both_lengths(tmp_path):
    trial, recipes = trained(tmp_path, TrialRequest((), range(1)), exposure="equal")
    assert [recipe.max_steps for recipe in recipes] == [6, 12]
    assert all(not recipe.task_steps for recipe in recipes)
    assert not trial.longer  # equal scores: the shorter one


@pytest.mark.parametrize(
    ("order", "last"), [({}, "goal"), ({"order": "sequential"}, "goal"), ({"order": "mixed"}, "")]
)
def test_the_primary_is_last_unless_mixed(tmp_path, order, last):
    request = TrialRequest(("related", "degree"), range(1))
    _, [recipe] = trained(tmp_path, request, exposure="equal", **order)
    assert recipe.last_task == last
    assert recipe.task_steps == {"goal": 6, "related": 3, "degree": 3}


RATIOS = {"goal": 1, "related": 1}


@pytest.mark.parametrize(
    ("exposure", "request_of"),
    [
        ("equal", TrialRequest((), range(1))),
        ("total", TrialRequest(("related",), range(1))),
        ("equal", TrialRequest(("related",), range(1), mixing_ratios=RATIOS, block_steps=2)),
    ],
    ids=["alone", "total", "in blocks"],
)
def test_there_is_no_sequence_without_steps_in_a_free_order(tmp_path, exposure, request_of):
    _, recipes = trained(tmp_path, request_of, exposure=exposure)
    assert {recipe.last_task for recipe in recipes} == {""}


def test_total_exposure_is_as_it_was(tmp_path):
    trial, [recipe] = trained(tmp_path, TrialRequest((), range(1)))
    assert (recipe.max_steps, recipe.task_steps, trial.longer) == (6, {}, False)


@pytest.mark.parametrize(("exposure", "alone"), [("equal", 4), ("total", 2)])
def test_both_lengths_count_against_a_budget(tmp_path, exposure, alone):
    training = {"max_steps": 6, "batch_size": 4, "exposure": exposure}
    trainings = open_fake(tmp_path, {"training": training}).trainings
    assert trainings.num_trainings(TrialRequest((), range(2))) == alone
    assert trainings.num_trainings(TrialRequest(("related",), range(2))) == 2
