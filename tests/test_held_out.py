"""Dev and test splits that are taken from the training data."""

from __future__ import annotations

import json
from collections import Counter
from itertools import compress

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file, write_task

from gradts_plugin.errors import ConfigError, DataError
from gradts_plugin.hosts.jiant.preparing.task_values import test_as_dev as as_dev
from gradts_plugin.tasks.examples import Example
from gradts_plugin.tasks.holding_out import held_out_positions
from gradts_plugin.tasks.reading import read_examples, read_split, sources_of, task_labels
from gradts_plugin.tasks.sources import HeldOut
from gradts_plugin.tasks.task_configs import parse_task_config, to_json_values

SPLITS = ("train", "val", "test")


def parts(examples, **given):
    held_out = HeldOut(**given)
    return {
        split: [*compress(examples, held_out_positions(examples, held_out, split))]
        for split in SPLITS
    }


def rows(labels, text="row {}", **more):
    return [
        Example(index, text_a=text.format(index), label=label, **more)
        for index, label in enumerate(labels)
    ]


def test_each_class_keeps_its_share_and_every_row_is_in_one_part():
    examples = rows(["a"] * 60 + ["b"] * 30 + ["c"] * 10)
    found = parts(examples, val=0.2, test=0.1)
    assert Counter(each.label for each in found["val"]) == {"a": 12, "b": 6, "c": 2}
    assert Counter(each.label for each in found["test"]) == {"a": 6, "b": 3, "c": 1}
    indices = [each.index for split in SPLITS for each in found[split]]
    assert sorted(indices) == [*range(100)]
    assert all(part == sorted(part, key=lambda each: each.index) for part in found.values())


def test_the_seed_alone_decides():
    examples = rows(["a", "b"] * 50)
    assert parts(examples, val=0.2) == parts(examples, val=0.2, seed=0)
    assert parts(examples, val=0.2) != parts(examples, val=0.2, seed=1)
    # The dev split stays what it is, whatever the test split is called.
    one = parts(examples, val=0.2, test=0.1)
    other = parts(examples, val=0.1, test=0.2, drawn_first="val")
    assert (one["val"], one["test"]) == (other["test"], other["val"])


