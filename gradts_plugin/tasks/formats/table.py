"""Tables: CSV and TSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.formats.rows import BadRow, Row, Source, numbered_lines

#: A line's number, and its cells.
_Cells = tuple[int, list[str]]


def read_table(source: Source) -> Iterator[Row]:
    """Yields the rows of a file by their columns: the config's, else those of its header line.

    Columns that no field asks for may be unnamed, or named twice. A config whose fields are all
    numbers reads no header.
    """
    is_tsv, separator, rows = table_cells(source)
    columns: Sequence[str] | None = source.columns
    if columns is None and not all(isinstance(name, int) for name in source.used):
        start, columns = next(rows, (1, None))
        if columns is None:
            return
        columns = [name.strip() for name in columns]
        _check_header(source, columns, f"{source.name}, line {start}")
    # A comma in a text makes a column too many; where tabs are between, files do have more.
    open_ended = source.columns is not None and separator != ","
    width = len(columns) if columns is not None else None
    for position, (number, values) in enumerate(rows):
        width = width or len(values)
        problem = _problem(values, columns, width, open_ended or (columns is None and is_tsv))
        if problem and position == 0 and len(values) == width + 1 and source.columns is None:
            problem += "; where the header is one name short, name all 'columns' and 'skip_rows': 1"
        if problem:
            yield f"{source.name}, line {number}", BadRow(problem)
            continue
        named: dict[Any, str] = dict(zip(columns or (), values, strict=False))
        if source.numbers:
            named |= source.numbered(values)
        yield f"{source.name}, line {number}", named


def table_cells(source: Source) -> tuple[bool, str, Iterator[_Cells]]:
    """Whether quotation marks are ordinary, the separator, and (line number, cells) of each row."""
    is_tsv = source.config.file_format(source.name) == "tsv"
    separator = source.config.separator or ("\t" if is_tsv else ",")
    lines = _plain(source, separator) if is_tsv else _quoted(source, separator)
    # Sheets end in rows of empty cells.
    return is_tsv, separator, (row for row in lines if "".join(row[1]).strip())


def _plain(source: Source, separator: str) -> Iterator[_Cells]:
    """Cells as they stand, as in GLUE's files: a quotation mark is an ordinary character.

    A quoted tab-separated file is a csv file with another separator.
    """
    for number, line in numbered_lines(source):
        text = line.removesuffix("\n").removesuffix("\r")
        yield number, text.split(separator)


def _quoted(source: Source, separator: str) -> Iterator[_Cells]:
    """Cells of which some are quoted; a row can span lines, and is named by its first."""
    lines = numbered_lines(source)
    first = next(lines, None)
    if first is None:
        return
    start, text = first
    before = start - 1
    lines = chain([first], lines)
    csv.field_size_limit(1 << 30)  # texts may be longer than the module's 131,072 characters
    reader = csv.reader(
        (line for _, line in lines),
        delimiter=separator,
        # The header tells of files that have a space after each comma.
        skipinitialspace=source.columns is None and f"{separator} " in text,
        strict=True,
    )
    try:
        for values in reader:
            yield start, values
            start = before + reader.line_num + 1
    except csv.Error as error:
        problem = str(error)
        if problem.startswith("new-line character"):
            problem = "a carriage return in a text that is not quoted"
        raise DataError(f"{source.name}, line {start}: broken CSV: {problem}") from error


def _problem(
    values: list[str], columns: Sequence[str] | None, width: int, open_ended: bool
) -> str | None:
    """What is wrong with the form of a row; None: nothing."""
    ends_alike = columns is not None and values[-1].strip() == columns[-1]
    if ends_alike and [value.strip() for value in values] == list(columns or ()):
        return "repeats the header"
    if len(values) == width or (len(values) > width and (open_ended or not any(values[width:]))):
        return None
    named = f" ({', '.join(columns)})" if columns is not None else ""
    return f"{len(values)} columns, {width} are expected{named}"


def _check_header(source: Source, columns: Sequence[str], place: str) -> None:
    others = [mark for mark in ("\t", ";", "|", ",") if len(columns) == 1 and mark in columns[0]]
    if others:
        raise DataError(
            f"{place}: one column, {columns[0]!r:.60}; is the 'separator' {others[0]!r}?"
        )
    for name in source.used:
        if columns.count(str(name).strip()) > 1:
            raise DataError(f"{place}: column {str(name)!r} appears twice in the header")
    if {str(name).strip() for name in source.used} & {*columns}:
        return
    wanted = " nor ".join(repr(name) for name in source.used)
    raise DataError(
        f"{place}: no column is called {wanted}; there are {', '.join(map(repr, columns)):.200}. "
        "'fields' says which is which; a file without a header line needs 'columns'"
    )
