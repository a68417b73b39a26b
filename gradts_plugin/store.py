"""The gradient store: raw head importances on disk, one folder per probed task and seed.

    <root>/store.json                         the store's format version
    <root>/rte-seed0-5f0c.../importances.arrow   Arrow IPC file: example_id int64,
                                              importance fixed_size_list<float32>[L * H]
    <root>/rte-seed0-5f0c.../metadata.json    fingerprint, shape, checksum and provenance

A record is named by the fingerprint of everything its numbers depend on, so a record is either
exactly what is asked for or it is not found; one that is damaged is an error and never used.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gradts_plugin.errors import DegenerateImportanceError, StoreError
from gradts_plugin.files import (
    check_folder_name,
    disk_errors,
    flush_to_disk,
    folder_in_the_making,
    publish_folder,
    remove_abandoned,
    write_json_atomic,
)
from gradts_plugin.records import FloatArray, ImportanceSource, IntArray

FORMAT = "gradts gradient store"
FORMAT_VERSION = 1

_ARROW_NAME = "importances.arrow"
_METADATA_NAME = "metadata.json"
_MARKER_NAME = "store.json"
_METADATA_KEYS = frozenset(
    ("digest", "fingerprint", "num_instances", "num_layers", "num_heads", "sha256", "provenance")
)

# Rows per Arrow record batch: large enough that reading is fast, under 2 MB for the largest BERT.
_BLOCK_ROWS = 1024
_HASH_CHUNK = 1 << 20


@dataclass(frozen=True)
class ProbeKey:
    """Everything the importances of one probed task depend on.

    Attributes:
        encoder: fingerprint of the pretrained encoder.
        task_name: the task.
        task_data: fingerprint of the task's training data.
        fine_tuning: the fine-tuning settings, plain JSON values.
        probing: the probing settings, plain JSON values.
        seed: the fine-tuning seed.
    """

    encoder: str
    task_name: str
    task_data: str
    fine_tuning: Mapping[str, Any]
    probing: Mapping[str, Any]
    seed: int

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The key as plain JSON values."""
        values = {
            "encoder": self.encoder,
            "task_name": self.task_name,
            "task_data": self.task_data,
            "fine_tuning": dict(self.fine_tuning),
            "probing": dict(self.probing),
            "seed": self.seed,
        }
        # Through JSON, so that it compares equal to what is read back (tuples become lists).
        plain: dict[str, Any] = json.loads(canonical_json(values))
        return plain

    @property
    def digest(self) -> str:
        """sha256 (hex) of the fingerprint and the store's format version."""
        return digest_of({"format_version": FORMAT_VERSION, **self.fingerprint})

    @property
    def folder_name(self) -> str:
        """Name of the record's folder.

        Raises:
            ConfigError: the task's name would leave the store's folder.
        """
        return f"{check_folder_name(self.task_name)}-seed{self.seed}-{self.digest[:16]}"


