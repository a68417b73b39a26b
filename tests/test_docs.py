"""What the pages say is true: settings, commands, configs, snippets, and the example plugin."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from fake_runs import TASKS, fake_file
from pydantic import BaseModel
from tiny_runs import with_plugins

from gradts_plugin.commands import jiant_host, jiant_rank, jiant_run, main
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.run_file import ModelSettings, RunFile
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.tasks.task_configs import parse_task_config
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_opening import FakeHostPlugin

ROOT = Path(__file__).resolve().parents[1]
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
    order = ["host", "model", "tasks", "output_dir", "data_dir", "max_train_examples"]
    order += ["score_test", "executor"]
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
    monkeypatch.setattr(jiant_rank.command, "callback", lambda **given: reached.append(given) or 0)
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


# --- snippets ---------------------------------------------------------------------------------


def test_the_python_snippet_of_the_usage_page_runs(tmp_path, monkeypatch):
    ((snippet, where),) = (
        block.values for block in blocks("python") if block.id.startswith("docs/usage.md")
    )
    with_plugins(monkeypatch, FakeHostPlugin(FakeHost(TASKS)))
    values = fake_file(tmp_path, primary_task="goal", output_dir="out")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(snippet, where, "exec"), names)
    assert names["outcome"].done.training_steps > 0
    assert "<svg" in Path("taus.svg").read_text(encoding="utf-8")
