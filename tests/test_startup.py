"""What is imported before something is computed: processes of their own, counted in modules."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import yaml

from gradts_plugin.commands.start import main as started

#: Each takes longer to import than the command line may take to answer.
HEAVY = {"datasets", "jiant", "matplotlib", "pandas", "pyarrow", "scipy", "sklearn", "torch"}
HEAVY |= {"transformers"}

#: What help does not need either.
SETTINGS = {"numpy", "pluggy", "pydantic", "rich", "yaml"}

PROGRAM = """
import json, os, sys
from gradts_plugin.commands.main import main
try:
    main()
finally:
    with open(os.environ["MODULES"], "w") as stream:
        json.dump(sorted(sys.modules), stream)
"""

RUN_FILE = {
    "model": {"name_or_path": "no-such-encoder"},
    "tasks": ["rte", "mrpc"],
    "primary_task": "rte",
    "output_dir": "out",
}


@pytest.fixture
def answered(tmp_path):
    """Runs a command; returns (exit code, stdout, stderr, imported modules)."""

    def run(*arguments, **variables):
        modules = tmp_path / "modules.json"
        answer = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env={**os.environ, "MODULES": str(modules), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return answer.returncode, answer.stdout, answer.stderr, set(json.loads(modules.read_text()))

    return run


@pytest.fixture
def refused(answered, tmp_path):
    """Runs a run file with these keys changed; returns the lines on stderr."""

    def run(command="run", **changes):
        path = tmp_path / "run.yaml"
        values = {**RUN_FILE, **changes}
        path.write_text(yaml.safe_dump({k: v for k, v in values.items() if v is not None}))
        code, out, err, modules = answered(command, path)
        assert (code, out) == (2, "")
        assert not modules & HEAVY
        assert not (tmp_path / "out").exists()
        return err.replace(str(path), "FILE").splitlines()

    return run


@pytest.mark.parametrize(
    "arguments", [("--version",), ("--help",), ("run", "--help"), ("select", "--help"), ("ran",)]
)
def test_help_imports_the_command_line_only(answered, arguments):
    code, *_, modules = answered(*arguments)
    assert code == (2 if arguments == ("ran",) else 0)
    assert not modules & (HEAVY | SETTINGS)


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("gradts-select re", ["report"]),
        ("gradts-select rank --s", ["--seeds", "--seed"]),
        ("gradts-select figures --format p", ["png", "pdf"]),
    ],
)
def test_completion_imports_the_command_line_only(answered, words, completed):
    number = len(words.split()) - 1
    code, out, err, modules = answered(
        _GRADTS_SELECT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(number)
    )
    assert (code, err) == (0, "")
    assert out.split() == [f"plain,{each}" for each in completed]
    assert not modules & (HEAVY | SETTINGS)


@pytest.mark.parametrize("command", ["run", "plan"])
def test_all_mistakes_of_a_run_file_are_told_at_once(refused, command):
    changes = {"output_dir": None, "taskz": [], "probing": {"typo": 1}, "ranking": {"ranker": "x"}}
    method = {"name": "thres", "quantile": 0.5}
    first, *others = refused(command, **changes, seeds=0, method=method)
    assert first == "gradts-select: FILE: 6 mistakes"
    starts = ("unknown key 'probing.typo'", "unknown key 'taskz'", "key 'output_dir' is missing")
    starts += ("seeds: ", "ranking.ranker: unknown value 'x'", "method: unknown key 'quantile'")
    assert len(others) == len(starts)
    for start in starts:
        assert sum(line.startswith(f"  {start}") for line in others) == 1, others


def test_one_mistake_is_one_line(refused):
    (line,) = refused(method="tresh")
    assert line == "gradts-select: FILE: method: unknown value 'tresh'; did you mean 'thres'?"


def test_what_settings_rule_out_in_one_another_waits_until_all_can_be_read(refused):
    auto = {"name": "thres", "threshold": "auto"}
    (line,) = refused(method=auto)
    assert "needs probing.shuffled_controls" in line
    (line,) = refused(method=auto, probing={"shuffled_controls": 2, "batch_size": 0})
    assert line.startswith("gradts-select: FILE: probing.batch_size: ")


def test_an_old_key_is_told_once_and_in_one_line(refused):
    ranking = {"ranker": "logme", "max_instances": 5}
    old, mistake = refused(ranking=ranking, seeds=0)  # for the mistake it is read once more
    assert old.startswith("gradts-select: the key 'ranking.max_instances' is of version 0.1 ")
    assert old.endswith("it is now ranking.ranker: {name: logme, max_instances: ...}")
    assert mistake.startswith("gradts-select: FILE: seeds: ")


def test_the_package_offers_its_class_without_importing_it():
    code = (
        "import sys, gradts_plugin; before = set(sys.modules);"
        "from gradts_plugin import GradTS; print(GradTS.__name__);"
        "print('gradts_plugin.api' in before, 'torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["GradTS", "False", "False"]


def test_waiting_threads_leave_the_cores_to_others(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gradts-select", "--version"])
    for given, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if given:
            monkeypatch.setenv("OMP_WAIT_POLICY", given)
        with pytest.raises(SystemExit):
            started()
        assert os.environ["OMP_WAIT_POLICY"] == expected
