"""The plugin on an existing jiant set-up: rewritten configs, jiant's own runs, resuming."""

from __future__ import annotations

import copy
import dataclasses
import json
import shlex
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from tiny_encoders import save_tiny_encoder
from tiny_jiant import TASKS, export_weights, losses, write_setup
from tiny_runs import TRAINING, Recorder, files_below, run_command, with_plugins, write_run_file

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.container import restrict_sampler_config, steps_sampler
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches
from gradts_plugin.hosts.jiant.original_config import read_container_config
from gradts_plugin.hosts.jiant.training.recipe import evaluation_steps, resolve_recipe
from gradts_plugin.hosts.jiant.training.train import train
from gradts_plugin.records import Recipe, TrainingPlan
from gradts_plugin.settings.training import TrainingSettings

apply_mends()

from jiant.proj.main.components.container_setup import (  # noqa: E402
    create_jiant_task_container_from_json,
)
from jiant.proj.main.components.task_sampler import create_task_sampler  # noqa: E402
from jiant.shared import caching  # noqa: E402

pytestmark = pytest.mark.usefixtures("without_pages")

SETTINGS = {
    "primary_task": "cola",
    "method": {"name": "thres", "threshold": {"quantile": 0.5}},
    "fine_tuning": TRAINING,
    "probing": {"model": "fine-tuned"},
    "ranking": {"bootstrap": 100},
}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A jiant set-up on all kinds of jiant's own tasks, with one shared gradient store."""
    folder = tmp_path_factory.mktemp("setup")
    encoder = save_tiny_encoder("bert", folder / "encoder")
    weights = export_weights(encoder, folder / "weights.p")
    container = write_setup(
        folder, encoder, tuple(TASKS), 6, cache_options={"chunk_size": 7, "smart_truncate": False}
    )
    return SimpleNamespace(folder=folder, encoder=encoder, weights=weights, container=container)


def config_with(setup, path, gradts=None, **changes):
    """Writes the container config with changes and a gradts block."""
    config = json.loads(setup.container.read_text())
    config |= changes
    if gradts is not None:
        config["gradts"] = {"store": str(setup.folder / "store"), **gradts}
    path.write_text(json.dumps(config, indent=1))
    return path


def model_arguments(setup):
    return (
        "--hf_pretrained_model_name_or_path",
        setup.encoder,
        "--model_path",
        setup.weights,
        "--no_cuda",
    )


def select(setup, config, *arguments, command="select"):
    """Runs a command on a container config; it must work."""
    answer = run_command(
        command,
        "--jiant_task_container_config_path",
        config,
        *model_arguments(setup),
        *arguments,
    )
    assert answer.code == 0, answer.err
    return answer


def run_arguments(setup, config, output_dir, *more):
    return (
        "--jiant_task_container_config_path",
        config,
        "--output_dir",
        output_dir,
        *model_arguments(setup),
        "--do_train",
        "--do_val",
        "--seed=3",
        "--learning_rate=1e-3",
        *more,
    )


# --- rank, probe, select --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def selected(setup):
    """A config before and after a selection."""
    config = config_with(setup, setup.folder / "before.json", SETTINGS)
    before = config.read_bytes()
    answer = select(setup, config, "--output_dir", setup.folder / "select")
    assert config.read_bytes() == before
    path = setup.folder / "select" / "selected_config.json"
    return SimpleNamespace(before=config, path=path, answer=answer)


def test_the_rewritten_config_trains_the_selection_and_nothing_else_changed(selected):
    before = json.loads(selected.before.read_text())
    after = json.loads(selected.path.read_text())
    auxiliaries = after["gradts"]["selection"]["auxiliary_tasks"]
    assert auxiliaries
    expected = copy.deepcopy(before)
    in_order = [name for name in TASKS if name in auxiliaries]
    expected["task_run_config"]["train_task_list"] = ["cola", *in_order]
    expected["task_run_config"]["train_val_task_list"] = ["cola"]
    for key in ("val_task_list", "test_task_list"):
        expected["task_run_config"][key] = ["cola", *in_order]
    heads = expected["taskmodels_config"]["task_to_taskmodel_map"]
    for name in set(heads) - {"cola", *in_order}:
        del heads[name]
    del expected["gradts"]
    record = after.pop("gradts")
    assert after == expected
    selection = record.pop("selection")
    assert record == before["gradts"]
    assert str(selected.path) in selected.answer.out
    assert selection["original"] == {
        "task_run_config": before["task_run_config"],
        "sampler_config": before["sampler_config"],
        "global_train_config": before["global_train_config"],
        "task_specific_configs_dict": before["task_specific_configs_dict"],
        "taskmodels_config": before["taskmodels_config"],
        "train_caches": {},
    }


