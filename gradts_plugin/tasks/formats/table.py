"""Tables: CSV and TSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.formats.rows import Row, decoded_lines
from gradts_plugin.tasks.task_configs import TaskConfig


def read_table(config: TaskConfig, source: str) -> Iterator[Row]:
    """Yields the rows of a file by their columns: the config's, else those of its first line."""
    # In tsv files a quotation mark is an ordinary character (as in GLUE's files); in csv files it
    # quotes. A quoted tab-separated file is a csv file with another separator.
    is_tsv = config.file_format(source) == "tsv"
    reader = csv.reader(
        decoded_lines(source),
        delimiter=config.separator or ("\t" if is_tsv else ","),
        quoting=csv.QUOTE_NONE if is_tsv else csv.QUOTE_MINIMAL,
        strict=True,
    )
    columns: Sequence[str] | None = config.columns
    start = 1  # a quoted row can span lines; it is named by its first
    try:
        for values in reader:
            place = f"{source}, line {start}"
            start = reader.line_num + 1
            if not values:
                continue
            if columns is None:
                columns = values
                _check_header(columns, place)
                continue
            if len(values) != len(columns):
                raise DataError(
                    f"{place}: {len(values)} columns, {len(columns)} are expected "
                    f"({', '.join(columns)})"
                )
            yield place, dict(zip(columns, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{source}, line {start}: broken CSV: {error}") from error


def _check_header(columns: Sequence[str], place: str) -> None:
    repeated = [name for name in columns if columns.count(name) > 1]
    if repeated:
        raise DataError(f"{place}: column {repeated[0]!r} appears twice in the header")
