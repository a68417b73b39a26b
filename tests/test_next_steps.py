"""What is wrong with files is said with the next step."""

from __future__ import annotations

import pytest

from gradts_plugin.errors import ConfigError, GradTSError
from gradts_plugin.settings.reading import no_such_file, read_json
from gradts_plugin.tasks.reading import read_examples
from gradts_plugin.tasks.shipped import resolve_task_config
from gradts_plugin.tasks.task_configs import parse_task_config


def test_a_path_that_starts_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x.csv").write_text("text_a,label\n")
    missing = tmp_path / "tasks" / "data" / "x.csv"
    hint = "exists: relative paths start at the folder of the file that names them"
    assert no_such_file(missing) == f"{missing}: no such file; {tmp_path}/data/x.csv {hint}"
    monkeypatch.chdir(tmp_path)
    far = tmp_path / "a" / "b" / "c" / "d" / "e" / "f" / "data" / "x.csv"
    assert f"{tmp_path}/data/x.csv {hint}" in no_such_file(far)


def test_a_name_that_is_misspelt(tmp_path):
    (tmp_path / "reviews").mkdir()
    (tmp_path / "reviews" / "train.json").write_text("{}")
    for wrong, right in (("reviews/trian.json", "reviews/train.json"), ("reveiws/t", "reviews")):
        expected = f"{tmp_path / wrong}: no such file; did you mean {tmp_path / right}?"
        assert no_such_file(tmp_path / wrong) == expected
    with pytest.raises(ConfigError, match="did you mean"):
        read_json(tmp_path / "reviews" / "trainn.json")
    with pytest.raises(ConfigError, match="no such task config file; did you mean"):
        resolve_task_config(str(tmp_path / "reviews" / "trainn.json"))
    assert no_such_file(tmp_path / "other") == f"{tmp_path}/other: no such file"


@pytest.mark.parametrize(
    ("content", "changes", "problem"),
    [
        ("text;label\na;b\n", {}, "one column, 'text;label'; is the 'separator' ';'?"),
        (
            "a day,good\na night,bad\n",
            {},
            "no column is called 'text_a' nor 'label'; there are 'a day', 'good'. 'fields' says "
            "which is which; a file without a header line needs 'columns'",
        ),
        ("text_a,class\na,b\n", {}, "field 'label' is missing"),
        ("text_a,label\na,b\n", {"metric": "pearson"}, "'pearson' does not fit kind 'single'"),
    ],
)
def test_separators_columns_and_metrics(tmp_path, content, changes, problem):
    (tmp_path / "train.csv").write_text(content)
    values = {"name": "t", "kind": "single", "metric": "accuracy"}
    paths = {"train": "train.csv", "val": "train.csv"}

    def read():
        config = parse_task_config({**values, "paths": paths, **changes}, where="t.json")
        read_examples(config, "train", tmp_path)

    with pytest.raises(GradTSError) as caught:
        read()
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
