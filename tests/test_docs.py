"""What the pages say is true: settings, commands, configs, snippets, and the example plugin."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel
from tiny_encoders import save_tiny_encoder
from tiny_runs import run_command, write_run_file

from gradts_plugin.commands import jiant_host, jiant_run, main
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import ModelSettings, RunFile
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.tasks.task_configs import parse_task_config

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "docs" / "example_plugin"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language):
    """Every fenced block of a language, with the page and line it is on."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text[: match.start()].count("\n") + 1
            where = f"{page.relative_to(ROOT)}:{line}"
            found.append(pytest.param(match[1], where, id=where))
    return found


# --- settings ---------------------------------------------------------------------------------


def documented(model):
    """The block of docs/settings.md that documents a settings class."""
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    match = re.search(
        rf"^<!-- reference: {model.__name__} -->\n```yaml\n(.*?)^```$",
        text,
        re.MULTILINE | re.DOTALL,
    )
    return yaml.safe_load(match[1])


def plain(value):
    return (
        value.model_dump(mode="json", exclude_unset=True) if isinstance(value, BaseModel) else value
    )


def assert_documents(values, model, fields):
    assert list(values) == list(fields)
    for name in fields:
        field = model.model_fields[name]
        if field.is_required():
            continue
        given, default = values[name], field.default
        if isinstance(default, BaseModel) and not default.model_fields_set and given:
            assert_documents(given, type(default), type(default).model_fields)
        else:
            assert given == plain(default), name


@pytest.mark.parametrize("model", [GradTSSettings, TrainingSettings])
def test_settings_page_has_every_key_with_its_default(model):
    assert_documents(documented(model), model, model.model_fields)


def test_settings_page_has_every_key_of_a_run_file():
    own = [name for name in RunFile.model_fields if name not in GradTSSettings.model_fields]
    values = documented(RunFile)
    order = ["host", "model", "tasks", "output_dir", "data_dir", "max_train_examples", "score_test"]
    assert sorted(order) == sorted(own)
    assert_documents(values, RunFile, order)
    model = ModelSettings
    assert list(values["model"]) == list(model.model_fields)
    assert values["model"]["max_seq_length"] == model.model_fields["max_seq_length"].default
    parse_settings(RunFile, {**values, "primary_task": "rte"}, where="settings.md")


def test_settings_page_has_every_key_of_a_compare_file():
    own = [name for name in CompareFile.model_fields if name not in RunFile.model_fields]
    values = documented(CompareFile)
    assert_documents(values, CompareFile, own)


# --- blocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "where"), blocks("yaml"))
def test_yaml_is_a_run_file_or_settings(text, where):
    values = yaml.safe_load(text)
    if set(values) == set(TrainingSettings.model_fields):
        model = TrainingSettings
    elif "primaries" in values and "model" not in values:
        values |= {"model": {"name_or_path": "m"}, "tasks": ["rte", "mrpc"], "output_dir": "o"}
        model = CompareFile
    elif "primaries" in values:
        model = CompareFile
    else:
        model = RunFile if "model" in values else GradTSSettings
    parse_settings(model, values, where=where)


@pytest.mark.parametrize(("text", "where"), blocks("json"))
def test_json_is_a_task_config_or_a_gradts_block(text, where):
    # A block may be shown without the braces around it.
    values = json.loads(text if text.lstrip().startswith("{") else f"{{{text}}}")
    if "gradts" in values:
        parse_settings(GradTSSettings, values["gradts"], where=where)
    else:
        parse_task_config(values, where=where)


