"""`gradts-select task` says what a task config reads."""

from __future__ import annotations

import json

import pytest
from tiny_encoders import SENTENCES, save_tiny_encoder
from tiny_runs import run_command, write_run_file, write_task


def write(folder, rows, **changes):
    for split in ("train", "val", "test"):
        found = rows if isinstance(rows, list) else rows.get(split, [])
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    config = {
        "name": "mine",
        "kind": "single",
        "metric": "accuracy",
        "paths": {split: f"{split}.jsonl" for split in ("train", "val", "test")},
        **changes,
    }
    (folder / "mine.json").write_text(json.dumps(config))
    return folder / "mine.json"


ROWS = [
    {"text_a": "two words", "label": "a"},
    {"text_a": "three more words", "label": "b"},
    {"text_a": "x", "label": "-"},
    {"text_a": "one", "label": "a"},
]


def test_rows_labels_lengths_and_what_is_left_out(tmp_path):
    test = [{"text_a": "who knows"}, {"text_a": "that", "label": "b"}]
    path = write(
        tmp_path,
        {"train": ROWS, "val": ROWS[:2], "test": test},
        no_label=["-"],
        max_train_examples=2,
    )
    said = run_command("task", path)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines() == [
        "mine: single, accuracy, 2 labels",
        "",
        f"train  {tmp_path}/train.jsonl",
        "  rows      3 (2 of them are trained on)",
        f"            rows without a label, left out: 1 (first {tmp_path}/train.jsonl, line 3)",
        "  labels    a 2, b 1",
        "  words     1 to 3, median 2, 95 % up to 3",
        "  row 1     two words => a",
        "  row 2     three more words => b",
        "  row 3     one => a",
        "",
        f"val  {tmp_path}/val.jsonl",
        "  rows      2",
        "  labels    a 1, b 1",
        "  words     2 to 3, median 2, 95 % up to 3",
        "  row 1     two words => a",
        "  row 2     three more words => b",
        "",
        f"test  {tmp_path}/test.jsonl",
        "  rows      2",
        "  labels    a 0, b 1, (none) 1",
        "  words     1 to 2, median 1, 95 % up to 2",
        "  row 1     who knows => no label",
        "  row 2     that => b",
    ]


def test_as_json_and_with_the_tokens_of_an_encoder(tmp_path):
    encoder = save_tiny_encoder("bert", tmp_path / "bert")
    rows = [{"text_a": text, "text_b": "the river", "label": 1.5} for text in SENTENCES[:4]]
    path = write(tmp_path, rows, kind="regression", metric="pearson", fields={"text_b": "text_b"})
    said = run_command("task", path, "--json", "--model", encoder, "--max_seq_length", 8)
    found = json.loads(said.out)
    train = found["splits"][0]
    assert (found["unit"], train["scores"], train["labels"]) == ("tokens", [1.5, 1.5, 1.5], None)
    assert train["lengths"]["num_cut"] == 4
    assert train["lengths"]["shortest"] > 8
    assert train["rows"][0].startswith("[CLS] ")
    assert "the river [SEP]" in train["rows"][0]
    assert train["rows"][0].endswith("=>  1.5")
    wrong = run_command("task", path, "--model", tmp_path / "nowhere")
    assert wrong.code == 2
    assert wrong.err.startswith("gradts-select: encoder ")


TAGS = {"tokens": ["Ada", "lives", "on"], "labels": ["N", -100, "V"]}
CHOICES = {"text_a": "who?", "choices": ["a boy", "nobody"], "label": 1}


@pytest.mark.parametrize(
    ("kind", "row", "labels", "shown"),
    [
        ("tagging", TAGS, {"N": 1, "V": 1, "": 1}, "Ada lives on  =>  N - V"),
        (
            "multiple_choice",
            CHOICES,
            {"0": 0, "1": 1},
            "who? | a boy || who? | nobody  =>  1 (nobody)",
        ),
    ],
)
def test_words_and_choices(tmp_path, kind, row, labels, shown):
    path = write(tmp_path, [row], kind=kind)
    train = json.loads(run_command("task", path, "--json").out)["splits"][0]
    assert (train["labels"], train["rows"]) == (labels, [shown])


def test_what_cannot_be_read_is_said_and_the_rest_is_shown(tmp_path):
    path = write(tmp_path, {"train": ROWS[:2], "val": ROWS[:2], "test": [{"text": "x"}]})
    said = run_command("task", path)
    assert said.code == 2
    assert "  labels    a 1, b 1" in said.out
    assert f"CANNOT BE READ: {tmp_path}/test.jsonl, line 1: field 'text_a' is missing" in said.out
    path = write(tmp_path, {"train": [], "val": ROWS[:2]})
    said = run_command("task", path)
    assert (said.code, said.out) == (2, "")
    assert said.err == f"gradts-select: {tmp_path}/train.jsonl: the train split is empty\n"


def test_a_plan_tells_what_is_left_out_once(tmp_path):
    encoder = save_tiny_encoder("bert", tmp_path / "bert")
    path = write_run_file(tmp_path, encoder, ("topic", "match"))
    write_task(tmp_path / "tasks", "topic", no_label=["?"], num_train=16)
    rows = tmp_path / "tasks" / "topic_train.jsonl"
    rows.write_text('{"text_a": "who knows", "label": "?"}\n' + rows.read_text())
    planned = run_command("plan", "--no-measure", "--quiet", path)
    assert planned.code == 0
    assert planned.err.splitlines() == [
        "gradts-select: task 'topic', train split: rows without a label, left out: 1 (first "
        f"{rows}, line 1)"
    ]
