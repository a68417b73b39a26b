"""Odd files and values end in one line, and take neither time nor memory first."""

import errno
import os
from itertools import pairwise

import pytest
import yaml
from fake_runs import fake_file, fake_manager
from tiny_runs import run_command, write_task

from gradts_plugin import builtin
from gradts_plugin.api import GradTS
from gradts_plugin.commands.refusals import refusal, say
from gradts_plugin.errors import ConfigError, GradTSError, SettingsError
from gradts_plugin.opening import open_run_file
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import Settings, parse_settings
from gradts_plugin.settings.reading import read_json, read_yaml
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.stores.computed import ComputedValues
from gradts_plugin.tasks.task_configs import read_task_config


def refused(path, *words, command="run"):
    answer = run_command(command, path)
    assert answer.code == 2, answer.err
    (line,) = answer.err.splitlines()
    assert len(line) <= 520
    assert line.isprintable()
    for word in words:
        assert word in line
    return line


def run_file(folder, text="", **changes):
    """A run file that is right but for what is changed in it, and text after it."""
    values = {
        "model": {"name_or_path": "no-encoder"},
        "tasks": [str(write_task(folder, name)) for name in ("topic", "match")],
        "primary_task": "topic",
        "output_dir": "out",
        **changes,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values) + text)
    return path


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "plan", "compare"])
def test_pipes_and_devices_are_not_read(tmp_path, command):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        refused(tmp_path / name, "is a device, pipe or socket; a file is needed", command=command)


def test_a_pipe_in_an_output_folder_is_not_waited_for(tmp_path):
    values = parse_settings(RunFile, fake_file(tmp_path, primary_task="goal"), where="test")
    values.output_dir.mkdir()
    for name in ("run.json", "logs.jsonl", "in-progress.json"):
        os.mkfifo(values.output_dir / name)
        with pytest.raises(GradTSError, match=f"{name} is a device, pipe or socket"):
            open_run_file(values, fake_manager())
        (values.output_dir / name).unlink()


def test_a_pipe_in_a_store_is_no_record(tmp_path):
    store, key = ComputedValues(tmp_path), {"name": "one"}
    os.mkfifo(tmp_path / f"{store.digest(key)[:32]}.json")
    assert ComputedValues(tmp_path).find(key) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\nseed: 1\nseed: 2\n", "line 10: broken YAML: key 'seed' stands twice"),
        ("\nprobing: {seed: 1, seed: 2}\n", "key 'seed' stands twice"),
        ("\nseed: " + "[" * 5000 + "]" * 5000, "broken YAML: it is nested too deeply"),
        ("\nseed: &a [*a]\n", "broken YAML: it is nested too deeply"),
        (
            "\na: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in pairwise("abcdefghi")),
            "it holds more than 1,000,000 values",
        ),
        ("\nseed: 'a\0b'\n", "broken YAML: unacceptable character #x0000"),
        ("\nseed: !!timestamp 2020-99-99\n", "broken YAML: month must be in 1..12"),
        ("\nseed: " + "9" * 5000, "broken YAML: Exceeds the limit (4300 digits)"),
        ("\n? [a]\n: 1\n", "broken YAML: found unhashable key"),
        ("\nseed: 12:30\n", "seed: a whole number is needed"),
        ("\nseeds: 1:30.5\n", "found '1:30.5'"),
        ("\nseeds: true\n", "seeds: a number is needed, found True"),
        ("\nseeds: yes\n", "seeds: a number is needed, found True"),
        ("\ntraining: {learning_rate: true}\n", "training.learning_rate: a number is needed"),
        ("\nmethod: {name: trial, patience: false}\n", "patience: a number is needed, found False"),
        ('\nstore: "a\\0b"\n', "store: no name or path has such characters, found 'a\\x00b'"),
        (f"\nstore: {'n' * 300}\n", "a name in it 255"),
        (f"\nstore: {'n/' * 3000}\n", "a path has at most 4096 bytes"),
        (f"\ncandidate_tasks: ['{'n' * 10_000}']\n", ""),
        ("\n1: 2\n", "keys should be strings, found 1"),
        ("\n~: 2\n", "Keys should be strings"),
        (f'\n? "{"k" * 10_000}"\n: 1\n', "unknown key"),
        ('\n"\\e[31mkey": 1\n', r"\x1b[31mkey"),
    ],
)  # fmt: skip
def test_odd_yaml_is_told_in_one_line(tmp_path, text, words):
    refused(run_file(tmp_path, text), words)


