"""Lets the logs of a run listen."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pluggy

from gradts_plugin.errors import ConfigError
from gradts_plugin.listeners.jsonlines import LOG_FILE, JsonLinesLog
from gradts_plugin.listeners.mlflow import MLflowTracker
from gradts_plugin.listeners.tensorboard import TensorBoardLog
from gradts_plugin.listeners.tracking import TrackingLog
from gradts_plugin.listeners.wandb import WandbTracker
from gradts_plugin.settings.selection import GradTSSettings

#: The folder of TensorBoard's event files in the run folder.
TENSORBOARD_FOLDER = "tensorboard"

#: Setting, which is also the package's name -> what makes the log, given the run folder.
_OPTIONAL: Mapping[str, Callable[[Path, GradTSSettings], Any]] = {
    "tensorboard": lambda folder, _: TensorBoardLog(folder / TENSORBOARD_FOLDER),
    "mlflow": lambda folder, settings: TrackingLog(MLflowTracker(), folder, settings),
    "wandb": lambda folder, settings: TrackingLog(WandbTracker(folder), folder, settings),
}

#: Settings with which a run is only looked at.
NOT_LOGGED: Mapping[str, bool] = dict.fromkeys(_OPTIONAL, False)


def check_logs(settings: GradTSSettings) -> None:
    """Checks, before anything runs, that the logs that are asked for can be written.

    Raises:
        ConfigError: one is asked for, and its package is missing.
    """
    for name in _asked_for(settings):
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"{name}: true needs the package {name}; type: pip install {name}")


def attach_logs(manager: pluggy.PluginManager, settings: GradTSSettings, output_dir: Path) -> None:
    """Lets the logs of this run listen, in place of those of an earlier run in this process."""
    log: Any = manager.get_plugin("gradts-log")
    if log is not None and log.path == output_dir / LOG_FILE:
        return
    detach_logs(manager)
    manager.register(JsonLinesLog(output_dir / LOG_FILE, settings), name="gradts-log")
    for name in _asked_for(settings):
        manager.register(_OPTIONAL[name](output_dir, settings), name=f"gradts-{name}")


def detach_logs(manager: pluggy.PluginManager) -> None:
    """Closes the logs of a run."""
    for name in ("gradts-log", *(f"gradts-{name}" for name in _OPTIONAL)):
        log: Any = manager.get_plugin(name)
        if log is not None:
            manager.unregister(log)
            log.close()


def _asked_for(settings: GradTSSettings) -> list[str]:
    flags = settings.model_dump(include=set(_OPTIONAL))
    return [name for name in _OPTIONAL if flags[name]]
