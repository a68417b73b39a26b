"""Recipes: whatever one says decides where the training is stored."""

from __future__ import annotations

import dataclasses

import pytest
from fake_runs import open_fake, settings_of

from gradts_plugin.json_forms import from_json, to_json
from gradts_plugin.records import BatchSize, Recipe, TrainingPlan
from gradts_plugin.stores.keys import digest_of, training_key

RECIPE = Recipe("host", 1, 9, 3, {"goal": BatchSize(4, 2)}, own={"optimizer": "adamw"})

CHANGES = {
    "host": "other",
    "host_version": 2,
    "max_steps": 10,
    "evaluations": 1,
    "batches": {"goal": BatchSize(8, 1)},
    "mixing_ratios": {"goal": 2},
    "task_steps": {"goal": 9},
    "last_task": "goal",
    "block_steps": 5,
    "schedule": {"scheduler": "bandit"},
    "own": {"optimizer": "adamax"},
}


def test_every_part_of_a_recipe_is_changed_below():
    assert CHANGES.keys() == {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_every_part_of_a_recipe_makes_another_training(tmp_path, name):
    infos = open_fake(tmp_path).session.tasks

    def digest(recipe):
        plan = TrainingPlan("trial", ("goal",), "goal", 0, recipe)
        return digest_of(training_key(settings_of(), plan, infos, encoder="e"))

    changed = dataclasses.replace(RECIPE, **{name: CHANGES[name]})
    assert digest(changed) != digest(RECIPE)
    assert digest(dataclasses.replace(changed, **{name: getattr(RECIPE, name)})) == digest(RECIPE)


def test_what_came_later_is_written_where_it_says_something():
    # Trainings that are stored under recipes without it are found.
    assert "last_task" not in to_json(RECIPE)
    last = dataclasses.replace(RECIPE, last_task="goal")
    assert to_json(last)["last_task"] == "goal"
    for recipe in (RECIPE, last):
        assert from_json(Recipe, to_json(recipe), where="test") == recipe


@pytest.mark.parametrize("training", [{"evaluations": 5}, {"epochs": 4.0, "max_steps": None}])
def test_a_fine_tuning_is_scored_once(tmp_path, training):
    fine_tuning = {"max_steps": 2} | training
    engine = open_fake(tmp_path, {"probing": {"model": "fine-tuned"}, "fine_tuning": fine_tuning})
    engine.probes.of_tasks()
    plans = engine.session.host.fine_tunings
    assert plans
    assert {plan.recipe.evaluations for plan in plans} == {1}
