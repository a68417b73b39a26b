"""What a run writes for programs: logs.jsonl, and TensorBoard's event files."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import Recorder, run_command, with_plugins, write_run_file

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.listeners.attaching import attach_logs
from gradts_plugin.listeners.jsonlines import JsonLinesLog
from gradts_plugin.listeners.tensorboard import TensorBoardLog, run_name
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import Recipe, TrainingPlan, TrainStep
from gradts_plugin.scores import Effect, Gain, Round
from gradts_plugin.settings.selection import GradTSSettings

NAMES = ("topic", "match", "words")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder):
    """A run by trials with both logs: its folder, and what plugins heard."""
    pytest.importorskip("tensorboard")
    run_file = write_run_file(tmp_path_factory.mktemp("run"), encoder, NAMES, method="trial")
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        with_plugins(patch, recorder)
        answer = run_command("run", run_file, "--quiet", "--tensorboard")
    assert answer.code == 0, answer.err
    return run_file.parent / "out", recorder


def entries(folder):
    lines = (folder / "logs.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def of(found, event):
    return [entry for entry in found if entry["event"] == event]


# --- logs.jsonl -----------------------------------------------------------------------------------


def test_every_line_is_an_object_with_time_event_and_phase(finished):
    found = entries(finished[0])
    times = [datetime.fromisoformat(entry["time"]) for entry in found]
    assert times == sorted(times)
    assert all(time.tzinfo is not None for time in times)
    assert [(entry["event"], entry["phase"]) for entry in found[:3]] == [
        ("run", "load"),
        ("before_phase", "load"),
        ("after_task_prepared", "load"),
    ]
    assert found[0]["task"] == "topic"
    assert found[0]["method"] == "trial"
    phases = [entry["phase"] for entry in of(found, "after_phase")]
    assert phases == ["load", "probe", "rank", "select", "rewrite", "train"]


def test_every_step_has_its_line_with_its_loss(finished):
    folder, recorder = finished
    told = [
        (call["plan"].purpose, call["step"].task_name, call["step"].global_step, call["step"].loss)
        for call in recorder.of("after_train_step")
    ]
    written = [
        (entry["purpose"], entry["task"], entry["step"], entry["loss"])
        for entry in of(entries(folder), "after_train_step")
    ]
    assert written == told
    assert {entry["phase"] for entry in of(entries(folder), "after_train_step")} <= {
        "probe",
        "select",
        "train",
    }


def test_taus_and_scores_are_those_of_the_result(finished):
    folder, _ = finished
    result = json.loads((folder / "result.json").read_text())
    found = entries(folder)
    assert [(entry["task"], entry["tau"]) for entry in of(found, "after_candidates_ranked")] == [
        (candidate["task_name"], candidate["tau"]) for candidate in result["ranking"]["candidates"]
    ]
    trials = [entry for entry in of(found, "after_trial") if entry["phase"] == "select"]
    assert [(trial["auxiliary_tasks"], trial["scores"]) for trial in trials] == [
        (trial["auxiliary_tasks"], trial["scores"]) for trial in result["selection"]["trials"]
    ]
    (selected,) = of(found, "after_tasks_selected")
    assert selected["auxiliary_tasks"] == result["selection"]["auxiliary_tasks"]


RECIPE = Recipe("fake", 1, 9, 3, {})


def plan(**changes):
    values = {
        "purpose": "trial",
        "train_tasks": ("topic", "match"),
        "primary_task": "topic",
        "seed": 1,
        "recipe": RECIPE,
        **changes,
    }
    return TrainingPlan(**values)


def test_a_round_of_a_search_is_one_line(tmp_path):
    gain = Gain(0.25, 0.125, 0.375, 0.75, 1, 0, ("seeds",))
    log = JsonLinesLog(tmp_path / "logs.jsonl", GradTSSettings(primary_task="topic"))
    log.after_round(Round(1, (Effect(("match",), gain),), None, None, 8, 12))
    (found,) = of(entries(tmp_path), "after_round")
    assert (found["number"], found["num_trainings"], found["budget"]) == (1, 8, 12)
    assert found["effects"][0]["auxiliary_tasks"] == ["match"]
    assert found["effects"][0]["gain"]["p_helps"] == 0.75


def test_lines_are_there_at_once_and_a_later_run_is_appended(tmp_path):
    path = tmp_path / "out" / "logs.jsonl"
    first = JsonLinesLog(path, GradTSSettings(primary_task="topic"))
    first.after_train_step(plan(), TrainStep("match", 1, 2, 0.5))
    assert [entry["event"] for entry in entries(path.parent)] == ["run", "after_train_step"]
    with path.open("a") as stream:
        stream.write('{"time": "2026-01')  # what a killed process leaves
    second = JsonLinesLog(path, GradTSSettings(primary_task="match"))
    second.after_train_step(plan(), TrainStep("match", 2, 2, float("nan")))
    lines = path.read_text().splitlines()
    assert len(lines) == 5
    assert json.loads(lines[3])["task"] == "match"
    assert json.loads(lines[4])["loss"] is None  # JSON has no NaN


def test_an_error_is_written_down(tmp_path, encoder, monkeypatch):
    class Stop:
        @hookimpl
        def before_training(self, plan):
            raise KeyboardInterrupt

    run_file = write_run_file(tmp_path, encoder, ("topic", "match"))
    with_plugins(monkeypatch, Stop())
    assert run_command("run", run_file, "--quiet").code == 130
    (error,) = of(entries(tmp_path / "out"), "on_probing_error")
    assert (error["task"], error["error"]) == ("topic", "KeyboardInterrupt: ")


def test_a_second_run_in_the_process_gets_its_own_log(tmp_path):
    manager = make_plugin_manager(entry_points=False)
    for name in ("one", "two", "two"):
        attach_logs(manager, GradTSSettings(primary_task=name), tmp_path / name)
        manager.hook.before_phase(phase="rank", num_units=1)
    assert [len(of(entries(tmp_path / name), "before_phase")) for name in ("one", "two")] == [1, 2]
    assert len(of(entries(tmp_path / "two"), "run")) == 1


def test_a_disk_that_refuses_ends_in_one_line(tmp_path, encoder):
    run_file = write_run_file(tmp_path, encoder, ("topic", "match"))
    assert run_command("run", run_file, "--quiet").code == 0
    (tmp_path / "out" / "logs.jsonl").unlink()
    (tmp_path / "out" / "logs.jsonl").mkdir()
    answer = run_command("run", run_file, "--quiet")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert "cannot write" in answer.err
    assert "logs.jsonl" in answer.err


# --- TensorBoard ----------------------------------------------------------------------------------


def scalars(folder: Path):
    """Tag -> [(step, value)] of a TensorBoard run, read back by TensorBoard itself."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    accumulator = reader.EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_losses_and_dev_scores_of_each_training(finished):
    folder, recorder = finished
    runs = {
        str(path.parent.relative_to(folder / "tensorboard"))
        for path in (folder / "tensorboard").rglob("events.*")
    }
    plans = {run_name(call["plan"]) for call in recorder.of("before_training")}
    assert runs == plans | {"selection"}
    assert {f"fine-tuning/{name}-seed0" for name in NAMES} <= runs
    for name in plans:
        found = scalars(folder / "tensorboard" / name)
        told = [
            call["step"]
            for call in recorder.of("after_train_step")
            if run_name(call["plan"]) == name
        ]
        for task in {step.task_name for step in told}:
            assert found[f"loss/{task}"] == [
                (step.global_step, pytest.approx(step.loss))
                for step in told
                if step.task_name == task
            ]
        (result,) = [
            call["result"]
            for call in recorder.of("after_training")
            if run_name(call["plan"]) == name
        ]
        assert found["dev_score"] == [(result.num_steps, pytest.approx(result.score))]


