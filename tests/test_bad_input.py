"""Bad input: one line on stderr, exit code 2, nothing written and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
import torch
import transformers
import yaml
from tiny_encoders import save_tiny_encoder
from tiny_jiant import export_weights, write_setup
from tiny_runs import files_below, run_command, write_run_file, write_task

from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.preparing.tokenising import cache_identity
from gradts_plugin.settings.run_file import ModelSettings
from gradts_plugin.stores.importances import GradientStore

apply_mends()


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture
def run_file(tmp_path, encoder):
    return write_run_file(tmp_path, encoder, tasks=("topic", "match"))


def refused(run_file, *words):
    """Runs the file; it must be refused in one line with these words, and write nothing."""
    before = files_below(run_file.parent)
    answer = run_command("run", run_file)
    lines = answer.err.splitlines()
    assert answer.code == 2, answer.err
    assert answer.out == ""
    assert len(lines) == 1, answer.err
    assert lines[0].startswith("gradts-select: ")
    for word in words:
        assert word in lines[0]
    assert files_below(run_file.parent) == before
    if not any(name.startswith("out") for name in before):
        assert not (run_file.parent / "out").exists()
    return lines[0]


def changed(run_file, **changes):
    """Changes keys of a run file; a dot leads into nested keys."""
    values = yaml.safe_load(run_file.read_text())
    for place, value in changes.items():
        *outer, key = place.split("__")
        inner = values
        for name in outer:
            inner = inner[name]
        inner[key] = value
    run_file.write_text(yaml.safe_dump(values, sort_keys=False))
    return run_file


def task_file(run_file, name):
    return run_file.parent / "tasks" / name


# --- the run file ---------------------------------------------------------------------------------


def test_missing_run_file(tmp_path):
    refused(tmp_path / "run.yaml", "run.yaml: no such file")


def test_broken_yaml_is_told_with_its_line(run_file):
    run_file.write_text("model:\n  name_or_path: bert\n tasks: [\n")
    refused(run_file, "run.yaml, line 3: broken YAML")


def test_a_run_file_that_is_no_mapping(run_file):
    run_file.write_text("- topic\n")
    refused(run_file, "expected a mapping")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"methd": "trial"}, ["unknown key 'methd'", "did you mean 'method'?"]),
        ({"probing": {"importnce": 1}}, ["'probing.importnce'", "did you mean 'importance'?"]),
        ({"method": "tral"}, ["method: unknown value 'tral'", "did you mean 'trial'?"]),
        ({"probing": {"importance": "colums"}}, ["'colums'", "did you mean 'columns'?"]),
        ({"ranking": {"correlation": "kendal"}}, ["'kendal'", "did you mean 'kendall'?"]),
        ({"primary_task": "topik"}, ["unknown task 'topik'", "did you mean 'topic'?"]),
        ({"primary_task": ""}, ["'primary_task' is missing", "topic, match"]),
        ({"candidate_tasks": ["mach"]}, ["unknown task 'mach'", "did you mean 'match'?"]),
        ({"candidate_tasks": ["topic"]}, ["'topic' is its own candidate"]),
        ({"candidate_tasks": ["match", "match"]}, ["'match' is named twice"]),
        ({"candidate_tasks": []}, ["no candidate beside the primary task 'topic'"]),
        ({"fine_tuning": {"learning_rate": float("inf")}}, ["learning_rate", "finite"]),
        ({"method": {"name": "thres", "threshold": 1.5}}, ["method", "threshold", "1.5"]),
        ({"fine_tuning": {"epochs": 1, "max_steps": 2}}, ["epochs or max_steps, not both"]),
        ({"fine_tuning": {"optimizer": "adamx"}}, ["'adamx'", "did you mean 'adamax'?"]),
        ({"model": {"max_seq_length": 32}}, ["'model.name_or_path' is missing"]),
    ],
)
def test_wrong_settings(run_file, change, words):
    refused(changed(run_file, **change), *words)


# --- tasks ----------------------------------------------------------------------------------------


def test_unknown_shipped_task(run_file):
    refused(changed(run_file, tasks=["rt", "cola"]), "unknown task 'rt'", "did you mean 'rte'?")


def test_missing_task_config(run_file):
    refused(changed(run_file, tasks=["tasks/topic.json", "tasks/gone.json"]), "tasks/gone.json")


def test_broken_task_config_is_told_with_its_line(run_file):
    task_file(run_file, "match.json").write_text('{\n  "name": "match",\n')
    refused(run_file, "match.json, line 3: broken JSON")


def test_a_task_config_that_is_no_object(run_file):
    task_file(run_file, "match.json").write_text("[]")
    refused(run_file, "match.json: a task config is a JSON object, not list")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "acuracy"}, ["'acuracy'", "did you mean 'accuracy'?"]),
        ({"metric": "pearson"}, ["'pearson' does not fit kind 'pair'"]),
        ({"kind": "pairs"}, ["'pairs'", "did you mean 'pair'?"]),
        ({"lables": ["a"]}, ["unknown key 'lables'", "did you mean 'labels'?"]),
        ({"paths": {"val": "match_val.jsonl"}}, ["'paths.train' is missing"]),
        ({"paths": {"train": "../../x.jsonl", "val": "v.jsonl"}}, ["leaves its folder"]),
        ({"name": "../match"}, ["a task name has letters"]),
        ({"name": "topic"}, ["two tasks are named 'topic'"]),
        ({"name": "keys"}, ["torch has no module of that name"]),
        ({"labels": ["no", "yess"]}, ["label 'yes' is not in the task config", "'yess'"]),
        ({"fields": {"text_a": "txt"}}, ["field 'txt' is missing", "match_train.jsonl, line 1"]),
    ],
)
def test_wrong_task_config(run_file, change, words):
    write_task(run_file.parent / "tasks", "match", **change)
    refused(run_file, *words)


def test_missing_data_file(run_file):
    task_file(run_file, "match_val.jsonl").unlink()
    refused(run_file, "match_val.jsonl: no such file")


def test_broken_json_lines_are_told_with_their_line(run_file):
    path = task_file(run_file, "match_val.jsonl")
    path.write_text(path.read_text() + '{"text_a": \n')
    refused(run_file, "match_val.jsonl, line 11: broken JSON")


def test_broken_csv_is_told_with_its_line(run_file):
    folder = run_file.parent / "tasks"
    (folder / "t.csv").write_text("text_a,label\none,a\ntwo\n")
    write_task(folder, "topic", paths={"train": "t.csv", "val": "t.csv"})
    refused(run_file, "t.csv, line 3: 1 columns, 2 are expected")


def test_broken_conll_is_told_with_its_line(run_file):
    folder = run_file.parent / "tasks"
    (folder / "t.conll").write_text("one A\ntwo B\n\nthree\n")
    paths = {"train": "t.conll", "val": "t.conll"}
    write_task(folder, "match", like="words", paths=paths)
    refused(run_file, "t.conll, line 4: field 'labels' is missing")


def test_a_dev_label_that_the_training_split_lacks(run_file):
    path = task_file(run_file, "match_val.jsonl")
    path.write_text(path.read_text().replace('"yes"', '"ja"', 1))
    refused(run_file, "match_val.jsonl, line 2: label 'ja' is not in the training split")


def test_a_test_split_that_cannot_be_scored(run_file):
    folder = run_file.parent / "tasks"
    (folder / "topic_test.jsonl").write_text('{"text_a": "a boat"}\n')
    paths = {split: f"topic_{split}.jsonl" for split in ("train", "val", "test")}
    write_task(folder, "topic", paths=paths)
    refused(changed(run_file, score_test=True), "topic_test.jsonl, line 1: field 'label'")


@pytest.mark.parametrize("split", ["train", "val"])
def test_empty_split(run_file, split):
    task_file(run_file, f"match_{split}.jsonl").write_text("\n")
    refused(run_file, f"match_{split}.jsonl: the {split} split is empty")


# --- tasks of jiant's own -------------------------------------------------------------------------

RTE_ROW = {"premise": "a boat", "hypothesis": "a river", "label": "entailment", "idx": 0}


def own_task(run_file, rows=(RTE_ROW,), **changes):
    """Puts one of jiant's own tasks in the place of `match`."""
    folder = run_file.parent / "tasks"
    for split in ("train", "val"):
        text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        (folder / f"rte_{split}").write_text(text)
    config = {
        "task": "rte",
        "name": "rte",
        "paths": {"train": "rte_train", "val": "rte_val"},
        **changes,
    }
    (folder / "match.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("rows", "change", "words"),
    [
        ([RTE_ROW], {"task": "rt"}, ["jiant has no task 'rt'", "did you mean 'rte'?"]),
        ([RTE_ROW], {"name": "../rte"}, ["'../rte' starts with a dot"]),
        ([RTE_ROW], {"name": "a/../b"}, ["'a/../b' cannot be a folder name"]),
        ([RTE_ROW], {"name": 3}, ["key 'name' is missing"]),
        ([RTE_ROW], {"paths": {"val": "rte_val"}}, ["'rte', train split: 'train' is missing"]),
        ([RTE_ROW], {"paths": {"train": "gone", "val": "rte_val"}}, ["gone: no such file"]),
        ([RTE_ROW], {"kwargs": {"languag": "en"}}, ["'rte'", "'languag'", "cannot make its task"]),
        ([RTE_ROW], {"kwargs": [1]}, ["'rte'", "kwargs: [1]"]),
        ([RTE_ROW], {"paths": "rte_train"}, ["paths: a JSON object is needed"]),
        ([], {}, ["'rte': the train split is empty"]),
        (['{"premise": '], {}, ["'rte'", "train split cannot be read"]),
        ([RTE_ROW | {"label": "entailmnt"}], {}, ["row 1", "'entailmnt'", "'entailment'"]),
        ([{"premise": "a", "idx": 0}], {}, ["'hypothesis' is missing"]),
    ],
)
def test_wrong_task_of_jiants_own(run_file, rows, change, words):
    own_task(run_file, rows, **change)
    refused(run_file, *words)


