"""What a comparison will do, told before it does it."""

from __future__ import annotations

import json

import pytest
import yaml
from fake_runs import TASKS, compare_file, fake_file, fake_manager

from gradts_plugin import plugins
from gradts_plugin.commands.main import run as typed
from gradts_plugin.comparison.compare import checked_settings, compare, of_all_tasks
from gradts_plugin.comparison.planning import ORACLE, plan_comparison
from gradts_plugin.opening import run_file_to_plan
from gradts_plugin.planning.rates import measure
from gradts_plugin.testing.fake_host import FakeHost

METHODS = {
    "alone": {"method": "alone"},
    "all": {"method": "all"},
    "thres": {"method": {"name": "thres", "threshold": {"quantile": 0.5}}},
    "trial": {"method": {"name": "trial", "patience": 1}},
}
SEEDS, STEPS = 2, 4


def planned(folder, *, timed=False, host=None, **changes):
    given = {"primaries": ["goal"], "methods": METHODS, "evaluation_seeds": SEEDS, **changes}
    file = compare_file(folder, **given)
    manager = fake_manager(host or FakeHost(TASKS))
    settings = checked_settings(file, manager)
    with run_file_to_plan(of_all_tasks(file), manager) as engine:
        rates = measure(engine.session) if timed else None
        return file, plan_comparison(file, engine.session, settings, rates)


def test_before_anything_is_stored_every_part_is_an_upper_bound(tmp_path):
    _, plan = planned(tmp_path)
    found = {part.part: part for part in plan.parts}
    assert list(found) == [*METHODS, ORACLE]
    # `all` is known beforehand: scored with both seeds, and that is all.
    assert (found["all"].num_trainings, found["all"].num_probes) == (SEEDS, 0)
    # The primary alone is scored once, whoever asks for it.
    assert found["alone"].num_trainings == SEEDS
    # Five tasks are probed, frozen; what is selected is scored.
    assert found["thres"].num_probes == len(TASKS)
    assert found["thres"].num_trainings == SEEDS
    assert found["trial"].num_trainings > found["thres"].num_trainings
    # All subsets of four candidates; of these the empty one and that of all are booked already.
    assert found[ORACLE].num_trainings == (2**4 - 2) * SEEDS
    assert found[ORACLE].num_steps == (2**4 - 2) * SEEDS * STEPS
    assert plan.seconds is None


def test_a_comparison_takes_no_more_than_its_plan(tmp_path):
    host = FakeHost(TASKS)
    file, plan = planned(tmp_path, host=host)
    before = len(host.trained)
    compare(file, fake_manager(host))
    made = len(host.trained) - before
    assert 0 < made <= sum(part.num_trainings for part in plan.parts)


def test_afterwards_nothing_is_left(tmp_path):
    file, _ = planned(tmp_path)
    compare(file, fake_manager(FakeHost(TASKS)))
    _, plan = planned(tmp_path)
    assert [part.num_trainings for part in plan.parts] == [0] * len(plan.parts)
    assert [part.num_probes for part in plan.parts] == [0] * len(plan.parts)


def test_planning_leaves_the_folder_alone(tmp_path):
    planned(tmp_path, timed=True)
    assert list(tmp_path.iterdir()) == []


def test_times_add_up(tmp_path):
    _, plan = planned(tmp_path, timed=True, primaries=["goal", "degree"])
    assert [part.primary_task for part in plan.parts] == ["goal"] * 5 + ["degree"] * 5
    assert plan.seconds == pytest.approx(sum(part.seconds for part in plan.parts))
    assert plan.measured


def test_without_an_oracle_only_alone_is_left_to_score(tmp_path):
    _, plan = planned(tmp_path, oracle=False, methods={"all": {"method": "all"}})
    assert plan.parts[-1].num_trainings == SEEDS


@pytest.mark.parametrize("arguments", [["plan"], ["compare", "--dry-run"]])
def test_both_commands_print_it(tmp_path, monkeypatch, capsys, arguments):
    path = tmp_path / "compare.yaml"
    values = fake_file(tmp_path / "out", primaries=["goal"], methods=METHODS)
    path.write_text(yaml.safe_dump(json.loads(json.dumps(values, default=str)), sort_keys=False))
    monkeypatch.setattr(plugins, "make_plugin_manager", lambda given=(): fake_manager(None, given))
    given = [*arguments, str(path), "--no-measure", "--set", "evaluation_seeds=2", "--quiet"]
    assert typed(given) == 0
    printed = capsys.readouterr().out
    assert "oracle, alone" in printed
    assert f"gradts-select compare {path}" in printed.replace("\n", "")
    assert "--set evaluation_seeds=2" in printed.replace("\n", " ")
    assert typed([*given, "--json"]) == 0
    parts = json.loads(capsys.readouterr().out)["parts"]
    assert [part["part"] for part in parts] == [*METHODS, ORACLE]
