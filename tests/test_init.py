"""`gradts-select init`: a folder of files becomes task configs and a run file."""

from __future__ import annotations

import json

import pytest
import yaml
from test_guessing import table, text
from tiny_encoders import save_tiny_encoder
from tiny_runs import files_below, run_command

from gradts_plugin.settings.run_file import read_run_file
from gradts_plugin.tasks.starting.folders import find_tasks


def fill(folder, *names, content=None):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(table(number=40) if content is None else content)
    return folder


def found(folder):
    made = find_tasks(folder, output=folder / "gradts")
    names = {
        task.name: {split: [path.name for path in paths] for split, paths in task.files.items()}
        for task in made.tasks
    }
    return names, [problem.replace(f"{folder}/", "") for problem in made.problems]


@pytest.mark.parametrize(
    ("names", "tasks"),
    [
        (["a/train.csv", "a/dev.csv", "a/test.csv"], {"a": "train val test"}),
        (["a/train.csv", "a/validation.csv", "b/Train.tsv"], {"a": "train val", "b": "train"}),
        (["a.csv", "b.jsonl"], {"a": "train", "b": "train"}),
        (
            ["a_train.csv", "a_dev.csv", "b-valid.csv", "b-train.csv"],
            {"a": "train val"} | {"b": "train val"},
        ),
        (["sets/a/train.csv", "c.csv"], {"sets_a": "train", "c": "train"}),
        (["a/en_ewt-ud-train.conllu", "a/en_ewt-ud-dev.conllu"], {"a": "train val"}),
        (["a/eng.train", "a/eng.testa", "a/eng.testb"], {"a": "train val test"}),
        (["only/anything.csv"], {"only": "train"}),
        (["a/train.csv.gz", "a/dev.csv.gz"], {"a": "train val"}),
        (["my set.csv"], {"my_set": "train"}),
        (["train.csv.bz2", "train/train.csv"], {"train_task": "train"}),
        (["a/README.md", "a/LICENSE", "a/load.py", "a/train.csv", ".git/config"], {"a": "train"}),
        (["a/train.csv", "gradts/tasks/a.json", "gradts/run/x.jsonl"], {"a": "train"}),
    ],
)
def test_files_that_belong_together(tmp_path, names, tasks):
    folder = fill(tmp_path / "folder", *names)
    made, _ = found(folder)
    splits = {name: " ".join(files) for name, files in made.items()}
    if "train_task" in tasks:
        assert splits["train_task"] == "train"
    else:
        assert {name: set(each.split()) for name, each in splits.items()} == {
            name: set(each.split()) for name, each in tasks.items()
        }


def test_texts_and_labels_side_by_side(tmp_path):
    folder = tmp_path / "folder"
    fill(folder, "irony/train_text.txt", "irony/val_text.txt", content="a day\na night\n")
    fill(folder, "irony/train_labels.txt", "irony/val_labels.txt", content="1\n0\n")
    fill(folder, "irony/mapping.txt", content="0 no\n1 yes\n")
    made, problems = found(folder)
    assert made == {
        "irony": {
            "train": ["train_text.txt", "train_labels.txt"],
            "val": ["val_text.txt", "val_labels.txt"],
        }
    }
    assert problems == ["irony/mapping.txt: its name says no split (train, dev or test)"]
    said = run_command("init", folder)
    assert said.code == 0
    assert "two files belong together" in said.out


def test_what_is_not_used_is_said(tmp_path):
    folder = fill(
        tmp_path / "folder",
        *(
            "a/train.csv",
            "a/train.jsonl",
            "a/dev_mismatched.csv",
            "b/dev.csv",
            "a-b.csv",
            "a b.csv",
            "c_d.csv",
            "c_d/train.csv",
        ),
    )
    config = {"name": "x", "kind": "single", "metric": "accuracy", "paths": {}}
    fill(folder, "x.json", content=json.dumps(config))
    assert found(folder)[1] == [
        "x.json: is a task config; name it in the run file's tasks",
        "a-b.csv: a b.csv is the train split of 'a_b' already",
        "a/dev_mismatched.csv: beside the matched split",
        "a/train.jsonl: train.csv is the train split of 'a' already",
        "b/dev.csv: there is no training file beside it (train.*)",
        "c_d/train.csv: there is another task 'c_d'; rename one",
    ]


# --- the command ----------------------------------------------------------------------------------


def test_a_folder_becomes_a_run_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "data", "big/train.csv", "big/dev.csv", content=table(number=90))
    fill(tmp_path / "data", "small.csv")
    fill(tmp_path / "data", "broken.jsonl", content="{")
    said = run_command("init", "data")
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[-13:] == [
        "Not used:",
        "  broken: cannot be read: data/broken.jsonl, line 1: broken JSON: Expecting property name "
        "enclosed in double quotes",
        "",
        "Written:",
        "  data/gradts/tasks/big.json",
        "  data/gradts/tasks/small.json",
        "  data/gradts/run.yaml",
        "To be helped: small (primary_task in the run file)",
        "",
        "Next:",
        "  gradts-select task data/gradts/tasks/small.json",
        "  gradts-select plan data/gradts/run.yaml",
        "  gradts-select run data/gradts/run.yaml",
    ]
    assert "small: single, accuracy, 2 labels" in said.out
    assert "  no dev split: 20 % of the training rows are held out" in said.out
    shown = run_command("task", "data/gradts/tasks/small.json")
    assert (shown.code, shown.out in said.out) == (0, True)
    run_file = read_run_file(tmp_path / "data" / "gradts" / "run.yaml")
    assert (run_file.primary_task, run_file.model.name_or_path) == ("small", "bert-base-cased")
    assert run_file.method.own == {"budget": 12}
    assert run_file.training.max_steps == 200
    assert run_file.model.max_seq_length == 64


