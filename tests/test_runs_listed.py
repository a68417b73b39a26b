"""The finished runs below a folder, side by side."""

from __future__ import annotations

import dataclasses
import json

import pytest
from fake_runs import TASKS, fake_file, open_fake

from gradts_plugin import run
from gradts_plugin.commands.main import run as typed
from gradts_plugin.errors import ConfigError
from gradts_plugin.opening import claim_output_dir
from gradts_plugin.report.runs import finished_runs, settings_that_differ
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.testing.fake_host import FakeHost

WITH_TEST = (dataclasses.replace(TASKS[0], has_test=True, num_dev=40), *TASKS[1:])


def make_run(folder, **values):
    """A run like that of a run file."""
    values = {"primary_task": "goal", **values}
    claim_output_dir(folder, parse_settings(RunFile, {**fake_file(folder), **values}, where="x"))
    return run.run(open_fake(folder, values, host=FakeHost(WITH_TEST)))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    outcomes = {
        "all": make_run(folder / "a" / "all", method="all", training_seeds=2),
        "alone": make_run(folder / "alone", method="alone"),
        "thres": make_run(folder / "thres", method={"name": "thres", "threshold": 0.9}, seed=3),
    }
    (folder / "other").mkdir()
    (folder / "other" / "result.json").write_text("{}")  # no run of ours lies there
    return folder, outcomes


def test_each_run_is_told_in_short(searched):
    folder, outcomes = searched
    runs = {found.folder: found for found in finished_runs(folder)}
    assert set(runs) == {"a/all", "alone", "thres"}
    found, outcome = runs["a/all"], outcomes["all"]
    assert (found.primary_task, found.method, found.ranker) == ("goal", "all", None)
    assert found.auxiliary_tasks == outcome.selection.auxiliary_tasks
    assert (found.score, found.alone) == (outcome.selected.score, outcome.alone.score)
    assert (found.gain, found.test_gain) == (outcome.gain, outcome.test_gain)
    assert found.cost == outcome.cost
    assert found.finished.endswith("+00:00")
    assert (runs["alone"].auxiliary_tasks, runs["alone"].gain) == ((), None)
    assert runs["thres"].ranker == "heads"


def test_the_largest_gain_comes_first(searched):
    gains = [found.gain.gain if found.gain else 0.0 for found in finished_runs(searched[0])]
    assert gains == sorted(gains, reverse=True)


def test_what_lies_inside_an_output_folder_is_not_another_run(searched, tmp_path):
    make_run(tmp_path / "one", method="alone")
    make_run(tmp_path / "one" / "inside", method="alone")
    assert [found.folder for found in finished_runs(tmp_path)] == ["one"]
    assert [found.folder for found in finished_runs(tmp_path / "one")] == ["."]


def test_two_runs_differ_in_what_they_were_given(searched):
    folder, _ = searched
    runs = finished_runs(folder)
    found = {key: pair for key, *pair in settings_that_differ(folder, runs, ("a/all", "thres"))}
    assert found["seed"] == [0, 3]
    assert found["training_seeds"] == [2, None]
    assert "output_dir" not in found
    assert "tasks" not in found
    assert settings_that_differ(folder, runs, ("alone", "alone")) == []


def test_what_is_not_there_is_refused(searched, tmp_path):
    folder, _ = searched
    with pytest.raises(ConfigError, match="no such folder"):
        finished_runs(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="holds no finished run"):
        finished_runs(tmp_path)
    with pytest.raises(ConfigError, match="holds no run 'all'; did you mean 'a/all'"):
        settings_that_differ(folder, finished_runs(folder), ("all", "alone"))


@pytest.mark.parametrize("content", ["[]", "{}", '{"selection": 3}', "{"])
def test_a_damaged_result_is_refused(tmp_path, content):
    make_run(tmp_path / "one", method="alone")
    (tmp_path / "one" / "result.json").write_text(content)
    with pytest.raises(ConfigError, match=r"result\.json"):
        finished_runs(tmp_path)


def test_the_command_prints_a_table_json_and_a_page(searched, tmp_path, capsys, monkeypatch):
    folder, _ = searched
    monkeypatch.setenv("COLUMNS", "80")
    page = tmp_path / "runs.html"
    assert typed(["runs", str(folder), "--page", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "a/all" in printed
    assert "thres," in printed
    table, _, path = printed.partition("Page: ")  # which is never broken, so that it can be copied
    assert max(map(len, table.splitlines())) <= 80
    assert path == f"{page}\n"
    for found in finished_runs(folder):
        assert found.folder in printed
        if found.gain is not None:
            assert f"{found.gain.gain:+.3f} {found.gain.shown_interval}" in printed
            assert f"helps: {found.gain.shown_p_helps}" in printed
    text = page.read_text()
    assert text.count('<th scope="row">') == 3
    assert "with their 95 % intervals; P(helps)" in text
    for found in finished_runs(folder):
        if found.gain is not None:
            assert f">{found.gain.shown_interval}</td>" in text
            assert f">{found.gain.shown_p_helps}</td>" in text
    assert "http" not in text
    assert typed(["runs", str(folder), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3
    assert typed(["runs", str(folder), "--differ", "a/all", "thres"]) == 0
    printed = capsys.readouterr().out
    assert "training_seeds" in printed
    assert "alone, " not in printed
    assert typed(["runs", str(folder), "--differ", "alone", "alone", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == []
