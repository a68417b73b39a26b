"""Settings of a file changed on the command line, and what a wrong value is told to be."""

from __future__ import annotations

import pytest
import yaml

from gradts_plugin.commands import run as run_command
from gradts_plugin.commands.main import run as typed
from gradts_plugin.errors import ConfigError, SettingsError
from gradts_plugin.settings.changes import changed
from gradts_plugin.settings.compare_file import read_compare_file
from gradts_plugin.settings.run_file import read_run_file

RUN = {
    "model": "somewhere",
    "primary_task": "goal",
    "tasks": ["goal", "match"],
    "output_dir": "out",
    "method": "designed",
    "training": {"max_steps": 10, "epochs": None},
}


@pytest.fixture
def run_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(RUN))
    return path


def test_keys_are_changed_as_if_they_stood_in_the_file(run_file):
    changes = ["training.max_steps=20", "tasks=[goal, words]", "score_test=true", "output_dir=here"]
    read = read_run_file(run_file, changes)
    assert (read.training.max_steps, read.training.epochs) == (20, None)
    assert (read.tasks, read.score_test) == (("goal", "words"), True)
    assert read.output_dir == run_file.parent / "here"
    assert read_run_file(run_file).training.max_steps == 10


def test_of_two_changes_the_last_one_counts():
    assert changed({"seed": 1}, ["seed=2", "seed=3"]) == {"seed": 3}
    assert changed({}, ["training.max_steps=2", "training.epochs=1"]) == {
        "training": {"max_steps": 2, "epochs": 1}
    }


def test_a_word_becomes_a_section_where_it_has_keys(run_file):
    changes = ["method.budget=16", "model.max_seq_length=64", "ranking.ranker.max_instances=8"]
    changes.insert(0, "ranking.ranker=embedding")
    read = read_run_file(run_file, changes)
    assert (read.method.name, dict(read.method.own)) == ("designed", {"budget": 16})
    assert (read.model.name_or_path, read.model.max_seq_length) == ("somewhere", 64)
    assert dict(read.ranking.ranker.own) == {"max_instances": 8}


def test_a_value_may_hold_an_equals_sign_and_may_be_nothing():
    assert changed({"a": 1}, ["a=b=c"]) == {"a": "b=c"}
    assert changed({"a": 1}, ["a="]) == {"a": None}
    assert changed({"a": 1}, [" a =2"]) == {"a": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("seed", "--set seed: expected key=value, e.g. training.max_steps=200"),
        ("=3", "--set =3: expected key=value"),
        ("training.=3", "--set training.=3: expected key=value"),
        ("tasks=[a", r"--set tasks=\[a: '\[a' is no YAML value"),
        ("seed.x=3", "--set seed.x=3: seed is 4, which has no keys"),
        ("tasks.x=3", r"--set tasks.x=3: tasks is \['a'\], which has no keys"),
    ],
)
def test_a_change_that_is_none(change, said):
    with pytest.raises(ConfigError, match=said):
        changed({"seed": 4, "tasks": ["a"]}, [change])


def test_an_unknown_key_is_told_like_that_of_a_file(run_file):
    with pytest.raises(SettingsError, match=r"'training\.max_stepz'; did you mean"):
        read_run_file(run_file, ["training.max_stepz=3"])


def test_a_compare_file_is_changed_too(tmp_path):
    path = tmp_path / "compare.yaml"
    values = {key: value for key, value in RUN.items() if key not in ("primary_task", "method")}
    path.write_text(yaml.safe_dump({**values, "primaries": ["goal"]}))
    changes = ["methods.mine.method=all", "evaluation_seeds=5"]
    read = read_compare_file(path, changes)
    assert (dict(read.methods), read.evaluation_seeds) == ({"mine": {"method": "all"}}, 5)


def test_run_and_plan_take_changes(run_file, monkeypatch, capsys):
    read = []
    monkeypatch.setattr(run_command, "run_to_the_end", lambda run, _: read.append(run) or 0)
    for arguments in (["--set", "seed=7", str(run_file)], [str(run_file), "--set", "seed=7"]):
        assert typed(["run", *arguments]) == 0
    assert [one.seed for one in read] == [7, 7]
    for command in ("run", "plan"):
        assert typed([command, str(run_file), "--set", "sed=7"]) == 2
        assert "unknown key 'sed'; did you mean 'seed'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.max_steps=1.5", "training.max_steps: a whole number is needed, found 1.5"),
        ("seed=many", "seed: a whole number is needed, found 'many'"),
        ("training.learning_rate=fast", "training.learning_rate: a number is needed, found 'fast'"),
        ("training.learning_rate=.inf", "training.learning_rate: a finite number is needed"),
        ("training.learning_rate=0", "training.learning_rate: must be above 0, found 0"),
        ("model.max_seq_length=7", "model.max_seq_length: must be at least 8, found 7"),
        ("model.max_seq_length=9000", "model.max_seq_length: must be at most 8192, found 9000"),
        ("ranking.confidence=1", "ranking.confidence: must be below 1, found 1"),
        ("score_test=maybe", "score_test: true or false is needed, found 'maybe'"),
        ("output_dir=3", "output_dir: a path is needed, found 3"),
        ("tasks=goal", "tasks: a list is needed, found 'goal'"),
        ("tasks=[goal]", r"tasks: at least 2 are needed, found \['goal'\]"),
        ("primary_task=3", "primary_task: a text is needed, found 3"),
        ("training=3", "training: a mapping of keys is needed, found 3"),
    ],
)
def test_a_wrong_value_is_told_in_words_of_the_settings(run_file, change, said):
    with pytest.raises(SettingsError, match=said):
        read_run_file(run_file, [change])
