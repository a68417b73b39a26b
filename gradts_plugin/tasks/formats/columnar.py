"""Parquet and Arrow files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.formats.datasets import class_names
from gradts_plugin.tasks.formats.rows import Row, Source, read_bytes


def read_columnar(source: Source) -> Iterator[Row]:
    """Yields the rows of a file; class numbers by the names that `datasets` wrote beside them.

    Raises:
        DataError: the file is damaged, or of another format.
    """
    import pyarrow as pa

    content = io.BytesIO(read_bytes(source.name))
    kind = source.config.file_format(source.name)
    try:
        table = _parquet(content) if kind == "parquet" else _arrow(content)
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{source.name}: cannot be read as {kind}: {first_line}") from error
    wanted = {str(name).partition(".")[0] for name in source.used}
    if wanted <= {*table.column_names}:
        table = table.select(sorted(wanted))  # columns nobody asked for may be pictures
    features = _features(table.schema)
    number = 0
    for batch in table.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            named = {key: class_names(value, features.get(key)) for key, value in row.items()}
            yield f"{source.name}, row {number}", named
            number += 1


def _parquet(content: io.BytesIO) -> Any:
    from pyarrow import parquet

    return parquet.read_table(content)


def _arrow(content: io.BytesIO) -> Any:
    """A table of Arrow's file or stream format."""
    from pyarrow import ipc

    if content.getvalue().startswith(b"ARROW1"):
        return ipc.open_file(content).read_all()
    return ipc.open_stream(content).read_all()


def _features(schema: Any) -> Any:
    """What `datasets` wrote of the columns, by name; empty where it did not."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    import datasets  # takes seconds to import

    return datasets.Features.from_arrow_schema(schema)
