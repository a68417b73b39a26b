"""Batches of sentences without a labelled word are trained, probed and scored without NaN."""

from __future__ import annotations

import json

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file, write_task

from gradts_plugin.hosts.jiant.tasks.evaluation import tag_scores

ONE_AT_A_TIME = {"epochs": 1, "batch_size": 1, "learning_rate": 1e-3}


@pytest.mark.parametrize("model", ["frozen", "fine-tuned"])
def test_a_batch_without_a_labelled_word_moves_nothing_and_breaks_nothing(tmp_path, model):
    encoder = save_tiny_encoder("bert", tmp_path / "bert")
    write_task(tmp_path / "tasks", "words")
    # The one labelled word is cut off at 24 tokens.
    cut = {"tokens": ["word"] * 30 + ["end"], "labels": [-100] * 30 + ["long"]}
    whole = {"tokens": ["word", "longer"], "labels": ["short", "long"]}
    for split, rows in (("train", [cut] * 8 + [whole] * 2), ("val", [cut] * 3)):
        lines = [json.dumps(row) + "\n" for row in rows]
        (tmp_path / "tasks" / f"words_{split}.jsonl").write_text("".join(lines))
    path = write_run_file(
        tmp_path,
        encoder,
        ("words", "topic", "match"),
        primary_task="words",
        method={"name": "trial", "confirm": 0},
        probing={"model": model, "batch_size": 1},
        training=ONE_AT_A_TIME,
        fine_tuning=ONE_AT_A_TIME,
    )
    answer = run_command("run", path, "--quiet")
    assert answer.code == 0, answer.err
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    taus = [candidate["tau"] for candidate in result["ranking"]["candidates"]]
    assert all(-1 <= tau <= 1 for tau in taus)
    assert result["alone"]["scores"] == [0.0]


def test_scores_of_no_words_are_defined():
    assert set(tag_scores([[], []], [[], []], ("B-x", "I-x", "O")).values()) == {0.0}
