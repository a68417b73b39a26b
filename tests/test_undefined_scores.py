"""A metric without a value: jiant's own stsb where all dev labels are the same."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch
import yaml
from tiny_encoders import save_tiny_encoder
from tiny_jiant import export_weights, write_setup
from tiny_jiant import write_task as write_host_task
from tiny_runs import TRAINING, run_command, write_run_file

from gradts_plugin import scores
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches
from gradts_plugin.hosts.jiant.training import train as training
from gradts_plugin.hosts.jiant.training.evaluation import Evaluation, best_evaluation
from gradts_plugin.hosts.jiant.training.recipe import resolve_recipe
from gradts_plugin.records import TrainingPlan, Trial
from gradts_plugin.settings.training import TrainingSettings


def strictly(text):
    """JSON as the standard has it: no NaN, no Infinity."""

    def refuse(constant):
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


# --- scores, one by one ---------------------------------------------------------------------------


def test_one_undefined_score_makes_the_mean_and_the_spread_undefined():
    assert scores.mean_score([0.25, 0.75]) == 0.5
    assert scores.score_spread([0.25, 0.75]) == pytest.approx(math.sqrt(0.125))
    for undefined in ([0.5, None], [None, 0.5], [None], []):
        assert scores.mean_score(undefined) is None
        assert scores.score_spread(undefined) is None
    assert scores.score_spread([0.5]) is None
    assert scores.score_differences([0.5, None, 0.5], [0.25, 0.5, None]) == (0.25, None, None)
    assert scores.shown_score(0.5, "+.2f") == "+0.50"
    assert scores.shown_score(None, "+.2f") == "undefined"
    assert scores.shown_score(0.5, spread=0.125) == "0.5000 ± 0.1250"


def test_an_undefined_trial_never_wins():
    def trial(*of_seeds):
        return Trial(("a",), of_seeds, {}, num_steps=1, seconds=1.0, reused=False)

    assert trial(0.5, None).score is None
    assert trial(0.5, None).spread is None
    assert trial(0.5, None).comparable() == -math.inf
    assert trial(0.5, None).comparable(1) == 0.5


@pytest.mark.parametrize(
    ("of_evaluations", "best"),
    [
        ([0.5, None, 0.6], 2),
        ([None, 0.4, 0.3], 1),
        ([0.5, 0.5, 0.4], 0),
        ([-0.2, None, -0.1], 2),
        ([None, None, None], 2),
        ([0.1], 0),
    ],
)
def test_the_best_evaluation_is_a_defined_one(of_evaluations, best):
    history = [Evaluation(score, {}) for score in of_evaluations]
    assert best_evaluation(history) is history[best]


# --- through jiant --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def setup(tmp_path_factory, encoder):
    folder = tmp_path_factory.mktemp("setup")
    container = json.loads(write_setup(folder, encoder, ["cola"], 6).read_text())
    weights = export_weights(encoder, folder / "weights.p")
    arguments = HostArguments(str(encoder), str(weights), no_cuda=True)
    settings = TrainingSettings(max_steps=6, evaluations=3, learning_rate=1e-3)
    recipe = resolve_recipe(settings, container, arguments, ["cola"], {"cola": 18})
    plan = TrainingPlan("trial", ("cola",), "cola", seed=1, recipe=recipe)
    return SimpleNamespace(container=container, arguments=arguments, plan=plan)


@pytest.mark.parametrize(
    ("of_evaluations", "best"),
    [([0.5, None, 0.6], 2), ([None, 0.4, 0.3], 1), ([0.5, 0.5, 0.4], 0), ([None] * 3, 2)],
)
def test_score_metrics_and_weights_are_of_one_evaluation(
    setup, tmp_path, monkeypatch, of_evaluations, best
):
    seen = []

    def evaluate_dev(runner, task_name, *, whole_dev_set):
        state = runner.jiant_model.state_dict()
        seen.append({name: weight.clone() for name, weight in state.items()})
        return Evaluation(of_evaluations[len(seen) - 1], {"number": float(len(seen))})

    monkeypatch.setattr(training, "evaluate_dev", evaluate_dev)
    result = training.train(
        setup.container,
        setup.plan,
        setup.arguments,
        switches=FaultSwitches(),
        observe=lambda step: None,
        output_dir=tmp_path,
    ).result
    assert result.history == tuple(of_evaluations)
    assert result.score == of_evaluations[best]
    assert result.metrics == {"number": best + 1.0}
    kept = torch.load(tmp_path / training.WEIGHTS_FILE, weights_only=True)
    same = [all(torch.equal(kept[name], state[name]) for name in kept) for state in seen]
    assert same == [number == best for number in range(3)]


@pytest.fixture(scope="module")
def run_file(tmp_path_factory, encoder):
    """A run with jiant's own stsb as primary, all of whose dev labels are the same."""
    folder = tmp_path_factory.mktemp("undefined")
    write_host_task(folder / "tasks", "stsb", 16, 10).rename(folder / "tasks" / "stsb.json")
    dev = folder / "tasks" / "stsb.val"
    rows = [{**json.loads(line), "label": 2.5} for line in dev.read_text().splitlines()]
    dev.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = ("stsb", "topic")
    return write_run_file(
        folder, encoder, tasks, primary_task="stsb", method="trial", tensorboard=True
    )