@pytest.mark.parametrize(("text", "where"), blocks("python"))
def test_python_compiles_and_imports_what_exists(text, where):
    for node in ast.walk(ast.parse(text, where)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{where}: {node.module}.{name.name}"


# --- commands ---------------------------------------------------------------------------------


def commands():
    """Every `gradts-select` command line of the pages, as arguments."""
    found = []
    for block in blocks("console"):
        text, where = block.values
        for line in re.findall(r"^\$ ((?:.*\\\n)*.*)$", text, re.MULTILINE):
            words = shlex.split(line.replace("\\\n", " "), comments=True)
            for start, word in enumerate(words):
                if word == "gradts-select":
                    end = words.index("&&", start) if "&&" in words[start:] else None
                    found.append(pytest.param(words[start + 1 : end], id=f"{where}: {line[:60]}"))
    return found


@pytest.mark.parametrize("arguments", commands())
def test_command_lines_are_understood(arguments, monkeypatch, tmp_path):
    from gradts_plugin.hosts.jiant import runs

    # Nothing is started: each command is stopped where its arguments are understood.
    reached = []
    for module, _ in main.COMMANDS.values():
        command = importlib.import_module(f"gradts_plugin.commands.{module}").command
        monkeypatch.setattr(command, "callback", lambda **given: reached.append(given) or 0)
    monkeypatch.setattr(
        jiant_run.command,
        "callback",
        lambda arguments: reached.append(_understood(runs, arguments)) or 0,
    )
    monkeypatch.setattr(
        jiant_host.command,
        "callback",
        lambda arguments: reached.append(importlib.util.find_spec(arguments[1]).name) or 0,
    )
    code = main.run(arguments)
    assert code == 0
    assert reached or "--version" in arguments or "--help" in arguments


def _understood(runs, given):
    """Reads jiant's arguments as `gradts-select run` does."""
    mode, rest, _ = runs.split_arguments(given)
    if mode == "continue":
        runs._parse(runs.runscript.ResumeConfiguration, rest)
    else:
        runs.parse_run_arguments(rest)
    return mode


# --- generated pages --------------------------------------------------------------------------


def test_reference_pages_are_what_the_generator_gives():
    spec = importlib.util.spec_from_file_location("ref", ROOT / "docs" / "make_reference.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for page, text in reference.pages().items():
        written = page.read_text(encoding="utf-8")
        assert written == text, "run: python docs/make_reference.py"


# --- links and words --------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def anchors(page):
    """What GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- the example plugin -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which the example plugin was built and installed."""
    pytest.importorskip("setuptools", minversion="77", reason="the example's build backend")
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")
    build = "import setuptools.build_meta as b; b.build_wheel('../wheels')"
    (folder / "wheels").mkdir()
    subprocess.run([sys.executable, "-c", build], cwd=source, check=True, capture_output=True)
    (wheel,) = (folder / "wheels").glob("*.whl")
    # All that installing a wheel of plain Python is: unpacking it where modules are found.
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def run_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_tiny_encoder("bert", folder / "encoder")
    return write_run_file(
        folder,
        folder / "encoder",
        ("topic", "match", "words"),
        method="top-k",
        trial={"max_auxiliaries": 1},
        ranking={"correlation": "spearman", "bootstrap": 100},
    )


def test_without_the_example_its_names_are_unknown(run_file):
    answer = run_command("run", run_file, "--quiet")
    assert answer.code == 2
    assert "unknown value 'spearman'" in answer.err
    assert not (run_file.parent / "out").exists()


@pytest.fixture(scope="module")
def outcome(run_file, site):
    """What the command prints in a process that finds the example installed."""
    code = "from gradts_plugin.commands.main import main; main()"
    answer = subprocess.run(
        [sys.executable, "-c", code, "run", str(run_file), "--json", "--quiet"],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_a_selection_runs_with_the_installed_example(outcome):
    selection = outcome["selection"]
    assert selection["method"] == "top-k"
    best = outcome["ranking"]["candidates"][0]["task"]
    assert [trial["auxiliary_tasks"] for trial in selection["trials"]] == [[], [best]]
    rewritten = json.loads(Path(outcome["config_path"]).read_text(encoding="utf-8"))
    assert rewritten["task_run_config"]["train_task_list"] == [
        "topic",
        *selection["auxiliary_tasks"],
    ]


def test_the_python_snippet_of_the_usage_page_runs(outcome, run_file, site, monkeypatch):
    ((snippet, where),) = (
        block.values for block in blocks("python") if block.id.startswith("docs/usage.md")
    )
    monkeypatch.syspath_prepend(site)  # installed here, too
    monkeypatch.chdir(run_file.parent)
    names = {}
    exec(compile(snippet, where, "exec"), names)
    assert names["outcome"].counters.training_steps == 0  # all is stored
    assert "<svg" in Path("taus.svg").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("gradts_example", EXAMPLE / "gradts_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_spearman_of_the_example_is_scipys(example):
    import numpy as np
    from scipy.stats import spearmanr

    stream = np.random.default_rng(0)
    reference, others = stream.integers(5, size=12), stream.integers(5, size=(6, 12))
    expected = [spearmanr(reference, other).statistic for other in others]
    np.testing.assert_allclose(example.spearman(reference, others), expected, atol=1e-12)


def test_spearman_of_a_constant_is_zero(example):
    import numpy as np

    assert example.spearman(np.arange(4.0), np.ones((2, 4))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("together", "selected"), [(0.6, ("a",)), (0.5, ("a",)), (0.4, ())])
def test_top_k_falls_back_to_the_primary_alone(example, together, selected):
    from types import SimpleNamespace

    from gradts_plugin.records import Trial

    def score(tasks):
        return Trial(tuple(tasks), (together if tasks else 0.5,), {}, 1, 0.0, False)

    context = SimpleNamespace(
        primary_task="p",
        ranking=SimpleNamespace(task_order=("a", "b", "c")),
        settings=SimpleNamespace(trial=SimpleNamespace(max_auxiliaries=1)),
        score=score,
    )
    selection = example.select_top_k(context)
    assert selection.auxiliary_tasks == selected
    assert [trial.auxiliary_tasks for trial in selection.trials] == [(), ("a",)]