def test_high_and_low_scores_keep_their_shares():
    found = parts(rows([float(number) for number in range(100)]), val=0.1)
    assert [int(each.label // 10) for each in found["val"]] == [*range(10)]


def test_no_text_is_in_two_parts():
    repeated = [
        Example(index, text_a=f"Text  {index // 5}", label="ab"[index % 2]) for index in range(100)
    ]
    repeated += [Example(100 + n, text_a=f"text {n}", label="a") for n in range(20)]
    found = parts(repeated, val=0.2, test=0.2)
    texts = {
        split: {each.text_a.lower().replace("  ", " ") for each in found[split]} for split in SPLITS
    }
    assert len(texts["val"]) >= 3
    assert not texts["train"] & texts["val"]
    assert not texts["train"] & texts["test"]
    assert not texts["val"] & texts["test"]


def test_pairs_that_share_a_text_stay_together():
    pairs = [
        Example(n, text_a=f"a {n // 3}", text_b=f"b {n % 3} {n // 3}", label="xyz"[n % 3])
        for n in range(60)
    ]
    pairs.append(Example(60, text_a="b 0 0", text_b="a 1", label="x"))  # ties the first two
    found = parts(pairs, val=0.25)
    kept = [{each.text_a for each in found[split]} for split in ("train", "val")]
    assert found["val"]
    assert not kept[0] & kept[1]
    val = {each.index // 3 for each in found["val"]}
    assert (0 in val) == (1 in val)


def test_where_all_pairs_hang_together_only_the_same_rows_do():
    pairs = [Example(n, text_a="yes?", text_b=f"b {n // 2}", label="xy"[n % 2]) for n in range(40)]
    found = parts(pairs, val=0.2)
    assert len(found["val"]) == 8
    assert not {each.text_b for each in found["val"]} & {each.text_b for each in found["train"]}


def test_a_rare_class_is_kept_for_training():
    found = parts(rows(["a"] * 40 + ["b"]), val=0.5)
    assert "b" not in {each.label for each in found["val"]}


# --- as a key -------------------------------------------------------------------------------------


def written(folder, *, test=None, **changes):
    content = [
        {"text_a": f"text {n}", "label": ("no", "yes", "-")[n % 3 if n < 3 else n % 2]}
        for n in range(41)
    ]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    values = {
        "name": "t",
        "kind": "single",
        "metric": "accuracy",
        "no_label": ["-"],
        "paths": {"train": "all.jsonl"},
        "held_out": {"val": 0.25, "test": 0.1},
        **changes,
    }
    return parse_task_config(values, where="t.json")


def test_rows_without_a_label_are_left_out_before(tmp_path):
    config = written(tmp_path, max_train_examples=10)
    train, val, test = (read_split(config, split, tmp_path) for split in SPLITS)
    assert [len([*found]) for found in (train, val, test)] == [26, 10, 4]
    assert [found.unlabelled.count for found in (train, val, test)] == [1, 0, 0]
    assert task_labels(config, tmp_path) == ("no", "yes")
    assert sources_of(config, "val", tmp_path) == (f"25 % of {tmp_path}/all.jsonl",)
    with pytest.warns(match="train split: rows without a label, left out: 1"):
        assert len(read_examples(config, "train", tmp_path)) == 10


def test_labels_are_those_of_all_training_data(tmp_path):
    tags = [{"tokens": ["w", str(n)], "labels": ["O", f"T{n}"]} for n in range(10)]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in tags))
    values = {"name": "t", "kind": "tagging", "metric": "accuracy", "paths": {"train": "all.jsonl"}}
    config = parse_task_config({**values, "held_out": {"val": 0.3}}, where="t.json")
    assert len(task_labels(config, tmp_path)) == 11
    assert len(read_examples(config, "val", tmp_path)) == 3


def test_the_test_split_as_dev_split_holds_the_same_rows(tmp_path):
    config = written(tmp_path)
    turned = parse_task_config(as_dev(to_json_values(config)), where="t.json")
    assert [*read_split(turned, "val", tmp_path)] == [*read_split(config, "test", tmp_path)]
    assert as_dev(as_dev(to_json_values(config)))["held_out"]["drawn_first"] == "test"


def test_what_does_not_go_together(tmp_path):
    for changes, problem in (
        ({"held_out": None}, "key 'val' is missing; 'held_out': {'val': 0.2} takes it from"),
        ({"held_out": {"test": 0.1}}, "key 'val' is missing"),
        ({"held_out": {"seed": 1}}, "say how large the dev split is"),
        ({"held_out": {"val": 0.7, "test": 0.3}}, "leave no rows for training"),
        ({"held_out": {"val": 2}}, "held_out.val: must be below 1, found 2"),
        (
            {"paths": {"train": "a.csv", "val": "b.csv"}},
            "held_out.val: there is paths.val already; leave one out",
        ),
        (
            {"dataset": {"path": "x", "splits": {"val": "dev"}}},
            "held_out.val: there is dataset.splits.val already",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            written(tmp_path, **changes)
        assert problem in str(caught.value)
    few = written(tmp_path, held_out={"val": 0.01})
    with pytest.raises(DataError, match=r"held_out\.val: of 40 rows none can be spared"):
        list(read_split(few, "val", tmp_path))


def test_a_run_scores_what_is_held_out(tmp_path):
    encoder = save_tiny_encoder("bert", tmp_path / "encoder")
    path = write_task(tmp_path / "tasks", "topic", num_train=40)
    values = json.loads(path.read_text())
    values["paths"] = {"train": values["paths"]["train"]}
    path.write_text(json.dumps({**values, "held_out": {"val": 0.25, "test": 0.25}}))
    run_file = write_run_file(tmp_path, encoder, ("topic", "match"), score_test=True)
    said = run_command("run", run_file, "--json", "--quiet")
    assert said.code == 0, said.err
    container = json.loads((tmp_path / "out" / "container_config.json").read_text())
    assert container["task_specific_configs_dict"]["topic"]["eval_subset_num"] == 10
    assert (tmp_path / "out" / "test_caches" / "topic" / "val_labels").is_dir()