# --- the encoder ----------------------------------------------------------------------------------


def test_missing_encoder_folder(run_file, tmp_path):
    refused(changed(run_file, model__name_or_path=str(tmp_path / "gone")), "no such folder")


def test_encoder_name_that_does_not_exist(run_file):
    refused(changed(run_file, model__name_or_path="no-such-org/no-such-encoder"), "no-such-encoder")


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        (["tokenizer.json", "vocab.txt"], "has no tokenizer"),
        (["model.safetensors"], "has no weights"),
        (["config.json"], "cannot be read"),
    ],
)
def test_incomplete_encoder_folder(run_file, tmp_path, encoder, lost, words):
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    for name in lost:
        (folder / name).unlink(missing_ok=True)
    refused(changed(run_file, model__name_or_path=str(folder)), words)


@pytest.mark.parametrize("kind", ["distilbert", "electra", "gpt2"])
def test_unsupported_encoder(run_file, tmp_path, encoder, kind):
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    line = refused(changed(run_file, model__name_or_path=str(folder)), f"{kind!r} cannot be used")
    assert "supported: " in line


# --- output folder and store ----------------------------------------------------------------------


def test_output_folder_with_other_files(run_file):
    (run_file.parent / "out").mkdir()
    (run_file.parent / "out" / "thesis.txt").write_text("years of work")
    refused(run_file, "holds other files")