class StoredImportance:
    """A record of the store, an `ImportanceSource` that reads memory-mapped.

    Attributes:
        folder: where the record lies.
        metadata: the content of its metadata.json.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        self.folder = folder
        self.metadata = metadata

    @property
    def shape(self) -> tuple[int, int, int]:
        """(num_instances, num_layers, num_heads)."""
        return (
            int(self.metadata["num_instances"]),
            int(self.metadata["num_layers"]),
            int(self.metadata["num_heads"]),
        )

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the writer said about how the record came about."""
        provenance: Mapping[str, Any] = self.metadata["provenance"]
        return provenance

    def batches(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yields the instances in the order in which they were probed.

        Yields:
            (example_ids int64 of shape (b,), raw importances float32 of shape (b, L, H)):
            read-only views of the file.

        Raises:
            StoreError: the file went away or is damaged.
        """
        _, num_layers, num_heads = self.shape
        path = self.folder / _ARROW_NAME
        with disk_errors("read", path), _arrow_errors(path), pa.memory_map(str(path)) as stream:
            reader = pa.ipc.open_file(stream)
            for index in range(reader.num_record_batches):
                batch = reader.get_batch(index)
                values = batch.column("importance").flatten().to_numpy()
                yield (
                    batch.column("example_id").to_numpy(),
                    values.reshape(batch.num_rows, num_layers, num_heads),
                )

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
        if not folder.exists():
            return None
        metadata = _read_json(folder / _METADATA_NAME)
        _check_version(metadata, folder)
        missing = sorted(_METADATA_KEYS - metadata.keys())
        if missing:
            raise _damaged(folder / _METADATA_NAME, f"key {missing[0]!r} is missing")
        if metadata["fingerprint"] != key.fingerprint or metadata["digest"] != key.digest:
            raise StoreError(
                f"the record {folder} belongs to other settings"
                f"{_first_difference(metadata['fingerprint'], key.fingerprint)}; "
                "remove this folder and the task is probed again"
            )
        path = folder / _ARROW_NAME
        with disk_errors("read", path):
            checksum = _sha256_of_file(path)
        if checksum != metadata["sha256"]:
            raise StoreError(
                f"the record {folder} is damaged: {_ARROW_NAME} does not match its checksum; "
                "remove this folder and the task is probed again"
            )
        record = StoredImportance(folder, metadata)
        _check_arrow(path, record.shape)
        return record

    def write(
        self,
        key: ProbeKey,
        batches: Iterable[tuple[IntArray, FloatArray]],
        provenance: Mapping[str, Any],
    ) -> StoredImportance:
        """Streams the importances of one task to disk.

        Memory does not grow with the number of instances (apart from 8 bytes for each id). The
        record appears whole when the last batch is written; where another process finished the
        same key first, its record stays and is returned.

        Args:
            key: what the importances depend on.
            batches: (example_ids of shape (b,), raw importances of shape (b, L, H)); the probing
                itself may run inside, its seconds are recorded.
            provenance: versions and the result of the fine-tuning, as plain JSON values.

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
            shape = _write_arrow(path, batches, task_name=key.task_name)
            metadata = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "digest": key.digest,
                "fingerprint": key.fingerprint,
                "num_instances": shape[0],
                "num_layers": shape[1],
                "num_heads": shape[2],
                "sha256": _sha256_of_file(path),
                "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.monotonic() - started, 3),
                "provenance": dict(provenance),
            }
            write_json_atomic(folder / _METADATA_NAME, metadata)
            publish_folder(folder, destination)
        record = self.find(key)
        if record is None:
            raise StoreError(f"the record {destination} went away while it was written")
        return record

    def _prepare(self) -> None:
        """Makes the root folder, marks it with the format version and cleans it."""
        marker = self.root / _MARKER_NAME
        if not marker.exists():
            write_json_atomic(marker, {"format": FORMAT, "format_version": FORMAT_VERSION})
        remove_abandoned(self.root)


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


