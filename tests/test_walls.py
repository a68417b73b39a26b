"""The contracts of the import linter, held against a copy of the package with planted faults."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")

ROOT = Path(__file__).resolve().parents[1]
WING = ("gradts_plugin", "hosts", "jiant")


@pytest.fixture
def tree(tmp_path):
    """A copy of the package's modules and of the contracts."""
    shutil.copytree(
        ROOT / "gradts_plugin",
        tmp_path / "gradts_plugin",
        ignore=lambda folder, names: [n for n in names if n == "__pycache__"],
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(tree):
    """The linter's exit code and what it says in one line."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    done = subprocess.run(
        [*command, "--no-cache"], cwd=tree, capture_output=True, text=True, check=False
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def plant(path, line):
    """A line at the end of a module, inside a function, where imports are easily missed."""
    path.write_text(path.read_text() + f"\n\ndef _planted() -> None:\n    {line}\n")


def test_the_package_keeps_its_walls(tree):
    code, said = lint(tree)
    assert code == 0, said
    assert "2 kept, 0 broken" in said


def test_jiant_imported_anywhere_outside_its_wing_is_an_error(tree):
    outside = [
        path.relative_to(tree)
        for path in (tree / "gradts_plugin").rglob("*.py")
        if path.relative_to(tree).parts[:3] != WING
    ]
    for path in outside:
        plant(tree / path, "import jiant.shared.caching")
    code, said = lint(tree)
    assert code == 1
    assert "only the jiant wing imports jiant BROKEN" in said
    modules = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in outside]
    assert not [module for module in modules if f"- {module} -> jiant" not in said]
    assert "gradts_plugin.hosts.jiant.host -> jiant" not in said


def test_a_module_or_folder_without_a_floor_is_an_error(tree):
    package = tree / "gradts_plugin"
    (package / "attic.py").write_text('"""Nobody said where this belongs."""\n')
    (package / "cellar").mkdir()
    (package / "cellar" / "__init__.py").write_text("")
    code, said = lint(tree)
    assert code == 1
    assert "imports run one way BROKEN" in said
    assert "gradts_plugin.attic" in said
    assert "gradts_plugin.cellar" in said


@pytest.mark.parametrize(
    ("lower", "upper"),
    [("errors.py", "records"), ("records.py", "plugins"), ("selection/trial.py", "api")],
)
def test_an_import_from_a_higher_floor_is_an_error(tree, lower, upper):
    plant(tree / "gradts_plugin" / lower, f"import gradts_plugin.{upper}")
    code, said = lint(tree)
    assert code == 1
    assert "imports run one way BROKEN" in said