def test_output_folder_that_is_a_file(run_file):
    (run_file.parent / "out").write_text("a file")
    refused(run_file, "out is a file")


def test_store_of_another_version(run_file):
    importances = run_file.parent / "store" / "importances"
    importances.mkdir(parents=True)
    marker = {"format": "gradts gradient store", "format_version": 999}
    (importances / "store.json").write_text(json.dumps(marker))
    refused(changed(run_file, store="store"), "999")


def test_store_that_is_a_file(run_file):
    (run_file.parent / "store").mkdir()
    (run_file.parent / "store" / "importances").write_text("")
    refused(changed(run_file, store="store"), "is a file")
    with pytest.raises(Exception, match="is a file"):
        GradientStore(run_file.parent / "store" / "importances")


# --- while it runs --------------------------------------------------------------------------------


def test_a_diverging_training_run_is_told_in_one_line(run_file):
    changed(run_file, fine_tuning__learning_rate=1e30)
    answer = run_command("run", run_file, "--quiet")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith("gradts-select: task 'topic': the loss is ")
    assert "learning rate" in line
    # What was prepared is kept: with a lower rate, another folder can be chosen or this one freed.
    assert not (run_file.parent / "out" / "result.json").exists()


def test_an_encoder_with_nan_weights_is_told_in_one_line(run_file, tmp_path):
    folder = save_tiny_encoder("bert", tmp_path / "encoder")
    weights = transformers.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        weights.embeddings.word_embeddings.weight.fill_(float("nan"))
    weights.save_pretrained(folder)
    refused(
        changed(run_file, model__name_or_path=str(folder)),
        "weights of embeddings.word_embeddings.weight are NaN",
    )


