"""jiant's caches of tokenised rows: opened, filtered and fingerprinted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from gradts_plugin.errors import DataError, GradTSError, HostError
from gradts_plugin.hosts.jiant.compat import apply_mends

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