def test_what_jiants_own_sampler_does_to_the_primary_is_said_at_once(selected):
    # Five tasks of the same size share six steps.
    said = " ".join(selected.answer.err.split())
    assert "Note: Beside 4 auxiliaries, cola gets about 1 of the 6 steps that it gets alone" in said
    assert "`training: {exposure: equal}` gives it all of them" in said
    assert said.index("Note: ") < said.index("probed ")


def test_the_provenance_record_says_where_the_selection_comes_from(selected):
    record = json.loads(selected.path.read_text())["gradts"]["selection"]
    assert set(record["versions"]) >= {"gradts-plugin", "jiant", "torch", "transformers"}
    assert set(record["task_fingerprints"]) == set(TASKS)
    assert len(record["encoder_fingerprint"]) == 64
    assert [item["task_name"] for item in record["ranking"]][
        : len(record["auxiliary_tasks"])
    ] == record["auxiliary_tasks"]
    assert all(-1 <= item["tau"] <= 1 and item["interval"] for item in record["ranking"])
    assert (record["method"], record["primary_task"]) == ("thres", "cola")
    assert record["reason"]


def test_selecting_on_the_rewritten_config_gives_the_identical_file(setup, selected):
    again = selected.path.with_name("again.json")
    output = ("--output_dir", selected.path.parent, "--output_config_path", again)
    select(setup, selected.path, *output)
    assert again.read_bytes() == selected.path.read_bytes()


def test_a_record_without_batch_sizes_changed_none(selected):
    config = json.loads(selected.path.read_text())
    for key in ("task_specific_configs_dict", "taskmodels_config"):
        del config["gradts"]["selection"]["original"][key]
    older = selected.path.with_name("older.json")
    older.write_text(json.dumps(config))
    restored, _ = read_container_config(older)
    for key in ("task_specific_configs_dict", "taskmodels_config"):
        assert restored[key] == config[key]
    original = json.loads(selected.before.read_text())
    assert restored["global_train_config"] == original["global_train_config"]


def test_the_input_config_is_never_replaced(setup, selected):
    before = selected.path.read_bytes()
    for where in ("--output_config_path", selected.path), ("--output_dir", selected.path.parent):
        answer = run_command(
            *("select", "--jiant_task_container_config_path", selected.path),
            *(*model_arguments(setup), "--method", "trial", *where),
        )
        assert answer.code == 2
        assert "which is never changed" in answer.err
    assert selected.path.read_bytes() == before


def test_plain_jiant_accepts_and_trains_the_rewritten_config(setup, selected):
    container = create_jiant_task_container_from_json(str(selected.path), verbose=False)
    trained = container.task_run_config.train_task_list
    output = setup.folder / "plain"
    arguments = run_arguments(setup, selected.path, output)
    answer = run_command("host", "-m", "jiant.proj.main.runscript", "run", *arguments)
    assert answer.code == 0, answer.err
    steps = losses(output)
    assert len(steps) == 6
    assert {task for task, _ in steps} <= set(trained)
    assert list(json.loads((output / "val_metrics.json").read_text())) == ["aggregated", *trained]


def test_rank_prints_json_and_nothing_else(setup, selected):
    output = ("--output_dir", setup.folder / "rank")
    answer = select(setup, selected.before, *output, "--json", command="rank")
    ranking = json.loads(answer.out)
    assert {item["task_name"] for item in ranking["candidates"]} == set(TASKS) - {"cola"}
    assert ranking["num_heads_total"] == 4
    assert "probed cola (seed 0): 18 instances (stored)" in answer.err
    (written,) = (setup.folder / "rank").glob("*.json")
    assert (written.name, json.loads(written.read_text())) == ("ranking.json", ranking)


