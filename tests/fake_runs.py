"""Whole runs on the fake host: scores are what a test says, probes take milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pluggy

from gradts_plugin.engine.engine import Engine
from gradts_plugin.opening import open_session
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.compare_file import CompareFile
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import ONE_OF_EACH
from gradts_plugin.testing.fake_opening import FakeHostPlugin

TASKS = ONE_OF_EACH


def settings_of(values: Mapping[str, Any] | None = None) -> GradTSSettings:
    """Settings for `goal`, with short trainings and few draws."""
    given = {
        "primary_task": "goal",
        "training": {"max_steps": 4},
        "fine_tuning": {"max_steps": 2},
        "ranking": {"bootstrap": 100},
        **(values or {}),
    }
    return parse_settings(GradTSSettings, given, where="test")


def open_fake(
    folder: Path,
    values: Mapping[str, Any] | None = None,
    *,
    host: FakeHost | None = None,
    plugins: Sequence[object] = (),
) -> Engine:
    """Opens a run on a fake host; its output folder is `folder`."""
    return open_session(
        host or FakeHost(TASKS),
        settings_of(values),
        make_plugin_manager(plugins, entry_points=False),
        output_dir=folder,
    )


def fake_file(folder: Path, **changes: Any) -> dict[str, Any]:
    """What a run file and a compare file over all fake tasks have in common.

    The length is that of all tasks together, so that the primary alone is one training.
    """
    return {
        "host": "fake",
        "model": {"name_or_path": "fake"},
        "tasks": [task.name for task in TASKS],
        "output_dir": folder / "out",
        "training": {"max_steps": 4, "exposure": "total"},
        "fine_tuning": {"max_steps": 2},
        "ranking": {"bootstrap": 100},
        **changes,
    }


def compare_file(folder: Path, **changes: Any) -> CompareFile:
    """A compare file over all fake tasks."""
    return parse_settings(CompareFile, fake_file(folder, **changes), where="test")


def fake_manager(
    host: FakeHost | None = None, plugins: Sequence[object] = ()
) -> pluggy.PluginManager:
    """Plugins that open `host: fake`."""
    opener = FakeHostPlugin(host or FakeHost(TASKS))
    return make_plugin_manager([opener, *plugins], entry_points=False)