def test_a_run_without_a_defined_score_ends_well(run_file):
    answer = run_command("run", run_file)
    assert answer.code == 0, answer.err
    assert "stsb alone: undefined" in answer.out
    output = run_file.parent / "out"
    found = strictly((output / "result.json").read_text())
    assert found["selection"]["auxiliary_tasks"] == []
    assert [trial["scores"] for trial in found["selection"]["trials"]] == [[None], [None]]
    assert (found["selected"]["score"], found["alone"]["score"]) == (None, None)
    assert "stsb alone scores undefined" in found["selection"]["reason"]
    for path in output.rglob("*.json"):
        strictly(path.read_text())
    for path in output.rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            strictly(line)
    page = (output / "report.html").read_text()
    assert "undefined" in page
    for shown in (answer.out, answer.err, found["selection"]["reason"]):
        assert "nan" not in shown.lower().split()
        assert "None" not in shown
    again = run_command("run", run_file, "--json")
    assert strictly(again.out)["done"]["training_steps"] == 0


def test_a_comparison_without_a_defined_score_ends_well(run_file):
    values = yaml.safe_load(run_file.read_text())
    for key in ("primary_task", "method", "tensorboard"):
        values.pop(key, None)
    path = run_file.with_name("compare.yaml")
    methods = {
        "gradts": {"method": {"name": "thres", "threshold": {"quantile": 0.5}}},
        "all": {"method": "all"},
        "alone": {"method": "alone"},
    }
    changes = {"primaries": ["stsb", "topic"], "methods": methods, "output_dir": "compared"}
    path.write_text(yaml.safe_dump({**values, **changes, "training": TRAINING}))
    answer = run_command("compare", path)
    assert answer.code == 0, answer.err
    output = path.parent / "compared"
    found = strictly((output / "comparison.json").read_text())
    undefined, defined = found["primaries"]["stsb"], found["primaries"]["topic"]
    for method in undefined["methods"].values():
        assert (method["gain"], method["regret"], method["trial"]["score"]) == (None, None, None)
    assert all(method["regret"] is not None for method in defined["methods"].values())
    assert all(row["gain"] is None for row in found["means"].values())
    tables = (output / "comparison.md").read_text()
    assert "Alone undefined" in tables
    for shown in (answer.out, answer.err, tables):
        assert "nan" not in shown.lower().replace("|", " ").split()
        assert "None" not in shown
    assert "undefined" in (output / "report.html").read_text()
