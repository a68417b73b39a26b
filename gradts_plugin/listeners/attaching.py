"""Lets the logs of a run listen."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pluggy

from gradts_plugin.errors import ConfigError
from gradts_plugin.listeners.jsonlines import LOG_FILE, JsonLinesLog
from gradts_plugin.listeners.tensorboard import TensorBoardLog
from gradts_plugin.settings.selection import GradTSSettings

#: The folder of TensorBoard's event files in the run folder.
TENSORBOARD_FOLDER = "tensorboard"


def check_logs(settings: GradTSSettings) -> None:
    """Checks, before anything runs, that the logs that are asked for can be written.

    Raises:
        ConfigError: TensorBoard files are asked for, and the package is missing.
    """
    if settings.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "tensorboard: true needs the package tensorboard; type: pip install tensorboard"
        )


def attach_logs(manager: pluggy.PluginManager, settings: GradTSSettings, output_dir: Path) -> None:
    """Lets the logs of this run listen, in place of those of an earlier run in this process."""
    log: Any = manager.get_plugin("gradts-log")
    if log is not None and log.path == output_dir / LOG_FILE:
        return
    if log is not None:
        manager.unregister(log)
    earlier: Any = manager.get_plugin("gradts-tensorboard")
    if earlier is not None:
        manager.unregister(earlier)
        earlier.close()
    manager.register(JsonLinesLog(output_dir / LOG_FILE, settings), name="gradts-log")
    if settings.tensorboard:
        board = TensorBoardLog(output_dir / TENSORBOARD_FOLDER)
        manager.register(board, name="gradts-tensorboard")
