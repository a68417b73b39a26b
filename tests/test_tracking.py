"""What trackers of experiments are told, and that a resumed run goes on as the same tracked run."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import struct
import time
from pathlib import Path

import pytest
import yaml
from fake_runs import TASKS, fake_file
from tiny_runs import run_command, with_plugins

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.listeners import attaching
from gradts_plugin.listeners.tracking import TrackingLog
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin

pytestmark = pytest.mark.usefixtures("without_pages")


class RecordingTracker:
    """Writes down what it is told."""

    name = "mlflow"  # takes its place

    def __init__(self):
        self.calls = []

    def begin(self, run_id, title, settings):
        self.calls.append(("begin", run_id, title, settings))
        return run_id or f"run-{len(self.calls)}"

    def add_trial(self, trials):
        self.calls.append(("trial", len(trials) - 1, trials[-1]))

    def set_ranking(self, measure, candidates):
        self.calls.append(("ranking", measure, candidates))

    def set_results(self, results):
        self.calls.append(("results", results))

    def end(self, *, failed):
        self.calls.append(("end", failed))

    def of(self, kind):
        return [call[1:] for call in self.calls if call[0] == kind]


@pytest.fixture
def tracker(monkeypatch):
    """What `mlflow: true` tells."""
    tracker = RecordingTracker()
    monkeypatch.setitem(attaching._OPTIONAL, "mlflow", lambda *given: TrackingLog(tracker, *given))
    monkeypatch.setattr(attaching.importlib.util, "find_spec", _found_or_made_up)
    return tracker


def _found_or_made_up(name, package=None, *, found=importlib.util.find_spec):
    return object() if name == "mlflow" else found(name, package)


def run_file(folder, **changes):
    given = {"primary_task": "goal", "method": "trial", "score_test": True, **changes}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**fake_file(folder, **given), "output_dir": "out"}))
    return path


class StopsAt:
    """Stops the run at a training."""

    def __init__(self, number):
        self.left = number

    @hookimpl
    def before_training(self, plan):
        if plan.purpose == "trial":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def run_on_the_fake_host(monkeypatch, path, *plugins, options=("--mlflow",), code=0):
    with_plugins(monkeypatch, FakeHostPlugin(FakeHost(TASKS)), *plugins)
    answer = run_command("run", path, "--quiet", *options)
    assert answer.code == code, answer.err
    return answer


def test_a_tracker_is_told_of_settings_trials_ranking_and_result(tmp_path, monkeypatch, tracker):
    run_on_the_fake_host(monkeypatch, run_file(tmp_path))
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    ((run_id, title, settings),) = tracker.of("begin")
    assert (run_id, title) == (None, "goal by trial")
    assert settings["method"] == "trial"
    assert settings["training.max_steps"] == "4"
    assert settings["tasks"] == "goal, related, words, degree, ending"
    assert not {"output_dir", "store", "mlflow"} & settings.keys()
    ((measure, candidates),) = tracker.of("ranking")
    assert measure == result["ranking"]["measure"]
    assert [(each["task"], each[measure]) for each in candidates] == [
        (each["task_name"], each["tau"]) for each in result["ranking"]["candidates"]
    ]
    trials = tracker.of("trial")
    assert [number for number, _ in trials] == list(range(len(trials)))
    chosen_by = [trial for _, trial in trials if trial["phase"] == "select"]
    assert [(each["auxiliary_tasks"], each["score"]) for each in chosen_by] == [
        (" + ".join(each["auxiliary_tasks"]) or "none", each["score"])
        for each in result["selection"]["trials"]
    ]
    first, last = (results for (results,) in tracker.of("results"))
    assert "score" not in first  # it was selected, and not trained yet
    assert last["score"] == result["selected"]["score"]
    assert last["cost_steps"] == result["cost"]["num_steps"]
    assert tracker.calls[-1] == ("end", False)


def test_a_gain_is_told_with_its_interval(tmp_path, monkeypatch, tracker):
    run_on_the_fake_host(monkeypatch, run_file(tmp_path, method="all", training_seeds=2))
    gain = json.loads((tmp_path / "out" / "result.json").read_text())["gain"]
    (last,) = tracker.of("results")[-1]
    assert last["selected"] == "related, words, degree, ending"
    assert [last["gain"], last["gain_low"], last["gain_high"]] == [
        gain["gain"],
        gain["low"],
        gain["high"],
    ]


def test_a_resumed_run_goes_on_and_tells_nothing_twice(tmp_path, monkeypatch, tracker):
    path = run_file(tmp_path)
    run_on_the_fake_host(monkeypatch, path, StopsAt(3), code=130)
    assert [number for number, _ in tracker.of("trial")] == [0, 1]
    assert tracker.calls[-1] == ("end", True)
    run_on_the_fake_host(monkeypatch, path)
    assert [run_id for run_id, *_ in tracker.of("begin")] == [None, "run-1"]
    numbers = [number for number, _ in tracker.of("trial")]
    assert numbers == list(range(len(numbers)))
    assert tracker.calls[-1] == ("end", False)


def test_other_settings_are_another_tracked_run(tmp_path, monkeypatch, tracker):
    run_on_the_fake_host(monkeypatch, run_file(tmp_path))
    run_on_the_fake_host(monkeypatch, run_file(tmp_path, method="thres"))
    assert [run_id for run_id, *_ in tracker.of("begin")] == [None, None]


def test_a_plan_is_not_tracked(tmp_path, monkeypatch, tracker):
    run_on_the_fake_host(
        monkeypatch, run_file(tmp_path), options=("--mlflow", "--dry-run", "--no-measure")
    )
    path = run_file(tmp_path, mlflow=True)
    assert run_command("plan", path, "--no-measure", "--quiet").code == 0
    assert not tracker.calls


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_told_before_anything_runs(tmp_path, monkeypatch, name):
    monkeypatch.setattr(attaching.importlib.util, "find_spec", lambda _: None)
    path = run_file(tmp_path, **{name: True})
    answer = run_on_the_fake_host(monkeypatch, path, options=(), code=2)
    assert answer.err.splitlines() == [
        f"gradts-select: {name}: true needs the package {name}; type: pip install {name}"
    ]
    assert not (tmp_path / "out").exists()


# --- with the real packages -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """A database of MLflow's, which takes it seconds to make."""
    mlflow = pytest.importorskip("mlflow", reason="needs the extra mlflow")
    pytest.importorskip("sqlalchemy", reason="of MLflow's database")
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.chdir(path.parent)
        mlflow.MlflowClient(f"sqlite:///{path}").search_experiments()
        yield path


