"""The task-container config a selection starts from: as it was before an earlier selection."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

from gradts_plugin.errors import ConfigError
from gradts_plugin.hosts.jiant.container import ContainerConfig
from gradts_plugin.json_forms import JsonValue
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.checksums import check_sum


def read_container_config(path: Path) -> tuple[ContainerConfig, dict[str, JsonValue]]:
    """Reads a jiant task-container config and takes its `gradts` block out.

    A config that a selection wrote holds a record of what it changed; the original is restored
    first, so that selecting twice equals selecting once.

    Returns:
        The container config as it was before any selection, and the block's settings.

    Raises:
        ConfigError: the file is missing or broken.
    """
    values = read_json(path)
    check_sum(path, "select again")
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}: expected a task-container config, found {type(values).__name__}"
        )
    config = copy.deepcopy(values)
    block = config.pop("gradts", {})
    if not isinstance(block, dict):
        raise ConfigError(f"{path}: gradts: expected a mapping, found {type(block).__name__}")
    record = block.pop("selection", None)
    if record is not None:
        try:
            original = record["original"]
            config["task_run_config"] = {**config["task_run_config"], **original["task_run_config"]}
            config["sampler_config"] = original["sampler_config"]
            config["global_train_config"] = original["global_train_config"]
            # An earlier version's record has none, for nothing of it was changed.
            for key in ("task_specific_configs_dict", "taskmodels_config"):
                config[key] = original.get(key, config[key])
            for name, folder in original["train_caches"].items():
                config["task_cache_config_dict"][name]["train"] = folder
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{path}: gradts.selection is damaged ({error}): the original config cannot be "
                "restored; select on the config it was made from"
            ) from error
    return config, block


def require_other_file(source: Path, target: Path) -> None:
    """Refuses to write the rewritten config over the config it is made from.

    Raises:
        ConfigError: they are the same file.
    """
    if source.resolve() == target.resolve():
        raise ConfigError(
            f"the new config would replace the input config {source}, which is never changed; "
            "choose another --output_config_path or --output_dir"
        )


def original_parts(config: ContainerConfig, subset_tasks: Sequence[str]) -> ContainerConfig:
    """What `read_container_config` restores of a config that a selection was written into.

    Args:
        config: the config before the selection.
        subset_tasks: tasks whose training caches are replaced.
    """
    return {
        "task_run_config": config["task_run_config"],
        "sampler_config": config["sampler_config"],
        "global_train_config": config["global_train_config"],
        "task_specific_configs_dict": config["task_specific_configs_dict"],
        "taskmodels_config": config["taskmodels_config"],
        "train_caches": {
            name: config["task_cache_config_dict"][name]["train"] for name in subset_tasks
        },
    }