def test_a_dataset_folder_that_changed_is_not_taken_for_the_one_that_was_tokenised(tmp_path):
    values = {"name": "t", "dataset": {"path": str(tmp_path)}}
    model = ModelSettings(name_or_path="bert")
    (tmp_path / "train.jsonl").write_text('{"text_a": "x", "label": 0}')
    before = cache_identity(values, model)
    assert cache_identity(values, model) == before
    (tmp_path / "train.jsonl").write_text('{"text_a": "y", "label": 0}')
    assert cache_identity(values, model) != before


def test_an_encoder_that_changed_under_a_prepared_folder(run_file, tmp_path):
    folder = save_tiny_encoder("bert", tmp_path / "encoder")
    changed(run_file, model__name_or_path=str(folder), fine_tuning__learning_rate=1e30)
    assert "the loss is" in run_command("run", run_file, "--quiet").err
    save_tiny_encoder("bert", folder, seed=1)
    answer = run_command("run", run_file, "--quiet")
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert "has changed since" in line


def _small_disk(folder, kilobytes):
    """Mounts a file system of this size, where the user may do that."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    size = f"size={kilobytes}k"
    command = [mount, "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")


@pytest.mark.parametrize("kilobytes", [0, 60, 200, 400])
def test_full_disk(run_file, tmp_path, kilobytes):
    disk = tmp_path / "disk"
    _small_disk(disk, kilobytes or 4)
    try:
        if kilobytes == 0:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        changed(run_file, output_dir=str(disk / "out"))
        answer = run_command("run", run_file, "--quiet")
        assert answer.code == 2, answer.err
        (line,) = answer.err.splitlines()
        assert line.startswith("gradts-select: cannot write ")
        assert ("read-only" if kilobytes == 0 else "full") in line.lower() or "space" in line
        # Nothing is lost: with more room the same command goes on.
        subprocess.run(["mount", "-o", "remount,rw,size=40m", str(disk)], check=True)
        answer = run_command("run", run_file, "--quiet", "--json")
        assert answer.code == 0, answer.err
        assert json.loads(answer.out)["selected"] is not None
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# --- an existing jiant set-up ---------------------------------------------------------------------


def container_refused(path, *words, command=("rank",), more=()):
    """A command on a container config; it must be refused in one line with these words."""
    before = files_below(path.parent)
    answer = run_command(
        *command,
        "--jiant_task_container_config_path",
        path,
        "--hf_pretrained_model_name_or_path",
        path.parent / "encoder",
        "--model_path",
        path.parent / "weights.p",
        *more,
    )
    lines = answer.err.splitlines()
    assert answer.code == 2, answer.err
    assert len(lines) == 1, answer.err
    for word in words:
        assert word in lines[0]
    assert files_below(path.parent) == before


@pytest.fixture(scope="module")
def set_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set_up")
    encoder = save_tiny_encoder("bert", folder / "encoder")
    export_weights(encoder, folder / "weights.p")
    return write_setup(folder, encoder, ("cola", "rte"), 4)


@pytest.fixture
def container(set_up, tmp_path):
    """A copy of a jiant set-up whose container config names a primary."""
    folder = shutil.copytree(set_up.parent, tmp_path / "set_up")
    path = folder / "container.json"
    text = path.read_text().replace(str(set_up.parent), str(folder))
    path.write_text(json.dumps(json.loads(text) | {"gradts": {"primary_task": "cola"}}))
    return path


def edited(path, place, value):
    """Sets a nested key of a container config, or removes it."""
    config = json.loads(path.read_text())
    *outer, key = place.split(".")
    inner = config
    for name in outer:
        inner = inner[name]
    if value is None:
        del inner[key]
    else:
        inner[key] = value
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("sampler_config", None, ["key 'sampler_config' is missing"]),
        ("task_run_config", ["cola"], ["task_run_config: a mapping of keys is needed"]),
        ("task_run_config.train_task_list", None, ["'task_run_config.train_task_list'"]),
        ("task_run_config.train_task_list", ["cola", "rt"], ["unknown task 'rt'", "'rte'"]),
        ("task_run_config.train_task_list", ["cola", "rte", "rte"], ["names task 'rte' twice"]),
        (
            "task_cache_config_dict.rte",
            None,
            ["task_cache_config_dict has no entry for task 'rte'"],
        ),
        ("task_cache_config_dict.rte.train", None, ["task 'rte' has no train cache"]),
        ("task_cache_config_dict.rte.train", "/gone", ["task 'rte': no train cache at /gone"]),
        ("task_config_path_dict.rte", "/gone.json", ["/gone.json: no such file"]),
        ("global_train_config.max_steps", None, ["'global_train_config.max_steps' is missing"]),
        ("gradts", [], ["gradts: expected a mapping, found list"]),
        ("gradts.primary_tsk", "cola", ["unknown key 'primary_tsk'", "'primary_task'"]),
        ("gradts.primary_task", "colla", ["unknown task 'colla'", "did you mean 'cola'?"]),
        ("gradts.selection", {"tau": 1}, ["gradts.selection is damaged"]),
    ],
)
def test_wrong_container_config(container, place, value, words):
    container_refused(edited(container, place, value), *words)


def test_broken_and_missing_container_config(container):
    container.write_text('{\n"sampler_config": \n')
    container_refused(container, "container.json, line 3: broken JSON")
    container_refused(container.with_name("gone.json"), "gone.json: no such file")


def test_jiant_encoder_folder_that_is_missing_or_has_no_tokenizer(container):
    encoder = container.parent / "encoder"
    for file in ("tokenizer.json", "vocab.txt"):
        (encoder / file).unlink(missing_ok=True)
    container_refused(container, f"encoder folder {encoder} has no tokenizer")
    shutil.rmtree(encoder)
    container_refused(container, f"encoder folder {encoder}: no such folder")


def test_jiant_output_folder_that_is_a_file(container):
    container.with_name("gradts").write_text("a file")
    for more in ([], ["--dry-run"]):
        container_refused(container, "a file", command=("select",), more=more)


def test_missing_and_damaged_weights(container):
    weights = container.with_name("weights.p")
    weights.write_bytes(b"no weights")
    container_refused(container, "weights.p holds no weights", more=["--quiet"])
    weights.unlink()
    container_refused(container, "weights.p: no such file")


def test_damaged_cache(container):
    (container.parent / "cache" / "rte" / "train" / "data_args.p").write_bytes(b"broken")
    container_refused(container, "task 'rte': the train cache at ", "is damaged")


@pytest.mark.parametrize("content", [b"", b"broken", b"PK\x03\x04 cut off"])
def test_damaged_checkpoint(tmp_path, content):
    path = tmp_path / "checkpoint.p"
    path.write_bytes(content)
    command = run_command("run", "continue", "--checkpoint_path", path)
    assert command.code == 2
    assert f"{path}: is damaged, or no checkpoint of jiant" in command.err
    assert command.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["rank"], ["--jiant_task_container_config_path"]),
        (["run", "--output_dir", "out"], ["--jiant_task_container_config_path"]),
        (["run", "run", "--no_such_option"], ["jiant refused its arguments"]),
        (["run", "--gradts_config"], ["--gradts_config needs the path"]),
        (["run"], ["RUN_FILE"]),
        (["run", "continue", "--checkpoint_path", "gone.p"], ["gone.p: no such checkpoint"]),
        (["ran"], ["no such command 'ran'; did you mean 'rank'?"]),
        ([], ["Missing command"]),
        (["host", "-m", "jiant.proj.main.runscrpt"], ["did you mean 'jiant.proj.main.runscript'?"]),
        (["host", "gone.py"], ["gone.py: no such script"]),
    ],
)
def test_wrong_arguments(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = run_command(*arguments)
    assert answer.code == 2, answer.err
    (line,) = answer.err.splitlines()
    assert line.startswith("gradts-select: ")
    for word in words:
        assert word in line
    assert files_below(tmp_path) == {}
