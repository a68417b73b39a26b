"""What is installed, what is too old, whether the host is usable, and what to type to mend it.

`diagnose` finds out, `render` draws. The requirements are read from this package's own metadata,
so that there is one list of them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from gradts_plugin.errors import HostError

__all__ = ["Check", "Diagnosis", "diagnose", "render"]

Status = Literal["ok", "missing", "too old", "wrong version", "broken", "not installed"]

_PACKAGE = "gradts-plugin"
_HOST_VERSION = "2.2.0"
_HOST_MODULES = ("jiant.proj.main.runscript", "jiant.proj.main.tokenize_and_cache")

#: Optional packages that are worth a row: name -> what they are for.
_OPTIONAL = {
    "sentencepiece": "sentencepiece tokenizers",
    "protobuf": "sentencepiece tokenizers",
    "matplotlib": "figures and report",
    "jinja2": "report",
    "tensorboard": "event files",
}


@dataclass(frozen=True)
class Check:
    """One component.

    Attributes:
        component: its name.
        found: the installed version, or what was found out; empty where there is nothing.
        needed: the version that is needed, or what it is for.
        status: "not installed" is for optional components only, and is no fault.
        remedy: what to type; empty where nothing is wrong.
    """

    component: str
    found: str
    needed: str
    status: Status
    remedy: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All components, in the order in which they should be mended."""

    checks: tuple[Check, ...]

    @property
    def usable(self) -> bool:
        """Whether a run can start: nothing but optional components is amiss."""
        return all(check.status in {"ok", "not installed"} for check in self.checks)


def diagnose() -> Diagnosis:
    """Looks at the Python environment this runs in. Imports the host to see whether it works."""
    checks = [_python(), *_requirements(), _host()]
    checks.append(_host_import(usable=checks[-1].status == "ok"))
    checks.append(_cuda())
    return Diagnosis(tuple(checks))


def render(diagnosis: Diagnosis) -> Group:
    """The diagnosis as a table, and below it what to type; to be printed with `crop=False`."""
    table = Table("component", "found", "needed", "status", title="gradts-select")
    for check in diagnosis.checks:
        colour = {"ok": "green", "not installed": "yellow"}.get(check.status, "red")
        status = f"[{colour}]{check.status}[/{colour}]"
        table.add_row(check.component, check.found, check.needed, status)
    # Below the table, where a narrow terminal does not cut a command; once, and as it is: square
    # brackets in it are an extra's name, not a style.
    remedies = dict.fromkeys(check.remedy for check in diagnosis.checks if check.remedy)
    lines = [Text("What to type:")] if remedies else []
    lines += [Text(f"  {remedy}", overflow="ignore", no_wrap=True) for remedy in remedies]
    return Group(table, *lines)


# --- versions ---------------------------------------------------------------------------------


def _numbers(version: str) -> tuple[int, ...]:
    """(2, 13, 0) for "2.13.0+cpu"; pre-releases count as the release."""
    release = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in release.group().split(".")) if release else ()


def _at_least(found: str, minimum: str) -> bool:
    left, right = _numbers(found), _numbers(minimum)
    length = max(len(left), len(right))
    return left + (0,) * (length - len(left)) >= right + (0,) * (length - len(right))


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _managed_by_uv() -> bool:
    """Whether uv started this process or made its virtual environment."""
    settings = Path(sys.prefix) / "pyvenv.cfg"
    made_by_uv = settings.is_file() and re.search(r"^uv\s*=", settings.read_text(), re.MULTILINE)
    return "UV" in os.environ or bool(made_by_uv)


def _remedy(pip_arguments: str) -> str:
    return "uv sync" if _managed_by_uv() else f"pip install {pip_arguments}"


# --- one row each -----------------------------------------------------------------------------


def _python() -> Check:
    found = platform.python_version()
    metadata = importlib.metadata.metadata(_PACKAGE)
    minimum = metadata["Requires-Python"].removeprefix(">=")
    if _at_least(found, minimum):
        return Check("python", found, f">={minimum}", "ok")
    return Check("python", found, f">={minimum}", "too old", f"install Python {minimum} or newer")


def _requirements() -> Iterator[Check]:
    seen = set()  # an extra that contains another one names its packages again
    for requirement in importlib.metadata.requires(_PACKAGE) or ():
        match = re.match(r"([\w.-]+)>=([\d.]+)(?:;\s*(.+))?$", requirement.replace(" ", ""))
        if match is None or match.group(1) in seen:
            continue
        name, minimum, marker = match.groups()
        seen.add(name)
        if marker is None:
            yield _package(name, minimum, purpose="")
        elif name in _OPTIONAL:
            yield _package(name, minimum, purpose=_OPTIONAL[name])


def _package(name: str, minimum: str, *, purpose: str) -> Check:
    found = _installed(name)
    needed = f">={minimum}" + (f" (optional: {purpose})" if purpose else "")
    if found and _at_least(found, minimum):
        return Check(name, found, needed, "ok")
    remedy = _remedy(f"'{name}>={minimum}'")
    if found:
        return Check(name, found, needed, "too old", remedy)
    return Check(name, "", needed, "not installed" if purpose else "missing", remedy)


def _host() -> Check:
    found = _installed("jiant")
    needed = f"=={_HOST_VERSION}"
    if found == _HOST_VERSION:
        return Check("jiant", found, needed, "ok")
    # Without its dependencies: jiant pins versions of 2020, which no longer install.
    remedy = _remedy(f"--no-deps jiant=={_HOST_VERSION}")
    return Check("jiant", found, needed, "wrong version" if found else "missing", remedy)


def _host_import(*, usable: bool) -> Check:
    component, needed = "jiant, mended", "imports"
    if not usable:
        return Check(component, "not tried", needed, "broken", "install jiant first")
    try:
        compat = importlib.import_module("gradts_plugin.hosts.jiant.compat")
        mends = compat.apply_mends()
        for name in _HOST_MODULES:
            importlib.import_module(name)
    except HostError as error:
        return Check(component, str(error), needed, "broken", "the rows above")
    except Exception as error:  # whatever it is, it is the answer
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        return Check(component, found, needed, "broken", _remedy("--upgrade transformers"))
    return Check(component, f"{len(mends)} mends applied", needed, "ok")


def _cuda() -> Check:
    needed = "optional: a GPU is used where there is one"
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return Check("CUDA", "", needed, "not installed")
    if not torch.cuda.is_available():
        return Check("CUDA", "none, runs on the CPU", needed, "ok")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("CUDA", ", ".join(names), needed, "ok")
