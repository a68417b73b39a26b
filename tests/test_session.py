"""The recorded sessions of the docs: their commands run, and print what the pages have."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest
from tiny_encoders import save_tiny_encoder

DOCS = Path(__file__).resolve().parents[1] / "docs"


def loaded(name):
    """A script of docs/."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its records look themselves up there
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return loaded("make_session")


@pytest.fixture(scope="module")
def jiant_script():
    return loaded("make_jiant_session")


@pytest.fixture(scope="module")
def notebook_script():
    return loaded("make_notebook_session")


@pytest.fixture(scope="module")
def recording(script):
    return sys.modules["recording"]


def folder_and_encoder(folder):
    """An empty folder, and a tiny encoder beside it."""
    work = folder / "work"
    work.mkdir()
    return work, save_tiny_encoder("bert", folder / "made")


def run_on_a_tiny_encoder(script, folder, last):
    work, encoder = folder_and_encoder(folder)
    changes = ("training.max_steps=2", "training.batch_size=4", "method.budget=8")
    return {step.name: step for step in script.session(work, encoder, changes=changes, last=last)}


def of_no_encoder(text):
    """The lines of an output that do not depend on the encoder's tokens and positions."""
    of_it = re.compile(r"  (tokens|row \d|max_seq_length:)")
    return [line for line in text.splitlines() if not of_it.match(line)]


def test_the_page_is_what_the_script_writes(script, recording, tmp_path):
    written = script.PAGE.read_text(encoding="utf-8")
    outputs = recording.outputs(written, list(script.commands()))
    steps = [script.Step(name, typed, outputs[name]) for name, typed in script.commands().items()]
    assert script.page(steps) == written
    run = run_on_a_tiny_encoder(script, tmp_path, "task")
    for name in ("files", "heads", "config"):
        assert outputs[name] == run[name].output
    for name in ("init", "run file", "task"):
        assert of_no_encoder(outputs[name]) == of_no_encoder(run[name].output)


@pytest.mark.slow
def test_the_session_ends_with_a_report(script, tmp_path):
    output = run_on_a_tiny_encoder(script, tmp_path, "run")["run"].output
    assert "Selected for notes: " in output
    assert "report.html" in output
    assert str(tmp_path) not in output


# --- a jiant set-up -------------------------------------------------------------------------------


def test_the_page_of_the_jiant_run_is_what_the_script_writes(jiant_script, recording, tmp_path):
    written = jiant_script.PAGE.read_text(encoding="utf-8")
    typed = jiant_script.commands()
    names = list(typed)
    place = names.index("plain")
    outputs = recording.outputs(written, [*names[:place], "words", *names[place:]])
    steps = [jiant_script.Step(name, typed[name], outputs[name]) for name in names]
    assert jiant_script.page(steps, outputs["words"]) == written
    run = jiant_script.session(*folder_and_encoder(tmp_path), last="flag")
    assert [step.name for step in run] == ["files", "script", "flag"]
    for step in run:
        assert outputs[step.name] == step.output


@pytest.mark.slow
def test_jiant_trains_the_rewritten_config(jiant_script, recording, tmp_path):
    folder, encoder = folder_and_encoder(tmp_path)
    steps = {step.name: step for step in jiant_script.session(folder, encoder, max_steps=4)}
    scores = re.split(r"==> .* <==\n", steps["scores"].output)[1:]
    assert [set(json.loads(each)) for each in scores] == [{"aggregated", "rte"}] * 2
    assert "Selected for rte: " in steps["run"].output
    words = recording.words_of(folder / "runs" / "flagged" / "gradts" / "report.html")
    assert words.startswith("Auxiliary task selection\n# Auxiliary tasks for rte")


# --- a notebook -----------------------------------------------------------------------------------


def test_the_page_of_the_notebook_has_the_cells_of_the_script(notebook_script):
    written = notebook_script.PAGE.read_text(encoding="utf-8")
    quick = json.dumps(dict(notebook_script.QUICK))
    assert re.findall(r"```python\n(.*?)\n```", written, flags=re.DOTALL) == [
        source.replace("QUICK", quick) for source in notebook_script.CELLS.values()
    ]
    for name in re.findall(r'src="(.*?)"', written):
        assert (notebook_script.PAGE.parent / name).is_file()


@pytest.mark.slow
def test_cells_show_tables_and_pictures(notebook_script, tmp_path):
    quick = {"max_steps": 2, "batch_size": 4}
    cells = notebook_script.session(*folder_and_encoder(tmp_path), quick=quick)
    text, pictures = notebook_script.page(cells)
    shown = {cell.name: cell for cell in cells}
    assert "<table>" in shown["run"].shown
    assert "share of words" in shown["plugin"].shown
    assert pictures
    assert "data:image" not in text
    assert str(tmp_path) not in text
