"""How often jiant's samplers train each task."""

from __future__ import annotations

from collections.abc import Mapping

from gradts_plugin.hosts.jiant.container import ContainerConfig
from gradts_plugin.records import TaskShares


def shares_of(config: ContainerConfig, num_train: Mapping[str, int]) -> TaskShares | None:
    """The expected shares of the steps in a container config.

    Args:
        config: with a sampler and a list of the tasks to train.
        num_train: task -> training instances.

    Returns:
        None where the config lacks something that its sampler needs.
    """
    try:
        sampler = config["sampler_config"]
        kind = str(sampler["sampler_type"])
        names = config["task_run_config"]["train_task_list"]
        weights = _exact_steps(config) or _weights(
            kind, sampler, {name: num_train[name] for name in names}
        )
    except (KeyError, TypeError):
        return None
    if weights is None:
        return TaskShares(kind, dict.fromkeys(names))
    total = sum(weights.values())
    return TaskShares(kind, {name: weight / total for name, weight in weights.items()})


def _exact_steps(config: ContainerConfig) -> Mapping[str, int] | None:
    """The steps of each task as the recipe of a rewritten config counts them."""
    selection = (config.get("gradts") or {}).get("selection", {})
    steps: Mapping[str, int] | None = selection.get("recipe", {}).get("task_steps")
    return steps


def _weights(
    kind: str, sampler: ContainerConfig, sizes: Mapping[str, int]
) -> dict[str, float] | None:
    """None where they change while training runs."""
    if kind == "UniformMultiTaskSampler":
        return dict.fromkeys(sizes, 1.0)
    if kind == "ProportionalMultiTaskSampler":
        return dict(sizes)
    if kind == "SpecifiedProbMultiTaskSampler":
        return {name: sampler["task_to_unweighted_probs"][name] for name in sizes}
    if kind == "TemperatureMultiTaskSampler":
        cap = sampler["examples_cap"] or max(sizes.values())
        return {
            name: min(size, cap) ** (1 / sampler["temperature"]) for name, size in sizes.items()
        }
    return None
