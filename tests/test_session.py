"""The recorded session of docs/first_run.md: its commands run, and print what the page has."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from tiny_encoders import save_tiny_encoder

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("make_session", DOCS / "make_session.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def steps(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    encoder = save_tiny_encoder("bert", folder / "made")
    work = folder / "work"
    work.mkdir()
    changes = ("training.max_steps=2", "training.batch_size=4", "method.budget=8")
    return {step.name: step for step in script.session(work, encoder, changes=changes)}


def without_outputs(text):
    """A page without what depends on the encoder and on what is changed of the run file."""
    return re.sub(r"```text\n.*?\n```", "", re.sub(r" --set \S+", "", text), flags=re.DOTALL)


def shown(text):
    """Blocks of output of a page."""
    return re.findall(r"```text\n(.*?)\n```", text, flags=re.DOTALL)


def test_the_page_is_what_the_script_writes(script, steps):
    written = script.PAGE.read_text(encoding="utf-8")
    assert without_outputs(written) == without_outputs(script.page([*steps.values()]))
    outputs = dict(zip(steps, shown(written), strict=True))
    for name in ("files", "heads", "config"):
        assert outputs[name] == steps[name].output

    def of_no_encoder(text):
        return [line for line in text.splitlines() if not re.match(r"  (tokens|row \d)", line)]

    assert of_no_encoder(outputs["init"]) == of_no_encoder(steps["init"].output)
    assert of_no_encoder(outputs["task"]) == of_no_encoder(steps["task"].output)


def test_the_session_ends_with_a_report(steps):
    assert "Selected for notes: " in steps["run"].output
    assert "report.html" in steps["run"].output
    assert str(Path.home()) not in "".join(step.output for step in steps.values())
