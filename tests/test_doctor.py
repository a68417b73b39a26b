"""The doctor: what is found, what is asked for, what to type."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradts_plugin import doctor
from gradts_plugin.doctor import Check, Diagnosis, diagnose, render
from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant import compat


def _row(component, diagnosis=None):
    checks = (diagnosis or diagnose()).checks
    return next(check for check in checks if check.component == component)


@pytest.fixture
def versions(monkeypatch):
    """Installed versions that a test may change; None: not installed."""
    changed = {}
    real = importlib.metadata.version

    def version(name):
        if name not in changed:
            return real(name)
        if changed[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return changed[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return changed


@pytest.fixture
def with_pip(monkeypatch):
    monkeypatch.setattr(doctor, "_managed_by_uv", lambda: False)
    monkeypatch.setattr(doctor, "_checkout", lambda: None)
    monkeypatch.setattr(doctor.sys, "executable", "/env/bin/python")


@pytest.fixture
def with_uv(monkeypatch, with_pip):
    monkeypatch.setattr(doctor, "_managed_by_uv", lambda: True)


def test_this_environment_is_fine():
    diagnosis = diagnose()
    assert diagnosis.usable
    names = [check.component for check in diagnosis.checks]
    assert names[0] == "python"
    assert {"torch", "transformers", "datasets", "jiant", "sentencepiece", "CUDA"} <= set(names)
    assert {"attrs", "numexpr", "seqeval", "nltk", "pandas", "scikit-learn"} <= set(names)
    assert _row("jiant, mended", diagnosis).status == "ok"


def test_minimum_versions_are_those_of_the_package_itself():
    assert f"torch{_row('torch').needed}" in importlib.metadata.requires("gradts-plugin")


def test_missing_host_for_pip_users(versions, with_pip):
    versions["jiant"] = None
    diagnosis = diagnose()
    row = _row("jiant", diagnosis)
    assert (row.found, row.status) == ("", "missing")
    assert row.remedy == "/env/bin/python -m pip install --no-deps jiant==2.2.0"
    assert not diagnosis.usable


def test_missing_host_for_uv_users(versions, with_uv):
    versions["jiant"] = None
    typed = "uv pip install --python /env/bin/python --no-deps jiant==2.2.0"
    assert _row("jiant").remedy == typed


def test_in_a_checkout_make_installs(versions, with_uv, monkeypatch, tmp_path):
    (tmp_path / "Makefile").touch()
    monkeypatch.setattr(doctor, "_checkout", lambda: tmp_path)
    versions["jiant"] = None
    assert _row("jiant").remedy == f"make -C {tmp_path} install"


def test_a_checkout_is_told_from_a_copy(monkeypatch):
    class Distribution:
        def __init__(self, text):
            self.text = text

        def read_text(self, name):
            assert name == "direct_url.json"
            return self.text

    for text, expected in (
        ('{"url": "file:///my%20code/x", "dir_info": {"editable": true}}', Path("/my code/x")),
        ('{"url": "file:///code", "dir_info": {}}', None),
        ('{"url": "https://index/x.whl", "archive_info": {}}', None),
        (None, None),
        ("{", None),
    ):
        monkeypatch.setattr(importlib.metadata, "distribution", lambda _, t=text: Distribution(t))
        assert doctor._checkout() == expected


def test_other_host_version(versions, with_pip):
    versions["jiant"] = "2.1.0"
    assert _row("jiant") == Check(
        "jiant",
        "2.1.0",
        "==2.2.0",
        "wrong version",
        "/env/bin/python -m pip install --no-deps jiant==2.2.0",
    )


def test_old_package(versions, with_pip):
    versions["torch"] = "1.13.1+cu117"
    diagnosis = diagnose()
    assert _row("torch", diagnosis) == Check(
        "torch", "1.13.1+cu117", ">=2.6", "too old", "/env/bin/python -m pip install 'torch>=2.6'"
    )
    assert not diagnosis.usable


def test_optional_package_may_be_missing(versions, with_pip):
    versions["matplotlib"] = None
    diagnosis = diagnose()
    row = _row("matplotlib", diagnosis)
    assert row.status == "not installed"
    assert "optional" in row.needed
    assert diagnosis.usable
    assert [check.component for check in diagnosis.checks].count("matplotlib") == 1


def test_host_that_does_not_import_is_broken(monkeypatch, with_pip):
    def fail():
        raise AttributeError("module 'transformers' has no attribute 'Gone'\nand more")

    monkeypatch.setattr(compat, "apply_mends", fail)
    diagnosis = diagnose()
    row = _row("jiant, mended", diagnosis)
    assert row.status == "broken"
    assert row.found == "AttributeError: module 'transformers' has no attribute 'Gone'"
    assert not diagnosis.usable


def test_host_error_is_shown_as_it_is(monkeypatch):
    def fail():
        raise HostError("jiant needs the package 'numexpr', which is not installed")

    monkeypatch.setattr(compat, "apply_mends", fail)
    assert _row("jiant, mended").found.startswith("jiant needs the package 'numexpr'")


@given(st.lists(st.integers(0, 30), min_size=1, max_size=4), st.integers(0, 30))
def test_versions_compare_by_number(parts, last):
    version = ".".join(map(str, parts))
    assert doctor._at_least(version, version)
    assert doctor._at_least(f"{version}.{last}", version)
    assert doctor._at_least(version + "+cpu", version)
    assert not doctor._at_least(version, f"{version}.{last + 1}")


def test_ten_is_newer_than_nine():
    assert doctor._at_least("2.10", "2.9")
    assert not doctor._at_least("2.9", "2.10")
    assert doctor._at_least("2.6", "2.6.0")


def test_the_verdict_comes_first_and_what_is_required_before_the_rest():
    checks = (
        Check("python", "3.11.7", ">=3.11", "ok"),
        Check("jiant", "", "==2.2.0", "missing", f"pip install 'a[b]' {'x' * 60}"),
        Check("torch", "1.0", ">=2.6", "too old", "pip install torch"),
        Check("matplotlib", "", ">=3.8 (optional: figures)", "not installed", "pip install it"),
    )
    lines = render(Diagnosis(checks)).splitlines()
    assert lines[0] == "No run can start: jiant: missing; torch: too old."
    required = lines.index("What to type:")
    assert lines[required + 1 : required + 3] == [f"  {checks[1].remedy}", "  pip install torch"]
    optional = lines.index("Optional:")
    assert required < optional
    assert lines[optional + 1] == "  pip install it"
    for check, line in zip(checks, lines[-4:], strict=True):
        for value in (check.component, check.found, check.needed, check.status):
            assert value in line
    fine = render(Diagnosis(checks[:1]))
    assert fine.splitlines()[0] == "Ready: all that is required is there."
    assert "type" not in fine


def test_optional_components_come_last():
    optional = [check.is_optional for check in diagnose().checks]
    assert optional == sorted(optional)


#: Behaves as if a package were not installed.
WITHOUT = """
import importlib.metadata, sys
name, distribution, *arguments = sys.argv[1:]
sys.modules[name] = None
version = importlib.metadata.version
def without(asked):
    if asked == distribution:
        raise importlib.metadata.PackageNotFoundError(asked)
    return version(asked)