def test_probe_says_what_was_stored(setup, selected):
    output = ("--output_dir", setup.folder / "probe", "--quiet")
    answer = select(setup, selected.before, *output, "--json", command="probe")
    found = json.loads(answer.out)
    assert found["probes"]["udpos"] == [{"instances": 18, "layers": 2, "heads": 2}]
    assert (found["done"]["probes"], found["done"]["probes_reused"]) == (0, 5)
    assert answer.err == ""


def test_flags_win_over_the_file_and_the_file_over_the_block(setup, selected, tmp_path):
    given = tmp_path / "given.yaml"
    given.write_text(yaml.safe_dump({"primary_task": "stsb", "candidate_tasks": ["cola", "rte"]}))
    output = ("--output_dir", tmp_path / "out", "--gradts_config", given)
    ranking = json.loads(
        select(setup, selected.before, *output, "--json", "--quiet", command="rank").out
    )
    assert ranking["task_names"] == ["stsb", "cola", "rte"]
    flags = ("--primary_task", "rte", "--candidate_tasks", "udpos,copa", "--json", "--quiet")
    ranking = json.loads(select(setup, selected.before, *output, *flags, command="rank").out)
    assert ranking["task_names"] == ["rte", "udpos", "copa"]


def test_a_task_that_is_only_evaluated_needs_no_training_cache(setup, tmp_path):
    config = json.loads(setup.container.read_text())
    del config["task_cache_config_dict"]["copa"]["train"]
    config["task_run_config"]["train_task_list"].remove("copa")
    path = config_with(setup, tmp_path / "c.json", SETTINGS, **config)
    output = ("--output_dir", tmp_path / "out", "--json", "--quiet")
    ranking = json.loads(select(setup, path, *output, command="rank").out)
    assert ranking["task_names"] == ["cola", "rte", "stsb", "udpos"]


# --- fine-grained ---------------------------------------------------------------------------------


def test_fine_grained_caches_hold_exactly_the_kept_rows(setup, tmp_path):
    settings = {
        **SETTINGS,
        "method": {"name": "fg", "instance_threshold": {"quantile": 0.5}},
        "faithful": True,
        "candidate_tasks": ["rte", "stsb"],
        "training": TRAINING,
    }
    config = config_with(setup, tmp_path / "c.json", settings)
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        with_plugins(patch, recorder)
        select(setup, config, "--output_dir", tmp_path / "out")
    (call,) = recorder.of("after_tasks_selected")
    kept = call["selection"].kept_instances
    assert kept
    path = tmp_path / "out" / "selected_config.json"
    after = json.loads(path.read_text())
    assert set(after["gradts"]["selection"]["original"]["train_caches"]) == set(kept)
    container = create_jiant_task_container_from_json(str(path), verbose=False)
    original = json.loads(setup.container.read_text())["task_cache_config_dict"]
    for name, ids in kept.items():
        rows = container.task_cache_dict[name]["train"].get_all()
        found = [int(row["metadata"]["example_id"]) for row in rows]
        assert sorted(found) == sorted(ids.tolist())
        whole = {
            int(row["metadata"]["example_id"]): row["data_row"]
            for row in caching.ChunkedFilesDataCache(original[name]["train"]).iter_all()
        }
        for row in rows:
            same = whole[int(row["metadata"]["example_id"])]
            assert np.array_equal(row["data_row"].input_ids, same.input_ids)
        dev = after["task_cache_config_dict"][name]["val"]
        assert dev == original[name]["val"]
    sizes = [
        len(kept[name]) if name in kept else 18
        for name in container.task_run_config.train_task_list
    ]
    np.testing.assert_allclose(container.task_sampler.task_p, np.array(sizes) / sum(sizes))
    # From the rewritten config: the original caches are probed and filtered, not the subsets.
    again = path.with_name("again.json")
    select(setup, path, "--output_dir", path.parent, "--output_config_path", again)
    assert again.read_bytes() == path.read_bytes()