def test_nothing_that_exists_is_overwritten(tmp_path):
    fill(tmp_path, "a.csv", "b.csv")
    assert run_command("init", tmp_path).code == 0
    config = tmp_path / "gradts" / "tasks" / "a.json"
    config.write_text(config.read_text().replace("0.2", "0.4"))
    (tmp_path / "gradts" / "run.yaml").write_text("# mine\n")
    (tmp_path / "gradts" / "tasks" / "b.json").unlink()
    before = files_below(tmp_path)
    said = run_command("init", tmp_path, "--primary", "b")
    assert said.code == 0
    after = files_below(tmp_path)
    assert {name: after[name] for name in before} == before
    assert {*after} - {*before} == {"gradts/tasks/b.json"}
    assert "40 % of" in said.out
    kept = said.out.split("There already, left as they are:\n")[1].splitlines()[:2]
    assert [line.rpartition("/")[2] for line in kept] == ["a.json", "run.yaml"]


def test_the_folder_itself_can_be_written_into(tmp_path):
    fill(tmp_path, "a.csv", "b.csv")
    fill(tmp_path, "old/run.json", "old/rows.csv")
    assert run_command("init", tmp_path, "--output", tmp_path).code == 0
    again = run_command("init", tmp_path, "--output", tmp_path)
    assert again.code == 0
    assert again.out.count("is a task config; name it") == 2
    assert sorted(path.name for path in (tmp_path / "tasks").iterdir()) == ["a.json", "b.json"]


def test_the_primary_and_the_model_are_those_that_are_named(tmp_path):
    fill(tmp_path / "data", "a.csv", "b.csv")
    encoder = save_tiny_encoder("bert", tmp_path / "encoder")
    said = run_command(
        *("init", tmp_path / "data", "--primary", "b", "--model", encoder),
        *("--output", tmp_path / "mine"),
    )
    assert said.code == 0, said.err
    assert "tokens" in said.out
    run_file = read_run_file(tmp_path / "mine" / "run.yaml")
    assert (run_file.primary_task, run_file.model.name_or_path) == ("b", str(encoder))
    assert not (tmp_path / "data" / "gradts").exists()
    wrong = run_command("init", tmp_path / "data", "--primary", "bb")
    assert (wrong.code, wrong.err) == (
        2,
        "gradts-select: --primary: no task 'bb' was read; did you mean 'b'?\n",
    )
    assert not (tmp_path / "data" / "gradts").exists()


@pytest.mark.parametrize(
    ("name", "content", "candidates"),
    [
        ("mine.csv", None, ["mnli", "qqp", "sst2", "stsb"]),
        ("mine.conll", "".join(f"w{n} O\nb B-x\n\n" for n in range(9)), ["pos", "ner", "sc"]),
    ],
)
def test_beside_one_task_are_shipped_ones(tmp_path, name, content, candidates):
    fill(tmp_path, name, content=content)
    assert run_command("init", tmp_path).code == 0
    path = tmp_path / "gradts" / "run.yaml"
    assert yaml.safe_load(path.read_text())["tasks"] == ["tasks/mine.json", *candidates]
    assert "The folder holds one task" in path.read_text()


def test_names_that_mean_something_to_yaml(tmp_path):
    fill(tmp_path, "no.csv", "1e3.csv")
    assert run_command("init", tmp_path, "--primary", "no").code == 0
    assert read_run_file(tmp_path / "gradts" / "run.yaml").primary_task == "no"


def test_no_task_at_all(tmp_path):
    assert "no such folder" in run_command("init", tmp_path / "x").err
    fill(tmp_path, "notes.txt", content="".join(text(n) + "\n" for n in range(9)))
    said = run_command("init", tmp_path)
    assert (said.code, said.out) == (2, "")
    assert "no task found" in said.err
    assert "save it as CSV with a header line" in said.err
    assert not (tmp_path / "gradts").exists()


@pytest.mark.parametrize(("number", "training"), [(40, {"max_steps": 200}), (4000, {"epochs": 3})])
def test_the_training_is_as_long_as_the_primary_needs(tmp_path, number, training):
    fill(tmp_path, "a.csv", "b.csv", content=table(number=number))
    assert run_command("init", tmp_path).code == 0
    written = yaml.safe_load((tmp_path / "gradts" / "run.yaml").read_text())["training"]
    assert written == {**training, "batch_size": 32, "learning_rate": 5e-5}
