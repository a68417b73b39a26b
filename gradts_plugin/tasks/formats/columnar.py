"""Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.formats.datasets import class_names
from gradts_plugin.tasks.formats.rows import Row, Source, Unpacked, open_bytes

#: Rows that are held at a time.
_BATCH: Final = 1000


def read_columnar(source: Source) -> Iterator[Row]:
    """Yields the rows of a file; class numbers by the names that `datasets` wrote beside them.

    Raises:
        DataError: the file is damaged, or of another format.
    """
    import pyarrow as pa

    kind = source.config.file_format(source.name)
    number = 0
    with open_bytes(source.name) as stream:
        try:
            schema, batches = (_parquet if kind == "parquet" else _arrow)(stream, source)
            features = _features(schema)
            for batch in batches:
                for row in batch.to_pylist():
                    named = {key: class_names(row[key], features.get(key)) for key in row}
                    yield f"{source.name}, row {number}", named
                    number += 1
        except (pa.ArrowException, OSError) as error:
            first_line = str(error).splitlines()[0]
            raise DataError(f"{source.name}: cannot be read as {kind}: {first_line}") from error


def _wanted(source: Source, names: Sequence[str]) -> list[str]:
    """The columns that are read; those that nobody asked for may be pictures."""
    wanted = {str(name).partition(".")[0] for name in source.used}
    return sorted(wanted) if wanted <= {*names} else list(names)


def _parquet(stream: Unpacked, source: Source) -> tuple[Any, Iterator[Any]]:
    """Schema and batches of a Parquet file."""
    from pyarrow import parquet

    file = parquet.ParquetFile(stream)
    columns = _wanted(source, file.schema_arrow.names)
    return file.schema_arrow, file.iter_batches(_BATCH, columns=columns)


def _arrow(stream: Unpacked, source: Source) -> tuple[Any, Iterator[Any]]:
    """Schema and batches of Arrow's file or stream format."""
    from pyarrow import ipc

    start = stream.read(6)
    stream.seek(0)
    if start == b"ARROW1":
        file = ipc.open_file(stream)
        found = (file.get_batch(number) for number in range(file.num_record_batches))
    else:
        file = found = ipc.open_stream(stream)
    columns = _wanted(source, file.schema.names)
    batches = (batch.select(columns) for batch in found)
    return file.schema, (
        batch.slice(first, _BATCH)
        for batch in batches
        for first in range(0, batch.num_rows, _BATCH)
    )


def _features(schema: Any) -> Any:
    """What `datasets` wrote of the columns, by name; empty where it did not."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    import datasets  # takes seconds to import

    return datasets.Features.from_arrow_schema(schema)
