"""Tables: CSV and TSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.formats.rows import BadRow, Row, Source, numbered_lines

#: A line's number, and the cells of the row that begins there.
_Cells = tuple[int, list[str] | BadRow]

#: So many characters of a row are held; more are taken for a quotation mark that was not closed.
_LONGEST_ROW: Final = 1 << 24


def read_table(source: Source) -> Iterator[Row]:
    """Yields the rows of a file by their columns: the config's, else those of its header line.

    Columns that no field asks for may be unnamed, or named twice. A config whose fields are all
    numbers reads no header.
    """
    is_tsv, separator, rows = table_cells(source)
    columns: Sequence[str] | None = source.columns
    if columns is None and not all(isinstance(name, int) for name in source.used):
        start, header = next(rows, (1, None))
        if header is None:
            return
        where = f"{source.name}, line {start}"
        if isinstance(header, BadRow):
            raise DataError(f"{where}: {header.problem}")
        columns = [name.strip() for name in header]
        _check_header(source, columns, where)
    # A comma in a text makes a column too many; where tabs are between, files do have more.
    open_ended = source.columns is not None and separator != ","
    width = len(columns) if columns is not None else None
    for position, (number, values) in enumerate(rows):
        if isinstance(values, BadRow):
            yield f"{source.name}, line {number}", values
            continue
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
    return is_tsv, separator, (row for row in lines if not _is_blank(row[1]))


def _is_blank(cells: list[str] | BadRow) -> bool:
    return isinstance(cells, list) and not "".join(cells).strip()


def _plain(source: Source, separator: str) -> Iterator[_Cells]:
    """Cells as they stand, as in GLUE's files: a quotation mark is an ordinary character.

    A quoted tab-separated file is a csv file with another separator.
    """
    for number, line in numbered_lines(source):
        text = line.removesuffix("\n").removesuffix("\r")
        yield number, text.split(separator)


def _quoted(source: Source, separator: str) -> Iterator[_Cells]:
    """Cells of which some are quoted; a row can span lines, and is named by its first.

    Read by Python's csv module: a row's line, a quotation mark in the wrong place and a row that is
    too short or too long are what people must be told, and readers that make columns (pandas,
    pyarrow) know no lines, fill short rows up and take a lone carriage return for a line's end.
    """
    lines = _Lines(numbered_lines(source))
    csv.field_size_limit(_LONGEST_ROW)  # texts may be longer than the module's 131,072 characters
    reader = csv.reader(
        lines,
        delimiter=separator,
        # The header tells of files that have a space after each comma.
        skipinitialspace=source.columns is None and f"{separator} " in lines.peek(),
        strict=True,
    )
    while True:
        lines.begin_row()
        try:
            cells: list[str] | BadRow = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = str(error)
            if problem.startswith("new-line character"):
                problem = "a carriage return in a text that is not quoted"
            cells = BadRow(f"broken CSV: {problem}")
        number = lines.number
        if isinstance(cells, BadRow):
            lines.read_again()
        yield number, cells


class _Lines:
    """Lines as `csv` takes them; those behind a row's first can be read once more.

    Attributes:
        number: of the row's first line.
    """

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self.number = 0
        self._lines = lines
        self._waiting: list[tuple[int, str]] = []  # the next one last
        self._taken: list[tuple[int, str]] = []
        self._length = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        found = self._waiting.pop() if self._waiting else next(self._lines)
        if not self._taken:
            self.number = found[0]
        self._taken.append(found)
        self._length += len(found[1])
        if self._length > _LONGEST_ROW:
            raise csv.Error(
                f"a row of more than {_LONGEST_ROW:,} characters; is a quote not closed?"
            )
        return found[1]

    def peek(self) -> str:
        """The first line; empty where there is none."""
        self._waiting = [found] if (found := next(self._lines, None)) else []
        return self._waiting[0][1] if self._waiting else ""

    def begin_row(self) -> None:
        """What was taken belongs to a row that is whole."""
        self._taken, self._length = [], 0

    def read_again(self) -> None:
        """Only the first line of a row is known to be broken: a quote that was not closed."""
        self._waiting += reversed(self._taken[1:])


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
