"""jiant as a plugin: the hooks by which it is opened, learns of tasks, and is rewritten.

jiant is imported inside the hooks: most commands need none, and it takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.protocols import HostConfig, HostOpening
from gradts_plugin.records import Selection
from gradts_plugin.settings.run_file import RunFile


@hookimpl(trylast=True)
def open_host(run_file: RunFile, task_configs: Mapping[str, Path], hook: Any) -> HostOpening | None:
    """Opens run files that say `host: jiant`, the default."""
    if run_file.host != "jiant":
        return None
    from gradts_plugin.hosts.jiant.opening import JiantOpening

    return JiantOpening(run_file, task_configs, hook)


@hookimpl(trylast=True)
def load_task(config: JsonObject, base_path: Path) -> Any | None:
    """Loads task configs that name a `kind`; the others are jiant's own."""
    if "kind" not in config:
        return None
    from gradts_plugin.hosts.jiant.tasks.custom import create_task

    return create_task(config, base_path)


@hookimpl(trylast=True)
def rewrite_config(config: HostConfig, selection: Selection, output_dir: Path) -> HostConfig | None:
    """Rewrites jiant's task-container config."""
    from gradts_plugin.hosts.jiant.rewriting import rewrite_container_config

    return rewrite_container_config(config, selection, output_dir)
