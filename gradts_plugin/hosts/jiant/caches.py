"""jiant's caches of tokenised rows: opened, filtered and fingerprinted."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gradts_plugin.errors import DataError, GradTSError, HostError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.records import IntArray, KeptInstances

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.shared import caching


def open_cache(name: str, phase: str, folder: str) -> Any:
    """jiant's cache of a task's tokenised rows.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return caching.ChunkedFilesDataCache(folder)
    except GradTSError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"task {name!r}: no {phase} cache at {folder}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(
            f"task {name!r}: the {phase} cache at {folder} is damaged: {error}"
        ) from error


def with_filtered_caches(
    config: Mapping[str, Any], kept: KeptInstances, folder: Path
) -> dict[str, Any]:
    """Writes training caches that hold only some instances, in jiant's format (GradTS-fg).

    Args:
        config: jiant's task-container config; it is not changed.
        kept: task name -> example ids, int64 (kept,).
        folder: where the caches go; one that is already there, for the same ids, is used.

    Returns:
        A new config that points to them, so that sampler proportions follow.
    """
    rewritten = copy.deepcopy(dict(config))
    for name, ids in kept.items():
        source = config["task_cache_config_dict"][name]["train"]
        digest = hashlib.sha256(np.sort(ids).astype("<i8").tobytes())
        digest.update(hash_cache(source).encode())
        target = folder / f"{name}-{digest.hexdigest()[:16]}"
        if not (target / "data_args.p").exists():
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
    partial = target.with_name(target.name + ".partial")
    caching.chunk_and_save(
        data=rows, chunk_size=cache.chunk_size, data_args=cache.data_args, output_dir=str(partial)
    )
    partial.rename(target)


def hash_cache(*folders: str) -> str:
    """sha256 (hex) of the rows of one or more caches."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(Path(folder).glob("data_*.chunk")):
            _hash_file(path, digest)
    return digest.hexdigest()


def _hash_file(path: Path, digest: Any) -> None:
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except FileNotFoundError as error:
        raise HostError(f"{path}: no such file") from error