# --- samplers -------------------------------------------------------------------------------------

SAMPLERS = {
    "UniformMultiTaskSampler": {},
    "TemperatureMultiTaskSampler": {"temperature": 2.0, "examples_cap": 10},
    "SpecifiedProbMultiTaskSampler": {
        "task_to_unweighted_probs": {"cola": 5, "rte": 1, "stsb": 2, "udpos": 3, "copa": 4}
    },
    "TimeDependentProbMultiTaskSampler": {
        "task_to_unnormalized_prob_funcs_dict": dict.fromkeys(TASKS, "1 + t"),
        "max_steps": 100,
    },
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_is_narrowed_to_the_selection(setup, tmp_path, sampler):
    sampler_config = {"sampler_type": sampler, **SAMPLERS[sampler]}
    config = config_with(setup, tmp_path / "c.json", SETTINGS, sampler_config=sampler_config)
    select(setup, config, "--output_dir", tmp_path / "out", "--quiet")
    path = tmp_path / "out" / "selected_config.json"
    container = create_jiant_task_container_from_json(str(path), verbose=False)
    trained = container.task_run_config.train_task_list
    assert 1 < len(trained) < 5
    assert container.task_sampler.pop()[0] in trained
    after = json.loads(path.read_text())["sampler_config"]
    for key, value in sampler_config.items():
        if isinstance(value, dict):
            assert after[key] == {name: value[name] for name in trained}
        else:
            assert after[key] == value


def test_two_samplers_are_two_training_runs(setup):
    container = json.loads(setup.container.read_text())
    arguments = HostArguments(str(setup.encoder), str(setup.weights))
    sizes = dict.fromkeys(TASKS, 18)

    def recipe(tasks, **sampler):
        config = {**container, "sampler_config": sampler}
        return resolve_recipe(TrainingSettings(epochs=1), config, arguments, tasks, sizes)

    proportional = recipe(["cola", "rte"], sampler_type="ProportionalMultiTaskSampler")
    uniform = recipe(["cola", "rte"], sampler_type="UniformMultiTaskSampler")
    assert proportional.own["sampler"] == "host"
    assert uniform.own["sampler"] == {"sampler_type": "UniformMultiTaskSampler"}
    # With one task there is nothing to sample.
    assert recipe(["cola"], sampler_type="UniformMultiTaskSampler").own["sampler"] == "host"


def test_plain_jiant_draws_a_last_task_last():
    steps = {"cola": 4, "rte": 30, "udpos": 90}
    config = steps_sampler(steps, "cola")
    sampler = create_task_sampler(config, dict.fromkeys(steps), dict.fromkeys(steps, 18), rng=0)
    drawn = [sampler.pop()[0] for _ in range(124)]
    assert set(drawn[:120]) == {"rte", "udpos"}
    assert drawn.count("udpos") > drawn.count("rte")
    assert drawn[120:] == ["cola"] * 4
    assert sampler.get_task_p(0).tolist() == [0, 0.25, 0.75]


def test_a_sampler_without_a_probability_for_a_task_is_refused():
    with pytest.raises(Exception, match="no entry for task 'rte'"):
        restrict_sampler_config({"task_to_unweighted_probs": {"cola": 1}}, ["cola", "rte"])


# --- jiant's own run, with and without the block --------------------------------------------------


@pytest.mark.parametrize("block", [None, {"enabled": False, "primary_task": "cola"}])
def test_without_the_block_or_disabled_a_run_is_plain_jiant(setup, tmp_path, block):
    run_lists = {
        "train_task_list": ["udpos"],  # one task: jiant's task order is left to chance
        "train_val_task_list": ["udpos"],
        "val_task_list": ["udpos", "cola"],
        "test_task_list": [],
    }
    config = config_with(setup, tmp_path / "c.json", block, task_run_config=run_lists)
    found = {}
    for name, command in (
        ("plain", ("host", "-m", "jiant.proj.main.runscript", "run")),
        ("through", ("run",)),
    ):
        output = tmp_path / name
        answer = run_command(*command, *run_arguments(setup, config, output, "--do_save"))
        assert answer.code == 0, answer.err
        weights = torch.load(output / "best_model.p", weights_only=True)
        metrics = (output / "val_metrics.json").read_text()
        files = {path.split("/", 1)[-1] for path in files_below(output)}
        found[name] = (losses(output), metrics, files, weights)
    assert found["plain"][:3] == found["through"][:3]
    assert len(found["plain"][0]) == 6
    for key, value in found["plain"][3].items():
        assert torch.equal(value, found["through"][3][key])


def test_an_enabled_run_selects_and_then_trains_as_jiant_does(setup, tmp_path):
    config = config_with(setup, tmp_path / "c.json", SETTINGS)
    before = config.read_bytes()
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        with_plugins(patch, recorder)
        answer = run_command("run", *run_arguments(setup, config, tmp_path / "out"))
    assert answer.code == 0, answer.err
    assert config.read_bytes() == before
    selection = json.loads((tmp_path / "out" / "gradts" / "result.json").read_text())["selection"]
    assert "Selected for cola: " + ", ".join(selection["auxiliary_tasks"]) in answer.out
    steps = losses(tmp_path / "out")
    assert len(steps) == 6
    assert {task for task, _ in steps} <= {"cola", *selection["auxiliary_tasks"]}
    assert (tmp_path / "out" / "done_file").read_text() == "DONE"
    seen = [
        (call["step"].task_name, call["step"].loss)
        for call in recorder.of("after_train_step")
        if call["plan"].purpose == "training"
    ]
    assert seen == steps
    gradts = tmp_path / "out" / "gradts"
    result = json.loads((gradts / "result.json").read_text())
    fine_tuning = sum(
        call["plan"].purpose == "fine-tuning" for call in recorder.of("after_train_step")
    )
    assert result["done"]["training_steps"] == 6 + fine_tuning
    assert result["seconds"]["train"] > 0
    assert json.loads((gradts / "report.json").read_text())
    assert f"Report: {gradts}/report." in answer.out.replace("\n", "")
    assert f"{6 + fine_tuning} training steps in" in answer.out
    command = answer.out.split("Next:")[1]
    assert "--do_save_best" in command  # it kept no weights
    phases = [call["phase"] for call in recorder.of("after_phase")]
    assert phases == ["probe", "rank", "select", "rewrite", "train"]


def test_what_a_run_prints_next_predicts_with_its_weights(setup, tmp_path):
    config = config_with(setup, tmp_path / "c.json", SETTINGS)
    answer = run_command("run", *run_arguments(setup, config, tmp_path / "out", "--do_save_best"))
    assert answer.code == 0, answer.err
    command = shlex.split(answer.out.split("Next:")[1].replace("\\\n", ""))
    assert command[0] == "gradts-select"
    predicted = run_command(*command[1:])
    assert predicted.code == 0, predicted.err
    assert (tmp_path / "out" / "predictions" / "val_preds.p").is_file()
    scored = [
        json.loads((tmp_path / "out" / where / "val_metrics.json").read_text())
        for where in (".", "predictions")
    ]
    assert scored[0]["aggregated"] == pytest.approx(scored[1]["aggregated"], abs=1e-5)
    trained = json.loads((tmp_path / "out" / "gradts" / "selected_config.json").read_text())
    assert set(scored[0]) == {"aggregated", *trained["task_run_config"]["train_task_list"]}


def test_weights_of_a_run_file_predict_with_its_rewritten_config(setup, tmp_path):
    # As the FAQ says; one candidate is not selected, and has no head.
    tasks, method = ("topic", "match", "degree"), {"name": "top", "k": 1}
    path = write_run_file(tmp_path, setup.encoder, tasks, method=method)
    assert run_command("run", path, "--quiet").code == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    answer = run_command(
        *("host", "-m", "jiant.proj.main.runscript", "run", "--no_cuda"),
        *("--jiant_task_container_config_path", tmp_path / "out" / "selected_config.json"),
        *("--output_dir", tmp_path / "predictions", "--model_load_mode", "all"),
        *("--hf_pretrained_model_name_or_path", setup.encoder),
        *("--model_path", result["weights"][0], "--do_val", "--write_val_preds"),
    )
    assert answer.code == 0, answer.err
    scores = json.loads((tmp_path / "predictions" / "val_metrics.json").read_text())
    (trained,) = result["selected"]["scores"]
    assert scores["topic"]["metrics"]["major"] == pytest.approx(trained)


def test_settings_can_come_from_a_file_and_finished_runs_are_not_repeated(setup, tmp_path):
    settings = tmp_path / "gradts.yaml"
    settings.write_text(yaml.safe_dump({**SETTINGS, "store": str(setup.folder / "store")}))
    config = config_with(setup, tmp_path / "c.json")
    arguments = run_arguments(
        setup, config, tmp_path / "out", "--gradts_config", settings, "--force_overwrite"
    )
    assert run_command("run", "run", *arguments).code == 0
    first = losses(tmp_path / "out")
    assert len(first) == 6
    again = run_command("run", "run_with_continue", *arguments[:-1])
    assert again.code == 0, again.err
    assert losses(tmp_path / "out") == first


# --- resuming -------------------------------------------------------------------------------------


class StopAt:
    """Ctrl-C in the middle of jiant's own training."""

    @hookimpl
    def after_train_step(self, plan, step):
        """Interrupts."""
        if plan.purpose == "training" and step.global_step == 5:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("how", "training"),
    [
        ("continue", {}),
        ("run_with_continue", {}),
        ("continue", {"max_steps": 3, "exposure": "equal"}),
    ],
    ids=["continue", "run_with_continue", "sequential"],
)
def test_a_killed_run_resumes_exactly(setup, tmp_path, how, training):
    config = config_with(setup, tmp_path / "c.json", {**SETTINGS, "training": training})
    options = ("--save_checkpoint_every_steps=3", "--eval_every_steps=3")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run_command("run", *run_arguments(setup, config, whole, *options)).code == 0
    with pytest.MonkeyPatch.context() as patch:
        with_plugins(patch, StopAt())
        assert run_command("run", *run_arguments(setup, config, killed, *options)).code == 130
    kept = losses(killed)
    assert 3 <= len(kept) <= 5
    for log in killed.glob("1*"):
        shutil.rmtree(log)
    if how == "continue":
        answer = run_command("run", "continue", "--checkpoint_path", killed / "checkpoint.p")
    else:
        answer = run_command(
            "run", "run_with_continue", *run_arguments(setup, config, killed, *options)
        )
    assert answer.code == 0, answer.err
    expected = losses(whole)
    resumed = losses(killed)
    assert resumed == expected[-len(resumed) :]
    assert 0 < len(resumed) < 6
    assert not training or [task for task, _ in expected[3:]] == ["cola"] * 3
    assert (killed / "val_metrics.json").read_text() == (whole / "val_metrics.json").read_text()


