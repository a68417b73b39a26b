"""An existing jiant set-up as options: what `probe`, `rank` and `select` start from."""

from __future__ import annotations

import dataclasses
import functools
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gradts_plugin.commands import options
from gradts_plugin.errors import ConfigError
from gradts_plugin.hosts.jiant.arguments import HostArguments

if TYPE_CHECKING:
    import pluggy

    from gradts_plugin.engine.engine import Engine
    from gradts_plugin.protocols import HostConfig
    from gradts_plugin.settings.selection import GradTSSettings

_jiant = functools.partial(options.given, section="jiant's own arguments")
_own = functools.partial(
    options.given, section="the selection (over the config's gradts block)", default=None
)


@dataclass(frozen=True, kw_only=True)
class JiantSetup(options.Logged):
    """What the command line says of a jiant set-up, and of the selection."""

    jiant_task_container_config_path: Path = _jiant("the tasks, as jiant's own programs wrote it")
    hf_pretrained_model_name_or_path: str = _jiant("hub name or local folder")
    model_path: str = _jiant("weights that jiant exported")
    model_config_path: str | None = _jiant("their config.json, where jiant exported one", None)
    model_load_mode: str = _jiant("what the weights are a state of", "from_transformers")
    learning_rate: float = _jiant("peak, in every training", 1e-5)
    max_grad_norm: float = _jiant("gradients are clipped here", 1.0)
    no_cuda: bool = _jiant("stay on the CPU", False)
    output_dir: Path | None = _jiant("default: gradts/ beside the config", None)
    gradts_config: Path | None = _own("YAML file with the gradts block's keys")
    primary_task: str | None = _own("the task to help")
    candidate_tasks: str | None = _own("comma-separated; default: all others")
    method: str | None = _own("thres, trial, fg, top, alone, all, autosem-p1, autosem")
    seeds: int | None = _own("fine-tuning seeds per task")
    seed: int | None = _own("everything random derives from it")

    @property
    def folder(self) -> Path:
        """Where the command writes."""
        given = self.output_dir or self.jiant_task_container_config_path.parent / "gradts"
        return given.absolute()

    def open(self, manager: pluggy.PluginManager, *, looked_at_in: Path | None = None) -> Engine:
        """Opens the set-up; to be looked at only, in a temporary folder."""
        from gradts_plugin.hosts.jiant.original_config import read_container_config
        from gradts_plugin.listeners.attaching import NOT_LOGGED
        from gradts_plugin.settings.block import merge_settings

        path = self.jiant_task_container_config_path
        config, block = read_container_config(path)
        flags = {name: getattr(self, name) for name in ("primary_task", "method", "seeds", "seed")}
        flags["candidate_tasks"] = self.candidate_tasks and self.candidate_tasks.split(",")
        flags |= self.flags
        settings = merge_settings(block, self.gradts_config, flags, where=f"{path}: gradts")
        require_folder(self.folder)
        folder = looked_at_in or self.folder
        if looked_at_in is not None:
            store = settings.store or self.folder / "store"
            settings = settings.model_copy(update={"store": store, **NOT_LOGGED})
        names = [field.name for field in dataclasses.fields(HostArguments)]
        arguments = HostArguments(**{name: getattr(self, name) for name in names})
        return open_setup(config, arguments, settings, manager, folder)


def require_folder(path: Path) -> None:
    """Refuses a place to write that is a file, or in one.

    Raises:
        ConfigError: it is.
    """
    for place in (path, *path.parents):
        if place.is_file():
            raise ConfigError(f"output_dir {path}: {place} is a file")


def open_setup(
    config: HostConfig,
    arguments: HostArguments,
    settings: GradTSSettings,
    manager: pluggy.PluginManager,
    folder: Path,
) -> Engine:
    """Opens jiant on a task-container config, and a run on it that has a folder for itself."""
    from gradts_plugin import opening

    opening.check_names(manager, settings)
    from gradts_plugin.hosts.jiant.opening import open_given
    from gradts_plugin.stores.locks import FolderLock

    log = folder / "host.log"
    lock = FolderLock(folder)
    with lock.released_on_error():
        host = open_given(config, arguments, settings, manager.hook, work_dir=folder, log_file=log)
        return opening.open_session(host, settings, manager, output_dir=folder, lock=lock)


def same_arguments(name: str) -> str:
    """The command line that was given, for another command and in earnest."""
    given: tuple[str, ...] = click.get_current_context().find_root().obj
    lines = [f"gradts-select {name}"]
    for argument in given[1:]:
        if argument in ("--dry-run", "--no-measure"):
            continue
        if argument.startswith("--"):
            lines.append(argument)
        else:
            lines[-1] += f" {shlex.quote(argument)}"
    return " \\\n    ".join(lines)
