"""`rank` on a run file: the ranking and nothing more."""

from __future__ import annotations

import json

import yaml
from fake_runs import TASKS, fake_file, fake_manager

from gradts_plugin import plugins, run
from gradts_plugin.commands.main import run as typed
from gradts_plugin.opening import open_run_file
from gradts_plugin.settings.run_file import read_run_file
from gradts_plugin.testing.fake_host import FakeHost


def run_file(folder):
    path = folder / "run.yaml"
    values = fake_file(folder / "out", primary_task="goal")
    path.write_text(yaml.safe_dump(json.loads(json.dumps(values, default=str))))
    return path


def test_a_run_file_is_ranked_and_nothing_is_trained(tmp_path, monkeypatch, capsys):
    path, host = run_file(tmp_path), FakeHost(TASKS)
    monkeypatch.setattr(plugins, "make_plugin_manager", lambda given=(): fake_manager(host, given))
    assert typed(["rank", str(path), "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert "Candidates for goal" in printed
    assert f"gradts-select run {path}" in printed.replace("\n", "")
    assert not host.trained
    folder = read_run_file(path).output_dir
    written = json.loads((folder / "ranking.json").read_text())
    assert written["candidates"][0]["tau"] >= written["candidates"][-1]["tau"]
    assert typed(["rank", str(path), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written


def test_the_run_finds_what_was_ranked(tmp_path, monkeypatch, capsys):
    path, host = run_file(tmp_path), FakeHost(TASKS)
    monkeypatch.setattr(plugins, "make_plugin_manager", lambda given=(): fake_manager(host, given))
    assert typed(["rank", str(path), "--quiet"]) == 0
    outcome = run.run(open_run_file(read_run_file(path), fake_manager(host)))
    assert (outcome.done.probes, outcome.done.probes_reused) == (0, len(TASKS))


def test_changes_and_mistakes_are_those_of_run(tmp_path, capsys):
    path = run_file(tmp_path)
    assert typed(["rank", str(path), "--set", "ranking.ranker=sizes"]) == 2
    assert "did you mean 'size'" in capsys.readouterr().err
    assert typed(["rank", str(tmp_path / "gone.yaml")]) == 2
    assert "no such file" in capsys.readouterr().err