# --- MT-DNN's recipe ------------------------------------------------------------------------------


def test_mt_dnn_recipe(setup, monkeypatch):
    container = json.loads(setup.container.read_text())
    settings = TrainingSettings(recipe="mt-dnn", epochs=2, gradient_accumulation_steps=2)
    arguments = HostArguments(str(setup.encoder), str(setup.weights), no_cuda=True)
    tasks = ("cola", "udpos")
    recipe = resolve_recipe(settings, container, arguments, tasks, dict.fromkeys(TASKS, 18))
    # 18 rows in batches of 4, two of them a step: 3 steps a task and epoch.
    assert (recipe.max_steps, recipe.own["warmup_steps"]) == (12, 1)
    steps, clipped, rates = [], [], []
    clip = torch.nn.utils.clip_grad_norm_

    def count(parameters, max_norm, *rest, **options):
        if np.isfinite(max_norm):
            clipped.append(max_norm)
        return clip(parameters, max_norm, *rest, **options)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", count)
    step_of = torch.optim.Adamax.step

    def note(self, *given, **options):
        rates.append(self.param_groups[0]["lr"])
        return step_of(self, *given, **options)

    monkeypatch.setattr(torch.optim.Adamax, "step", note)
    run = train(
        container,
        TrainingPlan("trial", tasks, "cola", seed=1, recipe=recipe),
        arguments,
        switches=FaultSwitches(),
        observe=steps.append,
        output_dir=None,
    )
    assert isinstance(run.runner.optimizer_scheduler.optimizer, torch.optim.Adamax)
    order = [step.task_name for step in steps]
    for epoch in (order[:6], order[6:]):
        assert sorted(epoch) == ["cola"] * 3 + ["udpos"] * 3
    assert clipped == [1.0] * 12
    # One step of warm-up from zero, then linear decay to zero after the last step.
    expected = [0.0, *(5e-5 * (12 - step) / 11 for step in range(1, 12))]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert run.result.num_steps == 12
    assert len(run.result.history) == 2


