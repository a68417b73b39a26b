"""The Arrow file of one probed task: written in a stream, checked when read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from gradts_plugin.errors import DegenerateImportanceError, StoreError
from gradts_plugin.records import FloatArray, IntArray
from gradts_plugin.stores.files import (
    disk_errors,
    flush_to_disk,
)

# Rows per Arrow record batch: large enough that reading is fast, under 2 MB for the largest BERT.
_BLOCK_ROWS = 1024


def write_arrow(
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
        import pyarrow as pa

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
        import pyarrow as pa

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


def check_arrow(path: Path, shape: tuple[int, int, int]) -> None:
    """Refuses an Arrow file that does not hold importances of this shape (N, L, H)."""
    import pyarrow as pa

    num_instances, num_layers, num_heads = shape
    with disk_errors("read", path), arrow_errors(path), pa.memory_map(str(path)) as stream:
        reader = pa.ipc.open_file(stream)
        width = pa.list_(pa.float32(), num_layers * num_heads)
        expected = pa.schema([("example_id", pa.int64()), ("importance", width)])
        rows = sum(reader.get_batch(index).num_rows for index in range(reader.num_record_batches))
        if reader.schema != expected or rows != num_instances:
            raise damaged(path, f"holds {rows} rows of {reader.schema.types}, not {shape}")


def read_arrow(
    path: Path, num_layers: int, num_heads: int
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yields (ids (b,), importances (b, L, H)) of an Arrow file: read-only views of it."""
    import pyarrow as pa

    with disk_errors("read", path), arrow_errors(path), pa.memory_map(str(path)) as stream:
        reader = pa.ipc.open_file(stream)
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            values = batch.column("importance").flatten().to_numpy()
            yield (
                batch.column("example_id").to_numpy(),
                values.reshape(batch.num_rows, num_layers, num_heads),
            )


@contextmanager
def arrow_errors(path: Path) -> Iterator[None]:
    """Turns Arrow's complaints about a file into a StoreError."""
    import pyarrow as pa

    try:
        yield
    except pa.ArrowException as error:
        raise damaged(path, str(error).splitlines()[0]) from error


def damaged(path: Path, problem: str) -> StoreError:
    """The error to raise for a record that cannot be used."""
    return StoreError(
        f"the record {path.parent} is damaged: {path.name}: {problem}; "
        "remove this folder and the task is probed again"
    )
