"""The recorded session of docs/first_run.md: its commands run, and print what the page has."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from tiny_encoders import save_tiny_encoder

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_session", DOCS / "make_session.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_session"] = module  # its records look themselves up there
    spec.loader.exec_module(module)
    return module


def run_on_a_tiny_encoder(script, folder, last):
    encoder = save_tiny_encoder("bert", folder / "made")
    work = folder / "work"
    work.mkdir()
    changes = ("training.max_steps=2", "training.batch_size=4", "method.budget=8")
    return {step.name: step for step in script.session(work, encoder, changes=changes, last=last)}


def of_no_encoder(text):
    """The lines of an output that do not depend on the encoder's tokens."""
    return [line for line in text.splitlines() if not re.match(r"  (tokens|row \d)", line)]


def test_the_page_is_what_the_script_writes(script, tmp_path):
    written = script.PAGE.read_text(encoding="utf-8")
    outputs = dict(
        zip(
            script.commands(),
            re.findall(r"```text\n(.*?)\n```", written, flags=re.DOTALL),
            strict=True,
        )
    )
    steps = [script.Step(name, typed, outputs[name]) for name, typed in script.commands().items()]
    assert script.page(steps) == written
    run = run_on_a_tiny_encoder(script, tmp_path, "task")
    for name in ("files", "heads", "config", "run file"):
        assert outputs[name] == run[name].output
    for name in ("init", "task"):
        assert of_no_encoder(outputs[name]) == of_no_encoder(run[name].output)


@pytest.mark.slow
def test_the_session_ends_with_a_report(script, tmp_path):
    output = run_on_a_tiny_encoder(script, tmp_path, "run")["run"].output
    assert "Selected for notes: " in output
    assert "report.html" in output
    assert str(tmp_path) not in output
