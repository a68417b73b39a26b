"""The task-container config that trains a selection, and the caches it needs."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path

import numpy as np

from gradts_plugin.errors import DataError
from gradts_plugin.hosts.jiant.caches import hash_cache, open_cache
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.container import (
    ContainerConfig,
    restrict_sampler_config,
    specified_sampler,
)
from gradts_plugin.hosts.jiant.saving import refusals_told
from gradts_plugin.records import IntArray, KeptInstances, Selection
from gradts_plugin.stores.checksums import made_from, publish_made
from gradts_plugin.stores.files import folder_in_the_making

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.shared import caching


def rewrite_container_config(
    config: ContainerConfig,
    selection: Selection,
    output_dir: Path,
) -> ContainerConfig:
    """jiant's container config that trains exactly the selection; everything else untouched.

    Args:
        config: the original config; it is not changed.
        selection: what to train.
        output_dir: where filtered caches are written.

    Returns:
        A config that plain jiant accepts.
    """
    rewritten = with_filtered_caches(config, selection.kept_instances, output_dir / "subsets")
    # In the order in which trials train them: the sampler draws places in this list.
    names = [name for name in config["task_config_path_dict"] if name in selection.auxiliary_tasks]
    train_tasks = [selection.primary_task, *names]
    run_lists = rewritten["task_run_config"]
    run_lists["train_task_list"] = train_tasks
    run_lists["train_val_task_list"] = [selection.primary_task]
    # Heads of others would be random, and trained weights of a trial have none of them.
    for key in ("val_task_list", "test_task_list"):
        run_lists[key] = [name for name in run_lists[key] if name in train_tasks]
    heads = rewritten["taskmodels_config"]["task_to_taskmodel_map"]
    rewritten["taskmodels_config"]["task_to_taskmodel_map"] = {
        name: head for name, head in heads.items() if name in train_tasks
    }
    if selection.mixing_ratios:
        rewritten["sampler_config"] = specified_sampler(selection.mixing_ratios)
    else:
        rewritten["sampler_config"] = restrict_sampler_config(config["sampler_config"], train_tasks)
    return rewritten


def with_filtered_caches(
    config: ContainerConfig, kept: KeptInstances, folder: Path
) -> ContainerConfig:
    """Writes training caches that hold only some instances, in jiant's format (GradTS-fg).

    Args:
        config: jiant's task-container config; it is not changed.
        kept: task name -> example ids, int64 (kept,).
        folder: where the caches go; one that is already there, for the same ids, is used.

    Returns:
        A new config that points to them, so that sampler proportions follow.
    """
    rewritten = copy.deepcopy(config)
    for name, ids in kept.items():
        source = config["task_cache_config_dict"][name]["train"]
        digest = hashlib.sha256(np.sort(ids).astype("<i8").tobytes())
        digest.update(hash_cache(source).encode())
        target = folder / f"{name}-{digest.hexdigest()[:16]}"
        if made_from(target) is None:
            _write_filtered_cache(name, Path(source), target, ids)
        rewritten["task_cache_config_dict"][name]["train"] = str(target)
    return rewritten


def _write_filtered_cache(name: str, source: Path, target: Path, ids: IntArray) -> None:
    cache = open_cache(name, "train", str(source))
    wanted = set(ids.tolist())
    rows = [row for row in cache.iter_all() if row["metadata"]["example_id"] in wanted]
    if len(rows) != len(wanted):
        raise DataError(
            f"task {name!r}: {len(wanted)} instances are to be kept, but only {len(rows)} of them "
            f"are in {source}"
        )
    with folder_in_the_making(target.parent) as partial, refusals_told(target.parent):
        caching.chunk_and_save(
            data=rows,
            chunk_size=cache.chunk_size,
            data_args=cache.data_args,
            output_dir=str(partial),
        )
        publish_made(partial, target, {"name": target.name})
