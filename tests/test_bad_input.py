"""Bad input: one line on stderr, exit code 2, nothing written and nothing lost."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml
from tiny_encoders import save_tiny_encoder
from tiny_runs import files_below, run_command, write_run_file, write_task

from gradts_plugin.store import GradientStore


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
        ({"threshold": 1.5}, ["threshold"]),
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
    refused(run_file, "t.conll, line 4: 1 columns, at least 2 are expected")


def test_a_dev_label_that_the_training_split_lacks(run_file):
    path = task_file(run_file, "match_val.jsonl")
    path.write_text(path.read_text().replace('"yes"', '"ja"', 1))
    refused(run_file, "match_val.jsonl, line 2: label 'ja' is not in the training split")


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
