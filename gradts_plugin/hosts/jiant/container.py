"""jiant's task-container config: checked, and narrowed to some tasks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradts_plugin.errors import ConfigError, nearest

#: jiant's task-container config, or a block of it: jiant's own format, JSON values that jiant alone
#: defines. One that was given is never changed.
ContainerConfig = dict[str, Any]

#: Top-level keys that jiant's task-container config must have.
CONTAINER_KEYS = (
    "task_config_path_dict",
    "task_cache_config_dict",
    "sampler_config",
    "global_train_config",
    "task_specific_configs_dict",
    "taskmodels_config",
    "task_run_config",
    "metric_aggregator_config",
)

#: What this plugin reads below some of them.
_NEEDED_BELOW: Mapping[str, tuple[str, ...]] = {
    "sampler_config": ("sampler_type",),
    "global_train_config": ("max_steps", "warmup_steps"),
    "taskmodels_config": ("task_to_taskmodel_map",),
    "task_run_config": ("train_task_list",),
}


def check_container_config(config: ContainerConfig, where: str = "task-container config") -> None:
    """Checks what jiant itself would only trip over later.

    Raises:
        ConfigError: a key or a task's entry is missing.
    """
    _check_keys(config, where)
    names = list(config["task_config_path_dict"])
    for key in ("task_cache_config_dict", "task_specific_configs_dict"):
        for name in names:
            if name not in config[key]:
                raise ConfigError(f"{where}: {key} has no entry for task {name!r}")
            if not isinstance(config[key][name], Mapping):
                raise ConfigError(f"{where}: {key}.{name}: a JSON object is needed")
    train_tasks = config["task_run_config"]["train_task_list"]
    for name in train_tasks:
        if train_tasks.count(name) > 1:
            raise ConfigError(f"{where}: train_task_list names task {name!r} twice")
        if name not in names:
            raise ConfigError(
                f"{where}: train_task_list names unknown task {name!r}; {nearest(name, names)}"
            )
        if name not in config["taskmodels_config"]["task_to_taskmodel_map"]:
            raise ConfigError(f"{where}: task_to_taskmodel_map has no entry for task {name!r}")
    for name, path in config["task_config_path_dict"].items():
        if not Path(path).is_file():
            raise ConfigError(f"{where}: task {name!r}: {path}: no such file")


def _check_keys(config: ContainerConfig, where: str) -> None:
    for key in CONTAINER_KEYS:
        if key not in config:
            raise ConfigError(f"{where}: key {key!r} is missing")
        if not isinstance(config[key], Mapping):
            raise ConfigError(f"{where}: {key}: a JSON object is needed, found {config[key]!r:.60}")
    for place, keys in _NEEDED_BELOW.items():
        for key in keys:
            if key not in config[place]:
                raise ConfigError(f"{where}: key '{place}.{key}' is missing")


def restrict_container_config(
    container_config: ContainerConfig,
    *,
    train_tasks: Sequence[str],
    scored_tasks: Sequence[str],
) -> ContainerConfig:
    """Narrows a task-container config to some tasks.

    Args:
        container_config: jiant's config; it is not changed.
        train_tasks: tasks to train on.
        scored_tasks: tasks whose dev set is scored.

    Returns:
        A new config in which only these tasks have a head, a sampler entry and a place in the
        run lists.
    """
    config = copy.deepcopy(container_config)
    known = list(dict.fromkeys([*train_tasks, *scored_tasks]))
    heads = config["taskmodels_config"]["task_to_taskmodel_map"]
    config["taskmodels_config"]["task_to_taskmodel_map"] = {name: heads[name] for name in known}
    config["task_run_config"] = {
        "train_task_list": list(train_tasks),
        "train_val_task_list": list(scored_tasks),
        "val_task_list": list(scored_tasks),
        "test_task_list": [],
    }
    for key in ("task_config_path_dict", "task_cache_config_dict", "task_specific_configs_dict"):
        config[key] = {name: config[key][name] for name in known}
    config["sampler_config"] = restrict_sampler_config(config["sampler_config"], train_tasks)
    config["metric_aggregator_config"] = {"metric_aggregator_type": "EqualMetricAggregator"}
    return config


def restrict_sampler_config(
    sampler_config: ContainerConfig, train_tasks: Sequence[str]
) -> ContainerConfig:
    """Narrows a sampler config to the tasks that are trained; jiant demands equal keys.

    Raises:
        ConfigError: a task has no probability.
    """
    restricted = copy.deepcopy(sampler_config)
    for key in ("task_to_unweighted_probs", "task_to_unnormalized_prob_funcs_dict"):
        if key in restricted:
            for name in train_tasks:
                if name not in restricted[key]:
                    raise ConfigError(
                        f"sampler_config.{key} has no entry for task {name!r}; "
                        f"{nearest(name, restricted[key])}"
                    )
            restricted[key] = {name: restricted[key][name] for name in train_tasks}
    return restricted


def specified_sampler(mixing_ratios: Mapping[str, int]) -> ContainerConfig:
    """jiant's sampler config that trains each task as often as its ratio says."""
    return {
        "sampler_type": "SpecifiedProbMultiTaskSampler",
        "task_to_unweighted_probs": dict(mixing_ratios),
    }
