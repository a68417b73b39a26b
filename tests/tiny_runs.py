"""Run files over tiny tasks of every kind, and a plugin that writes down what it is told."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pluggy
import pytest
import yaml
from tiny_encoders import SENTENCES

from gradts_plugin import hookspecs, plugins
from gradts_plugin.commands import main
from gradts_plugin.plugins import make_plugin_manager

#: Task name -> its config without paths; one of each kind.
TASKS: Mapping[str, Mapping[str, Any]] = {
    "topic": {"kind": "single", "metric": "accuracy"},
    "match": {"kind": "pair", "metric": "mcc"},
    "degree": {"kind": "regression", "metric": "pearson", "fields": {"text_b": "text_b"}},
    "words": {"kind": "tagging", "metric": "macro_f1"},
    "ending": {"kind": "multiple_choice", "metric": "accuracy"},
}

#: One short training run: two steps of eight rows.
EQUAL_EXPOSURE = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-3}

#: The same with one length for all tasks together, so that the primary alone is one training.
TRAINING = {**EQUAL_EXPOSURE, "exposure": "total"}


def _row(kind: str, number: int) -> dict[str, Any]:
    stream = np.random.RandomState([number, len(kind)])
    first, second = (SENTENCES[index] for index in stream.randint(len(SENTENCES), size=2))
    words = first.split()[: 4 + number % 5]
    if kind == "tagging":
        return {"tokens": words, "labels": ["long" if len(word) > 4 else "short" for word in words]}
    label: Any = ("no", "yes")[number % 2]
    if kind == "regression":
        label = len(set(words) & set(second.split())) + number / 10
    if kind == "multiple_choice":
        label = number % 3
    row = {"text_a": " ".join(words), "label": label}
    if kind in ("pair", "regression"):
        row["text_b"] = second
    if kind == "multiple_choice":
        row["choices"] = [*second.split()[:2], second]
    return row


def write_task(
    folder: Path, name: str, /, *, like: str | None = None, num_train: int = 16, **changes: Any
) -> Path:
    """Writes a task's data and config, like one of `TASKS`; returns the config's path."""
    settings = dict(TASKS[like or name])
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for split, numbers in (("train", range(num_train)), ("val", range(100, 110))):
        paths[split] = f"{name}_{split}.jsonl"
        rows = [json.dumps(_row(settings["kind"], number)) + "\n" for number in numbers]
        (folder / paths[split]).write_text("".join(rows), encoding="utf-8")
    config = {"name": name, "paths": paths, **settings, **changes}
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def write_run_file(
    folder: Path, encoder: Path, tasks: Iterable[str] = TASKS, **changes: Any
) -> Path:
    """Writes tasks (unless they are there) and a run file over them; returns its path."""
    paths = []
    for name in tasks:
        path = folder / "tasks" / f"{name}.json"
        paths.append(str(path if path.exists() else write_task(folder / "tasks", name)))
    values = {
        "model": {"name_or_path": str(encoder), "max_seq_length": 24},
        "tasks": paths,
        "primary_task": "topic",
        "method": {"name": "thres", "threshold": {"quantile": 0.5}},
        "output_dir": "out",
        "fine_tuning": TRAINING,
        "training": TRAINING,
        "ranking": {"bootstrap": 100},
        **changes,
        # The published probe, which also trains; the frozen one has tests of its own.
        "probing": {"model": "fine-tuned", **changes.get("probing", {})},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


class Command:
    """What a command answered."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


def run_command(*arguments: object) -> Command:
    """Runs `gradts-select` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main.run([str(argument) for argument in arguments])
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else 0
    return Command(code, out.getvalue(), err.getvalue())


def files_below(folder: Path) -> dict[str, bytes]:
    """Relative path -> content of every file of a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class Recorder:
    """A plugin that writes down every call of every notifying hook: (hook, arguments)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def names(self) -> list[str]:
        """The hooks in the order of their calls."""
        return [name for name, _ in self.calls]

    def of(self, hook: str) -> list[dict[str, Any]]:
        """The arguments of each call of one hook."""
        return [arguments for name, arguments in self.calls if name == hook]


#: Hooks that only notify.
NOTIFYING = tuple(
    name for name in hookspecs.__all__ if name.startswith(("before_", "after_", "on_"))
)


def _recording(name: str) -> Any:
    # pluggy reads the argument names, so each hook needs a function with its own.
    spec = getattr(hookspecs, name)
    names = spec.__code__.co_varnames[: spec.__code__.co_argcount]
    space: dict[str, Any] = {}
    exec(  # the names come from our own specifications
        f"def {name}(self, {', '.join(names)}):\n"
        f"    self.calls.append(({name!r}, dict({', '.join(f'{n}={n}' for n in names)})))\n",
        space,
    )
    return hookspecs.hookimpl(space[name])


for _name in NOTIFYING:
    setattr(Recorder, _name, _recording(_name))


def with_plugins(monkeypatch: pytest.MonkeyPatch, *added: object) -> None:
    """The commands of this test also load these plugins, as if they were installed."""

    def make(given: Iterable[object] = (), **options: Any) -> pluggy.PluginManager:
        return make_plugin_manager([*given, *added], **options)

    monkeypatch.setattr(plugins, "make_plugin_manager", make)
