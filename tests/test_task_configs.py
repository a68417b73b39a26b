"""What a task config may say, and what is answered to one that says something else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradts_plugin.errors import ConfigError
from gradts_plugin.tasks.kinds import METRICS, ROLES, label_name
from gradts_plugin.tasks.reading import read_examples
from gradts_plugin.tasks.shipped import resolve_task_config, shipped_task_configs
from gradts_plugin.tasks.task_configs import (
    is_custom,
    parse_task_config,
    read_task_config,
    settled_paths,
    task_config_schema,
    to_json_values,
)

ROOT = Path(__file__).resolve().parents[1]
PAPER_TASKS = [
    *("cola", "mrpc", "sst2", "wnli", "mnli", "qnli", "rte", "qqp"),  # the 8 of GLUE
    *("stsb", "pos", "ner", "sc"),  # mixed objectives
    *("meld", "dmeld"),
]


def config(**changes):
    values = {
        "name": "task",
        "kind": "single",
        "paths": {"train": "t.jsonl", "val": "v.jsonl"},
        "metric": "accuracy",
    } | changes
    return {key: value for key, value in values.items() if value is not ...}


def problem(**changes):
    with pytest.raises(ConfigError) as caught:
        parse_task_config(config(**changes), where="here.json")
    message = str(caught.value)
    assert message.startswith("here.json: ")
    assert "\n" not in message
    return message.removeprefix("here.json: ")


def test_the_smallest_config_is_enough():
    parsed = parse_task_config(config(), where="here")
    assert parsed.labels == "infer"
    assert parsed.field_names() == {"text_a": "text_a", "label": "label"}


def test_labels_may_be_written_as_numbers():
    assert parse_task_config(config(labels=[0, 1]), where="here").labels == ("0", "1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "pairs"}, "kind: unknown value 'pairs'; did you mean 'pair'?"),
        ({"metric": "acuracy"}, "metric: unknown value 'acuracy'; did you mean 'accuracy'?"),
        ({"metrik": "f1"}, "unknown key 'metrik'; did you mean 'metric'?"),
        ({"metric": ...}, "key 'metric' is missing"),
        ({"paths": {"val": "v.jsonl"}}, "key 'paths.train' is missing"),
        (
            {"paths": {"train": "t.jsonl", "val": "v.jsonl", "tset": "x"}},
            "unknown key 'paths.tset'; did you mean 'test'?",
        ),
        ({"fields": {"txt_a": "s"}}, "unknown key 'fields.txt_a'; did you mean 'text_a'?"),
        ({"paths": ...}, "no data: give 'paths' (files) or 'dataset' (hub name or folder)"),
        (
            {"fields": {"text_b": "s"}},
            "fields.text_b: a task of kind 'single' has no such field; did you mean 'text_a'?",
        ),
        (
            {"dataset": {"path": "d", "fields": {"choices": "c"}}},
            "dataset.fields.choices: a task of kind 'single' has no such field; "
            "valid: label, text_a",
        ),
        (
            {"metric": "seqeval_f1"},
            "metric: 'seqeval_f1' does not fit kind 'single'; valid: accuracy, f1, macro_f1, mcc",
        ),
        ({"metric": "f1"}, "metric 'f1' needs 'positive_label'"),
        ({"positive_label": "a"}, "positive_label belongs to metric 'f1' alone"),
        (
            {"labels": ["yes", "no"], "metric": "f1", "positive_label": "yse"},
            "unknown label 'yse'; did you mean 'yes'?",
        ),
        (
            {"labels": ["yes", "no"], "label_map": {"1": "yess"}},
            "unknown label 'yess'; did you mean 'yes'?",
        ),
        ({"labels": ["yes"]}, "labels: at least two are needed"),
        ({"labels": ["yes", "no", "yes"]}, "labels: 'yes' is given twice"),
        ({"labels": "text"}, "labels: 'text' is for multiple choice; give a list or 'infer'"),
        (
            {"labels": "infre"},
            "labels: a list of labels, 'infer', 'infer_all' or 'text' is needed, found 'infre'",
        ),
        (
            {"kind": "regression", "metric": "pearson", "labels": ["1", "2"]},
            "labels: a regression task has none",
        ),
        (
            {"paths": {"train": "t.conll", "val": "v.conll"}},
            "paths.train: conll files hold tagging tasks, not single",
        ),
        (
            {"paths": {"train": "t.dat", "val": "v.dat"}},
            "t.dat: no known suffix; say the format (jsonl, json, csv, tsv, conll, conllu, lines, "
            "parquet, arrow)",
        ),
        ({"columns": ["text_a", "label"]}, "columns: jsonl rows name their own fields"),
        ({"fields": {"label": 1}}, "fields: jsonl rows have no column 1, but names"),
        (
            {"paths": {"train": ["t.txt", "u.txt"], "val": ["v.txt", "w.txt"]}},
            "columns: 2 files side by side (paths.train) need a name for each",
        ),
        (
            {"encoding": "utf8-x"},
            "encoding: no encoding of texts; did you mean 'utf-8'?, found 'utf8-x'",
        ),
        (
            {"encoding": "base64"},
            "encoding: no encoding of texts; valid: cp1252, gb18030, latin-1, shift_jis, utf-16, "
            "utf-8, found 'base64'",
        ),
        ({"labels": ["a", "-1"], "no_label": [-1]}, "no_label: '-1' is a label"),
    ],
)
def test_a_wrong_config_is_answered_with_the_nearest_choice(changes, expected):
    assert problem(**changes) == expected


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "-rf", "a b", "ä", "a\n"])
def test_task_names_that_are_no_plain_folder_names_are_refused(name):
    assert "a task name has letters" in problem(name=name)


@pytest.mark.parametrize("path", ["../v.jsonl", "a/../../v.jsonl", ".."])
def test_relative_paths_that_leave_their_folder_are_refused(path):
    assert "the path leaves its folder" in problem(paths={"train": path, "val": "v.jsonl"})
    assert "the path leaves its folder" in problem(dataset={"path": path})


def test_paths_may_be_absolute_and_may_climb_inside_their_folder(tmp_path):
    paths = {"train": str(tmp_path / "t.jsonl"), "val": "a/../v.jsonl"}
    assert parse_task_config(config(paths=paths), where="here").paths.train == paths["train"]


@pytest.mark.parametrize("kind", ROLES)
def test_every_kind_has_metrics_and_only_those(kind):
    suffix = "conll" if kind == "tagging" else "jsonl"
    for metric in ("accuracy", "macro_f1", "mcc", "pearson", "spearman", "seqeval_f1"):
        values = config(
            kind=kind, metric=metric, paths={"train": f"t.{suffix}", "val": f"v.{suffix}"}
        )
        if metric in METRICS[kind]:
            assert parse_task_config(values, where="here").metric == metric
        else:
            with pytest.raises(ConfigError, match="does not fit kind"):
                parse_task_config(values, where="here")


def test_configs_of_the_host_are_not_custom():
    assert not is_custom({"task": "rte", "name": "rte", "paths": {}})
    assert is_custom(config())


@given(st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()))
def test_naming_a_label_twice_names_it_once(value):
    assert label_name(label_name(value)) == label_name(value)


def test_labels_are_named_as_configs_write_them():
    assert [label_name(value) for value in (0, 1.0, 2.5, True, "x")] == [
        "0", "1", "2.5", "true", "x",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="not NoneType"):
        label_name(None)


# --- settling and finding -------------------------------------------------------------------------


BOTH = config(dataset={"path": "hub/name", "fields": {"text_a": "sentence"}})


def test_files_win_where_the_training_file_exists(tmp_path):
    (tmp_path / "t.jsonl").touch()
    settled = settled_paths(parse_task_config(BOTH, where="here"), tmp_path)
    assert settled.dataset is None
    assert settled.paths.train == str(tmp_path / "t.jsonl")
    assert settled.paths.val == str(tmp_path / "v.jsonl")


def test_the_dataset_is_used_where_the_training_file_is_missing(tmp_path):
    settled = settled_paths(parse_task_config(BOTH, where="here"), tmp_path)
    assert settled.paths is None
    assert settled.dataset.path == "hub/name"


def test_a_dataset_folder_becomes_absolute(tmp_path):
    (tmp_path / "hub" / "name").mkdir(parents=True)
    settled = settled_paths(parse_task_config(BOTH, where="here"), tmp_path)
    assert settled.dataset.path == str(tmp_path / "hub" / "name")


def test_missing_files_stay_named_where_there_is_no_dataset(tmp_path):
    settled = settled_paths(parse_task_config(config(), where="here"), tmp_path)
    assert settled.paths.train == str(tmp_path / "t.jsonl")


@pytest.mark.parametrize("name", PAPER_TASKS)
def test_a_config_survives_being_written_and_read(name, tmp_path):
    once = settled_paths(read_task_config(shipped_task_configs()[name]), tmp_path)
    written = json.loads(json.dumps(to_json_values(once)))
    assert parse_task_config(written, where="here") == once
    assert settled_paths(once, Path("elsewhere")) == once
    assert "$schema" not in written  # its relative path would lead nowhere


def test_all_tasks_of_the_paper_are_shipped_under_their_names():
    shipped = shipped_task_configs()
    assert sorted(shipped) == sorted(PAPER_TASKS)
    for name, path in shipped.items():
        assert read_task_config(path).name == name


def test_task_configs_are_found_by_name_and_by_path(tmp_path):
    own = tmp_path / "own.json"
    own.write_text("{}")
    assert resolve_task_config("rte") == shipped_task_configs()["rte"]
    assert resolve_task_config(str(own)) == own
    assert resolve_task_config("mine", extra={"mine": own}) == own
    assert resolve_task_config("rte", extra={"rte": own}) == own


def test_unknown_task_names_get_the_nearest_one():
    with pytest.raises(ConfigError, match=r"^unknown task 'mrcp'; did you mean 'mrpc'\?$"):
        resolve_task_config("mrcp")
    with pytest.raises(ConfigError, match=r"^nowhere/x\.json: no such task config file$"):
        resolve_task_config("nowhere/x.json")


def test_broken_json_names_file_and_line(tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('{"name": "x",\n "kind": }')
    with pytest.raises(ConfigError, match=r"broken\.json, line 2: broken JSON"):
        read_task_config(broken)


# --- the schema and the documentation -----------------------------------------------------------


def test_the_shipped_schema_is_the_current_one():
    assert json.loads((ROOT / "task_configs" / "schema.json").read_text()) == task_config_schema()


@pytest.mark.parametrize("name", PAPER_TASKS)
def test_shipped_configs_are_valid_under_the_schema(name):
    values = json.loads(shipped_task_configs()[name].read_text())
    jsonschema.Draft202012Validator(task_config_schema()).validate(values)
    assert values["$schema"] == "schema.json"


def test_the_schema_refuses_what_the_model_refuses():
    validator = jsonschema.Draft202012Validator(task_config_schema())
    assert validator.is_valid(config())
    for wrong in ({"kind": "pairs"}, {"metrik": "f1"}, {"name": "../x"}, {"metric": ...}):
        assert not validator.is_valid(config(**wrong))


def documented(kind):
    text = (ROOT / "docs" / "task_configs.md").read_text(encoding="utf-8")
    return re.findall(rf"<!-- {kind}: (\S+) -->\n```[^\n]*\n(.*?)```", text, flags=re.DOTALL)


def test_the_documentation_has_an_example_of_every_kind():
    configs = [json.loads(block) for _, block in documented("config")]
    assert {values["kind"] for values in configs} == set(ROLES)
    for values in configs:
        parse_task_config(values, where="docs")


def test_the_documented_examples_read_their_data(tmp_path):
    for path, block in documented("data"):
        train = tmp_path / path
        train.parent.mkdir()
        train.write_text(block)
        train.with_stem("val").write_text(block)
    counts = {}
    for path, block in documented("config"):
        parsed = parse_task_config(json.loads(block), where=path)
        if parsed.paths is not None:
            assert path == f"{parsed.name}.json"
            counts[parsed.kind] = len(read_examples(parsed, "train", tmp_path))
            assert len(read_examples(parsed, "val", tmp_path)) == counts[parsed.kind]
    assert counts == dict.fromkeys(ROLES, 2)