importlib.metadata.version = without
sys.argv = ["gradts-select", *arguments]
from gradts_plugin.commands.start import main
main()
"""


def without(name, distribution, *arguments):
    command = [sys.executable, "-c", WITHOUT, name, distribution, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "distribution"),
    [("click", "click"), ("rich", "rich"), ("pluggy", "pluggy"), ("torch", "torch")],
)
def test_whatever_is_missing_the_doctor_can_be_asked(name, distribution):
    done = without(name, distribution, "doctor")
    assert done.returncode == 1
    assert done.stdout.startswith(f"No run can start: {distribution}: missing; jiant, mended")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("name", "distribution"), [("click", "click"), ("yaml", "pyyaml")])
def test_other_commands_say_what_is_missing(tmp_path, name, distribution):
    (tmp_path / "run.yaml").write_text("{}")
    done = without(name, distribution, "plan", str(tmp_path / "run.yaml"))
    assert done.returncode == 2
    assert done.stderr == (
        f"gradts-select: the package {name!r} is not installed; `gradts-select doctor` says what "
        "to type\n"
    )


def test_a_package_that_is_not_installed_at_all(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", missing)
    monkeypatch.setattr(importlib.metadata, "requires", missing)
    assert _row("python").status == "missing"


@pytest.mark.parametrize(
    ("settings", "environment", "expected"),
    [("uv = 0.9.1\n", {}, True), ("home = /x\n", {}, False), ("home = /x\n", {"UV": "/uv"}, True)],
)
def test_uv_is_recognised(monkeypatch, tmp_path, settings, environment, expected):
    (tmp_path / "pyvenv.cfg").write_text(settings)
    monkeypatch.setattr(doctor.sys, "prefix", str(tmp_path))
    monkeypatch.delenv("UV", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert doctor._managed_by_uv() is expected
