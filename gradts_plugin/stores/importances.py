"""The gradient store: raw head importances on disk, one folder per probed task and seed.

    <root>/store.json                         the store's format version
    <root>/rte-seed0-5f0c.../importances.arrow   Arrow IPC file: example_id int64,
                                              importance fixed_size_list<float32>[L * H]
    <root>/rte-seed0-5f0c.../metadata.json    fingerprint, shape, checksum and provenance

A record is named by the fingerprint of everything its numbers depend on, so a record is either
exactly what is asked for or it is not found; one that is damaged is an error and never used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gradts_plugin.errors import ConfigError, DegenerateImportanceError, StoreError
from gradts_plugin.json_forms import JsonObject, from_json, to_json
from gradts_plugin.protocols import ImportanceSource
from gradts_plugin.records import Cost, FloatArray, IntArray
from gradts_plugin.scores import Score
from gradts_plugin.stores.arrow import check_arrow, damaged, read_arrow, write_arrow
from gradts_plugin.stores.checksums import SEAL, is_sealed, sealed, sha256_of_file
from gradts_plugin.stores.files import (
    disk_errors,
    folder_in_the_making,
    is_there,
    publish_folder,
    remove_abandoned,
    write_json_atomic,
)
from gradts_plugin.stores.keys import FORMAT_VERSION, ProbeKey

FORMAT = "gradts gradient store"

_FORMAT = {"format": FORMAT, "format_version": FORMAT_VERSION}

_ARROW_NAME = "importances.arrow"

_METADATA_NAME = "metadata.json"

_MARKER_NAME = "store.json"


@dataclass(frozen=True)
class Preparation:
    """What a task took before it was probed.

    Attributes:
        score: its dev score after fine-tuning; None where it is undefined, or a head was fitted to
            the frozen encoder.
        cost: of fine-tuning or fitting.
    """

    score: Score
    cost: Cost


NO_PREPARATION = Preparation(None, Cost())


@dataclass(frozen=True)
class Metadata:
    """What stands beside the importances of a record.

    Attributes:
        digest: of the record's key.
        fingerprint: the key.
        num_instances: N.
        num_layers: L.
        num_heads: H.
        sha256: of the file of importances.
        seconds: of probing.
        preparation: what came before.
        provenance: versions and the like.
    """

    digest: str
    fingerprint: JsonObject
    num_instances: int
    num_layers: int
    num_heads: int
    sha256: str
    seconds: float
    preparation: Preparation
    provenance: JsonObject


_KEYS_OF_BEFORE = {"written_at", *_FORMAT, *Metadata.__dataclass_fields__}


@dataclass(frozen=True)
class StoredImportance:
    """A record of the store, an `ImportanceSource` that reads memory-mapped.

    Attributes:
        folder: where the record lies.
        seed: the fine-tuning seed.
        metadata: the content of its metadata.json.
    """

    folder: Path
    seed: int
    metadata: Metadata

    @property
    def shape(self) -> tuple[int, int, int]:
        """(num_instances, num_layers, num_heads)."""
        found = self.metadata
        return found.num_instances, found.num_layers, found.num_heads

    @property
    def cost(self) -> Cost:
        """What the probe took when it was made, the preparation included."""
        return self.metadata.preparation.cost + Cost(0, self.shape[0], self.metadata.seconds)

    @property
    def made_for(self) -> object:
        """The output folder of the run that made it, as seen from the store."""
        return self.metadata.provenance.get("made_for")

    def batches(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yields the instances in the order in which they were probed.

        Yields:
            (example_ids int64 of shape (b,), raw importances float32 of shape (b, L, H)):
            read-only views of the file.

        Raises:
            StoreError: the file went away or is damaged.
        """
        _, num_layers, num_heads = self.shape
        yield from read_arrow(self.folder / _ARROW_NAME, num_layers, num_heads)

    def task_matrix(self) -> FloatArray:
        """Task-level importance: the mean of the raw matrices over all instances.

        Returns:
            float64 array of shape (L, H).
        """
        return mean_importance(self)


