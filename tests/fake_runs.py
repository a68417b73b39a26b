"""Whole runs on the fake host: scores are what a test says, probes take milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradts_plugin.engine.engine import Engine
from gradts_plugin.opening import open_session
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

#: The primary, two candidates that are like it, and two that are not; of different sizes.
TASKS = (
    FakeTask("primary", num_train=12),
    FakeTask("near", num_train=16, topic="primary"),
    FakeTask("far", num_train=24),
    FakeTask("tags", "tagging", num_train=10),
    FakeTask("degree", "regression", num_train=8),
)


def settings_of(values: Mapping[str, Any] | None = None) -> GradTSSettings:
    """Settings for the primary, with short trainings and few draws."""
    given = {
        "primary_task": "primary",
        "training": {"epochs": 1},
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