def test_long_names_of_models_and_tasks_are_told_in_one_line(tmp_path):
    refused(run_file(tmp_path, tasks=["n" * 5000, "topic"]))
    refused(run_file(tmp_path, model={"name_or_path": "n" * 5000}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"name": 1, "name": 2}', "broken JSON: key 'name' stands twice"),
        ('{"paths": {"train": 1, "train": 2}}', "broken JSON: key 'train' stands twice"),
        ("[" * 200_000 + "]" * 200_000, "broken JSON: it is nested too deeply"),
        ("9" * 5000, "broken JSON: Exceeds the limit (4300 digits)"),
        ('{"name": "a\\u0000b"}', ""),
        ('{"name": "\\ud800"}', ""),
        ("\0", "broken JSON"),
    ],
)
def test_odd_json_is_told_in_one_line(tmp_path, text, words):
    path = tmp_path / "topic.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as told:
        read_task_config(path)
    lines = refusal(told.value)
    assert words in lines[0]
    assert all(line.isprintable() for line in lines)


def test_yaml_that_is_meant_is_read(tmp_path):
    path = tmp_path / "some.yaml"
    path.write_text(
        "shared: &shared {epochs: 1}\nfine_tuning: {<<: *shared, batch_size: 2}\n"
        "training: *shared\ntime: 12:30\nnumber: 1_000\nrate: 1.5e-3\non: 2020-01-01\n"
    )
    found = read_yaml(path)
    assert found["fine_tuning"] == {"epochs": 1, "batch_size": 2}
    assert (found["time"], found["number"], found["rate"]) == ("12:30", 1000, 0.0015)
    (tmp_path / "some.json").write_text('{"a": {"b": 1}, "c": {"b": 2}}')
    assert read_json(tmp_path / "some.json") == {"a": {"b": 1}, "c": {"b": 2}}


# --- counts ---------------------------------------------------------------------------------------


def _models():
    yield from (RunFile, CompareFile)
    for offered in (*builtin.extend_selection_methods(), *builtin.extend_rankers()):
        yield offered.settings


def _counts(model, before=()):
    """The place of every whole number among settings, and whether it has a largest value."""
    for name, schema in model.model_json_schema().get("properties", {}).items():
        for kind in (schema, *schema.get("anyOf", ())):
            if kind.get("type") == "integer":
                yield f"{model.__name__}.{name}", {"maximum", "exclusiveMaximum"} & {*kind}
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from _counts(field.annotation)


def test_every_count_has_a_largest_value():
    found = {place: bounds for model in _models() for place, bounds in _counts(model)}
    assert len(found) > 30
    assert [place for place, bounds in found.items() if not bounds] == []


@pytest.mark.parametrize("key", ["seeds", "training_seeds"])
def test_a_count_beyond_reason_is_refused_at_once(tmp_path, key):
    refused(run_file(tmp_path, **{key: 10**9}), f"{key}: must be at most")


# --- messages -------------------------------------------------------------------------------------


def test_messages_are_short_and_show_what_a_terminal_would_obey(capsys):
    say("a\x1b[2J\tb\x00c\udc80 \u202e " + "x" * 1000 + " remove it")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("gradts-select: a\\x1b[2J b\\x00c\\udc80 \\u202e xxx")
    assert line.endswith("xxx remove it")
    assert len(line) == 500


def test_many_mistakes_are_counted_and_not_all_told():
    lines = refusal(SettingsError("file", [f"mistake {number}" for number in range(5000)]))
    assert len(lines) == 22
    assert lines[0] == "file: 5000 mistakes"
    assert lines[-1] == "and 4980 more"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (errno.EACCES, "cannot open some.txt: no permission"),
        (errno.ENAMETOOLONG, "cannot open some.txt: the name is too long"),
        (errno.EDQUOT, "cannot write some.txt: the disk quota is used up"),
        (errno.ENOSPC, "cannot write some.txt: the disk is full"),
    ],
)
def test_what_a_disk_refuses_is_named(code, line):
    assert refusal(OSError(code, "?", "some.txt")) == [line]


# --- a run file that is switched off --------------------------------------------------------------


def test_a_run_file_that_is_not_enabled_runs_nothing(tmp_path):
    path = run_file(tmp_path, enabled=False)
    for command in ("run", "plan"):
        refused(path, "enabled is false: nothing is run", command=command)
    with pytest.raises(ConfigError, match="enabled is false"):
        GradTS.from_run_file(path).rank()
    assert not (tmp_path / "out").exists()