def canonical_json(values: Any) -> str:
    """Writes plain JSON values so that equal values give equal text (keys sorted, no spaces).

    Raises:
        ValueError: a NaN or an infinity.
        TypeError: a value JSON does not have.
    """
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(values: Any) -> str:
    """sha256 (hex) of the canonical JSON of plain values."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def _write_arrow(
    path: Path, batches: Iterable[tuple[IntArray, FloatArray]], *, task_name: str
) -> tuple[int, int, int]:
    """Writes the Arrow file; returns (N, L, H)."""
    writer: _ArrowWriter | None = None
    try:
        for example_ids, importances in batches:
            _check_batch(example_ids, importances, task_name=task_name)
            if writer is None:
                writer = _ArrowWriter(path, importances.shape[1], importances.shape[2])
            writer.add(example_ids, importances, task_name=task_name)
        if writer is None or writer.num_instances == 0:
            raise DegenerateImportanceError(f"task {task_name!r}: no instance was probed")
        writer.finish(task_name=task_name)
    except BaseException:
        if writer is not None:
            writer.abandon()
        raise
    return writer.num_instances, writer.num_layers, writer.num_heads


class _ArrowWriter:
    """Collects instances into blocks and appends them to an Arrow IPC file."""

    def __init__(self, path: Path, num_layers: int, num_heads: int) -> None:
        self.path = path
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.num_instances = 0
        self._pending: list[tuple[IntArray, FloatArray]] = []
        self._ids: list[IntArray] = []
        self._type = pa.list_(pa.float32(), num_layers * num_heads)
        self._schema = pa.schema([("example_id", pa.int64()), ("importance", self._type)])
        with disk_errors("write", path):
            # A Python stream, because Arrow's own does not say why the disk refused.
            self._stream = path.open("xb")
            self._writer = pa.ipc.new_file(self._stream, self._schema)

    def add(self, example_ids: IntArray, importances: FloatArray, *, task_name: str) -> None:
        if importances.shape[1:] != (self.num_layers, self.num_heads):
            raise StoreError(
                f"task {task_name!r}: importances of shape {importances.shape[1:]} follow "
                f"some of shape {(self.num_layers, self.num_heads)}"
            )
        ids = np.array(example_ids, dtype=np.int64)
        self._ids.append(ids)
        # Copied: the prober may use its buffer for the next batch.
        self._pending.append((ids, np.array(importances, dtype=np.float32)))
        self.num_instances += len(ids)
        if sum(len(ids) for ids, _ in self._pending) >= _BLOCK_ROWS:
            self._flush()

    def finish(self, *, task_name: str) -> None:
        ids = np.concatenate(self._ids)
        if len(np.unique(ids)) != len(ids):
            raise StoreError(f"task {task_name!r}: an example id came twice; ids must be unique")
        self._flush()
        with disk_errors("write", self.path):
            self._writer.close()
            self._stream.flush()
            flush_to_disk(self._stream.fileno())
            self._stream.close()

    def abandon(self) -> None:
        """Lets go of the file after an error."""
        # A full disk refuses again when the buffers are flushed; the first refusal was reported.
        with suppress(OSError, ValueError):
            self._writer.close()
        with suppress(OSError):
            self._stream.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        ids = np.concatenate([ids for ids, _ in self._pending])
        values = np.concatenate([values.reshape(-1) for _, values in self._pending])
        self._pending = []
        importances = pa.FixedSizeListArray.from_arrays(pa.array(values), type=self._type)
        batch = pa.record_batch([pa.array(ids), importances], schema=self._schema)
        with disk_errors("write", self.path):
            self._writer.write_batch(batch)


def _check_batch(example_ids: IntArray, importances: FloatArray, *, task_name: str) -> None:
    if importances.ndim != 3 or len(example_ids) != len(importances):
        raise StoreError(
            f"task {task_name!r}: {len(example_ids)} example ids came with importances of shape "
            f"{importances.shape}, expected (batch, layers, heads)"
        )
    if not np.isfinite(importances).all():
        raise DegenerateImportanceError(
            f"task {task_name!r}: a head importance is NaN or infinite; its loss has diverged"
        )
    if (importances < 0).any():
        raise DegenerateImportanceError(f"task {task_name!r}: a head importance is negative")


def _check_arrow(path: Path, shape: tuple[int, int, int]) -> None:
    num_instances, num_layers, num_heads = shape
    with disk_errors("read", path), _arrow_errors(path), pa.memory_map(str(path)) as stream:
        reader = pa.ipc.open_file(stream)
        width = pa.list_(pa.float32(), num_layers * num_heads)
        expected = pa.schema([("example_id", pa.int64()), ("importance", width)])
        rows = sum(reader.get_batch(index).num_rows for index in range(reader.num_record_batches))
        if reader.schema != expected or rows != num_instances:
            raise _damaged(path, f"holds {rows} rows of {reader.schema.types}, not {shape}")


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    """Turns Arrow's complaints about a file into a StoreError."""
    try:
        yield
    except pa.ArrowException as error:
        raise _damaged(path, str(error).splitlines()[0]) from error


def _check_version(metadata: Any, folder: Path) -> None:
    found = metadata.get("format_version") if isinstance(metadata, Mapping) else None
    if not isinstance(metadata, Mapping) or metadata.get("format") != FORMAT:
        raise StoreError(f"{folder} holds no {FORMAT}; give another folder as store")
    if found != FORMAT_VERSION:
        raise StoreError(
            f"the store {folder} has format version {found}, this is version {FORMAT_VERSION}; "
            "remove it or give another folder as store"
        )


def _read_json(path: Path) -> Any:
    with disk_errors("read", path):
        content = path.read_bytes()
    try:
        return json.loads(content)
    except ValueError as error:
        raise _damaged(path, "broken JSON") from error


def _damaged(path: Path, problem: str) -> StoreError:
    return StoreError(
        f"the record {path.parent} is damaged: {path.name}: {problem}; "
        "remove this folder and the task is probed again"
    )


def _first_difference(found: Any, expected: Mapping[str, Any]) -> str:
    if not isinstance(found, Mapping):
        return ""
    for name, value in expected.items():
        if found.get(name) != value:
            return f" ({name} differs)"
    return ""


def _sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
