"""Where gains are said: runs, contexts, comparisons, the terminal, the page and Python."""

from __future__ import annotations

import dataclasses
import io
import json
import re

import pytest
from fake_runs import TASKS, compare_file, fake_manager, open_fake
from report_cases import report_of
from report_page import Page
from rich.console import Console

from gradts_plugin import run
from gradts_plugin.api import _reported
from gradts_plugin.comparison.compare import compare
from gradts_plugin.engine.context import Context
from gradts_plugin.gains.gain import gain_among, pooled_spread
from gradts_plugin.gains.metrics import score_of
from gradts_plugin.report.certainty import run_certainty
from gradts_plugin.report.run_page import render_run_page
from gradts_plugin.scores import Gain
from gradts_plugin.terminal.tables import summary_table
from gradts_plugin.testing.fake_host import FakeHost

WITH_TEST = (dataclasses.replace(TASKS[0], has_test=True, num_dev=40), *TASKS[1:])
GAIN = Gain(0.0412, 0.012, 0.069, 0.987, 2, 400, ("seeds", "instances"))


def opened(folder, tasks=WITH_TEST, **values):
    return open_fake(folder, {"method": "all", **values}, host=FakeHost(tasks))


def printed(table):
    out = io.StringIO()
    Console(file=out, width=100).print(table)
    return out.getvalue()


def test_a_run_says_what_the_selection_gains_on_dev_and_on_test(tmp_path):
    outcome = run.run(opened(tmp_path, training_seeds=2))
    assert outcome.gain == gain_among(outcome.selected, outcome.alone, [])
    assert outcome.test_gain == gain_among(outcome.selected, outcome.alone, [], split="test")
    assert outcome.gain.gain == pytest.approx(outcome.selected.score - outcome.alone.score)
    assert outcome.gain.covers == ("seeds", "instances")
    assert (outcome.gain.num_seeds, outcome.gain.num_instances) == (2, 40)
    assert outcome.gain.low < outcome.gain.gain < outcome.gain.high
    assert outcome.gain != outcome.test_gain
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["gain"] == {**dataclasses.asdict(outcome.gain), "covers": ["seeds", "instances"]}
    assert written["test_gain"]["p_helps"] == outcome.test_gain.p_helps
    assert "predictions" not in json.dumps(written)


def test_a_rerun_finds_the_same_gain(tmp_path):
    first = run.run(opened(tmp_path, training_seeds=2))
    again = run.run(opened(tmp_path, training_seeds=2))
    assert again.done.training_runs == 0
    assert (again.gain, again.test_gain) == (first.gain, first.test_gain)


def test_where_nothing_is_selected_there_is_no_gain(tmp_path):
    outcome = run.run(opened(tmp_path, method="alone"))
    assert (outcome.gain, outcome.test_gain) == (None, None)


def test_without_a_test_set_there_is_no_test_gain(tmp_path):
    untested = (dataclasses.replace(TASKS[0], has_test=False), *TASKS[1:])
    outcome = run.run(opened(tmp_path, untested))
    assert outcome.gain.covers == ("instances",)
    assert outcome.test_gain is None


def test_a_trial_has_what_each_seed_predicted(tmp_path):
    trial = Context(opened(tmp_path)).score((), num_seeds=3)
    assert len(trial.predictions) == 3
    for score, found in zip(trial.scores, trial.predictions, strict=True):
        assert score_of(found["dev"]) == pytest.approx(score, abs=1e-9)


def test_a_context_judges_gains_by_all_trials_so_far(tmp_path):
    context = Context(opened(tmp_path))
    alone = context.score((), num_seeds=2)
    first = context.score(("match",), num_seeds=2)
    assert context.gain(first, alone) == gain_among(first, alone, [])
    second = context.score(("words",), num_seeds=2)
    assert pooled_spread([first, second], alone).degrees_of_freedom == 2
    assert context.gain(first, alone) == gain_among(first, alone, [first, second])


def test_a_comparison_has_intervals_for_methods_and_oracle(tmp_path):
    methods = {"all": {"method": "all"}, "alone": {"method": "alone"}}
    given = {"primaries": ["goal"], "methods": methods, "evaluation_seeds": 2}
    result = compare(compare_file(tmp_path, **given), fake_manager(FakeHost(WITH_TEST)))
    found = result.primaries["goal"]
    of_all = found.methods["all"]
    assert pooled_spread(found.subsets, found.alone).degrees_of_freedom == len(found.subsets) - 1
    assert of_all.interval == gain_among(of_all.trial, found.alone, found.subsets)
    assert of_all.interval.gain == pytest.approx(of_all.gain)
    assert of_all.test_interval.gain == pytest.approx(of_all.test_gain)
    assert found.methods["alone"].interval is None
    assert found.oracle_interval == gain_among(found.oracle, found.alone, found.subsets)
    folder = tmp_path / "out"
    written = json.loads((folder / "comparison.json").read_text())["primaries"]["goal"]
    assert written["oracle_interval"]["p_helps"] == found.oracle_interval.p_helps
    assert written["methods"]["all"]["interval"]["low"] == of_all.interval.low
    text = (folder / "comparison.md").read_text()
    for gain in (of_all.interval, of_all.test_interval):
        assert f"| {gain.shown_interval} | {gain.shown_p_helps} |" in text
    assert f"subsets ({found.oracle_interval.shown})." in text


def test_the_terminal_says_the_gain(tmp_path):
    outcome = run.run(opened(tmp_path, training_seeds=2))
    shown = printed(summary_table(dataclasses.replace(outcome, gain=GAIN, test_gain=None)))
    assert re.search(r"│ gain +│ \+0\.041, 95 % interval \[\+0\.012, \+0\.069\], helps", shown)
    assert "test gain" not in shown
    assert "│ test gain  │" in printed(summary_table(outcome))


def test_python_has_the_gain(tmp_path):
    engine = opened(tmp_path, training_seeds=2)
    outcome = run.run(engine)
    result = _reported(engine, outcome)
    assert (result.gain, result.test_gain) == (outcome.gain, outcome.test_gain)
    shown = printed(result).replace("\n", " ")
    assert f"Dev {outcome.gain.shown[:40]}" in shown
    assert f"Test {outcome.test_gain.shown[:40]}" in shown


def test_the_page_says_the_gain_and_what_its_interval_covers():
    info = report_of(("p", "a", "b"), num_layers=2, num_heads=2, gain=GAIN, test_gain=GAIN)
    said = (
        "The gain over the primary alone: +0.041, 95 % interval [+0.012, +0.069], helps with "
        "probability 0.99. The interval covers 2 training seeds and 400 dev instances."
    )
    assert run_certainty(info)[0] == said
    text = Page(render_run_page(info)).text
    assert said in text
    assert "Helps with probability 0.99" in text
    assert "Test gain +0.041, 95 % interval" in text


def test_the_page_says_where_one_seed_is_all():
    gain = Gain(-0.04, -0.06, -0.02, 0.01, 1, 400, ("instances",))
    info = report_of(("p", "a", "b"), num_layers=2, num_heads=2, gain=gain)
    assert run_certainty(info)[0].replace("\N{MINUS SIGN}", "-") == (
        "The gain over the primary alone: -0.040, 95 % interval [-0.060, -0.020], helps with "
        "probability 0.01, one seed. The interval covers 400 dev instances; set training_seeds to "
        "2 or more to cover seeds."
    )
    assert "-" not in run_certainty(info)[0]
