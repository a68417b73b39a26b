"""jiant's task-container config: checked, and narrowed to some tasks."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.hosts.jiant.container_schema import Container
from gradts_plugin.settings.parsing import parse_settings

#: jiant's task-container config, or a block of it: jiant's own format, JSON values that jiant alone
#: defines. One that was given is never changed.
ContainerConfig = dict[str, Any]


def check_container_config(config: ContainerConfig, where: str = "task-container config") -> None:
    """Checks what jiant itself would only trip over later.

    Raises:
        SettingsError: a line for each key that is missing, unknown or of a wrong value.
    """
    parse_settings(Container, config, where=where)


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


def steps_sampler(task_steps: Mapping[str, int], last_task: str) -> ContainerConfig:
    """jiant's sampler config that comes nearest to exact steps.

    Args:
        task_steps: task -> its optimiser steps.
        last_task: its steps come last; empty: mixed.
    """
    if not last_task:
        return specified_sampler(task_steps)
    num_steps = sum(task_steps.values())
    start = num_steps - task_steps[last_task]
    functions = {name: f"where(t < {start}, {steps}, 0)" for name, steps in task_steps.items()}
    functions[last_task] = f"where(t < {start}, 0, 1)"
    return {
        "sampler_type": "TimeDependentProbMultiTaskSampler",
        "task_to_unnormalized_prob_funcs_dict": functions,
        "max_steps": num_steps,
    }