class GradientStore:
    """Raw head importances on disk, found again by what they depend on.

    Attributes:
        root: the store's folder; made by the first write.
    """

    def __init__(self, root: Path) -> None:
        """Opens a store, which may not exist yet.

        Raises:
            StoreError: the folder is a store of another version, or a file.
        """
        self.root = root
        self._is_prepared = False
        if root.exists() and not root.is_dir():
            raise StoreError(f"the store {root} is a file; give a folder")
        marker = root / _MARKER_NAME
        if marker.exists():
            _check_version(_read_json(marker), root)

    def find(self, key: ProbeKey) -> StoredImportance | None:
        """Looks a record up and checks that it is whole.

        Args:
            key: what the importances depend on.

        Returns:
            The record, or None where there is none.

        Raises:
            StoreError: the record is damaged, of another version, or belongs to other settings.
            ConfigError: the task's name cannot be a folder name.
        """
        folder = self.root / key.folder_name
        if not is_there(folder):
            return None
        metadata = _read_metadata(folder)
        if metadata.fingerprint != key.fingerprint or metadata.digest != key.digest:
            raise StoreError(
                f"the record {folder} belongs to other settings"
                f"{_first_difference(metadata.fingerprint, key.fingerprint)}; "
                "remove this folder and the task is probed again"
            )
        path = folder / _ARROW_NAME
        with disk_errors("read", path):
            checksum = sha256_of_file(path)
        if checksum != metadata.sha256:
            raise StoreError(
                f"the record {folder} is damaged: {_ARROW_NAME} does not match its checksum; "
                "remove this folder and the task is probed again"
            )
        record = StoredImportance(folder, key.seed, metadata)
        check_arrow(path, record.shape)
        return record

    def write(
        self,
        key: ProbeKey,
        batches: Iterable[tuple[IntArray, FloatArray]],
        provenance: JsonObject,
        preparation: Preparation = NO_PREPARATION,
    ) -> StoredImportance:
        """Streams the importances of one task to disk.

        Memory does not grow with the number of instances (apart from 8 bytes for each id). The
        record appears whole when the last batch is written; where another process finished the
        same key first, its record stays and is returned.

        Args:
            key: what the importances depend on.
            batches: (example_ids of shape (b,), raw importances of shape (b, L, H)); the probing
                itself may run inside, its seconds are recorded.
            provenance: versions and the like.
            preparation: what the task took before.

        Returns:
            The record.

        Raises:
            StoreError: the disk is full, read-only or not permitted; nothing is left behind.
            DegenerateImportanceError: there is no instance, or an importance is negative, NaN or
                infinite.
            ConfigError: the task's name cannot be a folder name.
        """
        destination = self.root / key.folder_name
        self._prepare()
        with folder_in_the_making(self.root) as folder:
            started = time.monotonic()
            path = folder / _ARROW_NAME
            shape = write_arrow(path, batches, task_name=key.task_name)
            metadata = Metadata(
                digest=key.digest,
                fingerprint=key.fingerprint,
                num_instances=shape[0],
                num_layers=shape[1],
                num_heads=shape[2],
                sha256=sha256_of_file(path),
                seconds=round(time.monotonic() - started, 3),
                preparation=preparation,
                provenance=provenance,
            )
            written_at = datetime.now(UTC).isoformat(timespec="seconds")
            values = {**_FORMAT, "written_at": written_at, **to_json(metadata)}
            write_json_atomic(folder / _METADATA_NAME, sealed(values))
            publish_folder(folder, destination)
        record = self.find(key)
        if record is None:
            raise StoreError(f"the record {destination} went away while it was written")
        return record

    def _prepare(self) -> None:
        """Before the first write: makes the root folder, marks it with the version, cleans it."""
        marker = self.root / _MARKER_NAME
        if self._is_prepared and marker.exists():  # many records are not gone through for each
            return
        if not marker.exists():
            write_json_atomic(marker, _FORMAT)
        remove_abandoned(self.root)
        self._is_prepared = True


def mean_importance(source: ImportanceSource) -> FloatArray:
    """Task-level importance: the mean of the raw matrices over all instances, in one pass.

    Args:
        source: raw importances of one probed task and seed.

    Returns:
        float64 array of shape (L, H).

    Raises:
        DegenerateImportanceError: the source has no instance.
    """
    num_instances, num_layers, num_heads = source.shape
    if num_instances == 0:
        raise DegenerateImportanceError("a probed task has no instance")
    total = np.zeros((num_layers, num_heads))
    for _, importances in source.batches():
        total += importances.sum(axis=0, dtype=np.float64)
    return total / num_instances


def _check_version(metadata: Any, folder: Path) -> None:
    found = metadata.get("format_version") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or metadata.get("format") != FORMAT:
        raise StoreError(f"{folder} holds no {FORMAT}; give another folder as store")
    if found != FORMAT_VERSION:
        raise StoreError(
            f"the store {folder} has format version {found}, this is version {FORMAT_VERSION}; "
            "remove it or give another folder as store"
        )


def _read_metadata(folder: Path) -> Metadata:
    path = folder / _METADATA_NAME
    values = _read_json(path)
    _check_version(values, folder)
    # Records of before had no checksum, and none of its keys; a damaged key is no such record.
    if not is_sealed(values) and (SEAL in values or set(values) != _KEYS_OF_BEFORE):
        raise damaged(path, "does not match its checksum")
    try:
        return from_json(Metadata, values, where=f"the record {folder}: {path.name}")
    except ConfigError as error:
        raise StoreError(f"{error}; remove this folder and the task is probed again") from error


def _read_json(path: Path) -> Any:
    with disk_errors("read", path):
        if path.exists() and not path.is_file():
            raise damaged(path, "is no file")
        content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise damaged(path, "broken JSON") from error


def _first_difference(found: JsonObject, expected: JsonObject) -> str:
    for name, value in expected.items():
        if found.get(name) != value:
            return f" ({name} differs)"
    return ""