@pytest.fixture
def mlflow_client(tmp_path, monkeypatch, empty_database):
    """MLflow on a database of its own, with another one beside it."""
    import mlflow

    for name in ("mlflow.db", "other.db"):
        shutil.copy(empty_database, tmp_path / name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)  # where it keeps tables
    return mlflow.MlflowClient()


def test_mlflow_keeps_one_run_of_a_resumed_run(tmp_path, monkeypatch, mlflow_client):
    path = run_file(tmp_path, method="trial", training_seeds=2)
    run_on_the_fake_host(monkeypatch, path, StopsAt(4), code=130)
    (experiment,) = mlflow_client.search_experiments(filter_string="name = 'gradts'")
    (stopped,) = mlflow_client.search_runs([experiment.experiment_id])
    assert stopped.info.status == "FAILED"
    run_on_the_fake_host(monkeypatch, path)
    (run,) = mlflow_client.search_runs([experiment.experiment_id])
    assert run.info.run_id == stopped.info.run_id
    assert (run.info.status, run.info.run_name) == ("FINISHED", "goal by trial")
    assert run.data.params["method"] == "trial"
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert run.data.tags["selected"] == (
        ", ".join(result["selection"]["auxiliary_tasks"]) or "none"
    )
    assert run.data.metrics["cost_steps"] == result["cost"]["num_steps"]
    assert run.data.metrics["score"] == result["selected"]["score"]
    for candidate in result["ranking"]["candidates"]:
        assert run.data.metrics[f"tau/{candidate['task_name']}"] == candidate["tau"]
    history = mlflow_client.get_metric_history(run.info.run_id, "select/score")
    assert [(each.step, each.value) for each in history] == [
        (number, trial["score"]) for number, trial in enumerate(result["selection"]["trials"])
    ]
    folder = mlflow_client.download_artifacts(run.info.run_id, "", str(tmp_path))
    with (Path(folder) / "trials.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["phase"] for row in rows][:2] == ["select", "select"]
    assert [row["auxiliary_tasks"] for row in rows if row["phase"] == "select"] == [
        " + ".join(trial["auxiliary_tasks"]) or "none" for trial in result["selection"]["trials"]
    ]


def test_an_mlflow_that_does_not_know_the_run_any_more_is_one_line(
    tmp_path, monkeypatch, mlflow_client
):
    path = run_file(tmp_path, method="thres")
    run_on_the_fake_host(monkeypatch, path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    answer = run_on_the_fake_host(monkeypatch, path, code=2)
    (line,) = [line for line in answer.err.splitlines() if line.startswith("gradts-select: ")]
    assert f"mlflow: sqlite:///{tmp_path}/other.db has no run " in line
    assert "remove mlflow.json to begin another" in line


def wandb_records(path):
    """What an offline run wrote: LevelDB's log format, which wandb itself has no reader for."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, parts = path.read_bytes(), 7, []
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:  # the rest of a block
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        parts.append(data[place + 7 : place + 7 + length])
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(b"".join(parts))
            parts = []


def named(items):
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_wandb_keeps_one_run_of_a_resumed_run(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="needs the extra wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    path = run_file(tmp_path, method="trial")
    run_on_the_fake_host(monkeypatch, path, StopsAt(3), options=("--wandb",), code=130)
    time.sleep(1.1)  # wandb names its folders by the second
    run_on_the_fake_host(monkeypatch, path, options=("--wandb",))
    run_id = json.loads((tmp_path / "out" / "wandb.json").read_text())["run_id"]
    files = sorted((tmp_path / "out" / "wandb").glob("offline-run-*/*.wandb"))
    assert [file.name for file in files] == [f"run-{run_id}.wandb"] * len(files)
    config, summary, history = {}, {}, []
    for record in (record for file in files for record in wandb_records(file)):
        config |= named(record.run.config.update)
        summary |= named(record.summary.update)
        history += [row] if "select/score" in (row := named(record.history.item)) else []
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert config["method"] == "trial"
    assert [(row["trial"], row["select/score"]) for row in history] == [
        (number, trial["score"]) for number, trial in enumerate(result["selection"]["trials"])
    ]
    assert summary["cost_steps"] == result["cost"]["num_steps"]
    selected = ", ".join(result["selection"]["auxiliary_tasks"]) or "none"
    assert summary["selected"] == selected


def test_wandb_without_a_login_is_one_line(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="needs the extra wandb")

    def refuse(**_):
        raise wandb.errors.UsageError("api_key not configured (no-tty).\nmore")

    monkeypatch.setattr(wandb, "init", refuse)
    path = run_file(tmp_path, method="thres", wandb=True)
    answer = run_on_the_fake_host(monkeypatch, path, options=(), code=2)
    assert answer.err.splitlines() == [
        "gradts-select: wandb: api_key not configured (no-tty); type wandb login, or set "
        "WANDB_MODE=offline"
    ]