def test_dev_sets_are_scored_in_the_last_tasks_steps(setup):
    recipe = Recipe("jiant", 1, 30, 4, {}, task_steps={"cola": 10, "rte": 20})
    assert evaluation_steps(recipe) == {8, 15, 22, 30}
    last = dataclasses.replace(recipe, last_task="cola")
    assert evaluation_steps(last) == {22, 25, 28, 30}  # after 2.5, 5, 7.5 and 10 of them


@pytest.mark.parametrize("optimizer", ["adamw", "adamax", "radam"])
def test_after_the_others_a_task_has_the_learning_rates_that_it_has_alone(setup, optimizer):
    container = json.loads(setup.container.read_text())
    arguments = HostArguments(str(setup.encoder), str(setup.weights), no_cuda=True)
    settings = TrainingSettings(learning_rate=1e-3, optimizer=optimizer)

    def rates(num_steps, **own):
        tasks = ("cola", *(name for name in own.get("task_steps", ()) if name != "cola"))
        of_length = settings.model_copy(update={"max_steps": num_steps})
        recipe = resolve_recipe(of_length, container, arguments, tasks, dict.fromkeys(TASKS, 18))
        found = []
        train(
            container,
            TrainingPlan("trial", tasks, "cola", 1, dataclasses.replace(recipe, **own)),
            arguments,
            switches=FaultSwitches(),
            observe=lambda step: None,
            output_dir=None,
            after_step=lambda run, _: found.append(
                [group["lr"] for group in run.runner.optimizer_scheduler.optimizer.param_groups]
            ),
        )
        return np.array(found)  # after each step: those of the next one

    alone, auxiliaries = rates(10), rates(20)
    both = rates(30, task_steps={"cola": 10, "rte": 8, "udpos": 12}, last_task="cola")
    assert alone[:, 0].max() == 1e-3
    assert (both[20:] == alone).all()
    assert (both[:19] == auxiliaries[:19]).all()
    assert (both[19] == 0).all()  # a warm-up starts at nothing


def test_tagging_dev_sets_are_scored_on_trimmed_batches(setup):
    # jiant stacks the logits of all dev batches, which are of different lengths once trimmed.
    container = json.loads(setup.container.read_text())
    container["task_specific_configs_dict"]["udpos"]["eval_batch_size"] = 2
    arguments = HostArguments(str(setup.encoder), str(setup.weights), no_cuda=True)
    settings = TrainingSettings(epochs=1, batch_size=8, learning_rate=1e-3)
    recipe = resolve_recipe(settings, container, arguments, ["udpos"], {"udpos": 18})
    results = [
        train(
            container,
            TrainingPlan("trial", ("udpos",), "udpos", seed=1, recipe=recipe),
            arguments,
            switches=FaultSwitches(trim_batches=trimmed),
            observe=lambda step: None,
            output_dir=None,
        ).result
        for trimmed in (True, False)
    ]
    assert results[0].score == pytest.approx(results[1].score, abs=1e-9)
    assert results[0].metrics["loss"] == pytest.approx(results[1].metrics["loss"], rel=1e-5)