def test_taus_and_trial_scores(finished):
    folder, _ = finished
    result = json.loads((folder / "result.json").read_text())
    found = scalars(folder / "tensorboard" / "selection")
    for candidate in result["ranking"]["candidates"]:
        assert found[f"tau/{candidate['task_name']}"] == [(0, pytest.approx(candidate["tau"]))]
    assert found["score/select"] == [
        (number, pytest.approx(trial["score"]))
        for number, trial in enumerate(result["selection"]["trials"])
    ]
    assert found["score/train"][0][1] == pytest.approx(result["selected"]["score"])


def test_dev_scores_stand_at_their_evaluations(tmp_path):
    from gradts_plugin.records import TrainingResult

    pytest.importorskip("tensorboard")
    log = TensorBoardLog(tmp_path)
    result = TrainingResult(0.7, {}, (0.5, 0.7, 0.6), 9, 72, 1.0, None)
    log.after_training(plan(), result)
    found = scalars(tmp_path / "trial" / "topic+match-seed1")["dev_score"]
    assert found == [(3, pytest.approx(0.5)), (6, pytest.approx(0.7)), (9, pytest.approx(0.6))]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "trial/topic+match-seed1"),
        ({"purpose": "fine-tuning", "train_tasks": ("topic",)}, "fine-tuning/topic-seed1"),
        ({"kept_instances": {"match": (1, 2)}}, "trial/topic+match-filtered-seed1"),
        (
            {"recipe": replace(RECIPE, mixing_ratios={"topic": 3, "match": 1})},
            "trial/topic+match-ratios-3-1-seed1",
        ),
        (
            {"train_tasks": ("topic", *(f"candidate{number}" for number in range(13)))},
            "trial/topic+13-tasks-to-candidate12-seed1",
        ),
    ],
)
def test_names_of_tensorboard_runs(changes, name):
    assert run_name(plan(**changes)) == name


def test_a_missing_tensorboard_is_told_before_anything_runs(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(
        "gradts_plugin.listeners.attaching.importlib.util.find_spec", lambda name: None
    )
    run_file = write_run_file(tmp_path, encoder, ("topic", "match"), tensorboard=True)
    answer = run_command("run", run_file)
    assert answer.code == 2
    assert answer.err.splitlines() == [
        "gradts-select: tensorboard: true needs the package tensorboard; type: pip install "
        "tensorboard"
    ]
    assert not (tmp_path / "out").exists()
