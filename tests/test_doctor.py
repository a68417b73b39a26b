"""The doctor: what is found, what is asked for, what to type."""

from __future__ import annotations

import importlib.metadata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

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


@pytest.fixture
def with_uv(monkeypatch):
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
    assert row.remedy == "pip install --no-deps jiant==2.2.0"
    assert not diagnosis.usable


def test_missing_host_for_uv_users(versions, with_uv):
    versions["jiant"] = None
    assert _row("jiant").remedy == "uv sync"


def test_other_host_version(versions, with_pip):
    versions["jiant"] = "2.1.0"
    assert _row("jiant") == Check(
        "jiant", "2.1.0", "==2.2.0", "wrong version", "pip install --no-deps jiant==2.2.0"
    )


def test_old_package(versions, with_pip):
    versions["torch"] = "1.13.1+cu117"
    diagnosis = diagnose()
    assert _row("torch", diagnosis) == Check(
        "torch", "1.13.1+cu117", ">=2.6", "too old", "pip install 'torch>=2.6'"
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


def test_every_row_is_shown_and_what_to_type_is_never_cut():
    checks = (
        Check("python", "3.11.7", ">=3.11", "ok"),
        Check("jiant", "", "==2.2.0", "missing", f"pip install 'a[b]' {'x' * 60}"),
    )
    console = Console(width=60, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(render(Diagnosis(checks)), crop=False)
    text = capture.get()
    for check in checks:
        for value in (check.component, check.found, check.needed, check.status, check.remedy):
            assert value in text


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
