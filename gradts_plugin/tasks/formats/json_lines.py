"""JSON: an object a line, or all objects in one file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.formats.rows import (
    BYTE_ORDER_MARK,
    BadRow,
    Row,
    Source,
    numbered_lines,
    read_text,
)


def read_json_lines(source: Source) -> Iterator[Row]:
    """Yields the objects of a file; blank lines are skipped."""
    for number, line in numbered_lines(source):
        text = line.removeprefix(BYTE_ORDER_MARK)
        if not text.strip():
            continue
        place = f"{source.name}, line {number}"
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:  # also endless nesting and endless numbers
            yield place, BadRow(f"broken JSON: {getattr(error, 'msg', error)}")
            continue
        yield place, row if isinstance(row, dict) else BadRow(_no_object(row))


def read_json_file(source: Source) -> Iterator[Row]:
    """Yields the objects of a JSON array, or of an object that holds one; of columns, the rows.

    A file of JSON Lines is read as such, whatever its name.
    """
    try:
        content = json.loads(read_text(source.config, source.name).removeprefix(BYTE_ORDER_MARK))
    except RecursionError as error:
        raise DataError(f"{source.name}: broken JSON: {error}") from error
    except ValueError as error:
        if getattr(error, "msg", "") == "Extra data":
            yield from read_json_lines(source)
            return
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise DataError(
            f"{source.name}{line}: broken JSON: {getattr(error, 'msg', error)}"
        ) from error
    for number, row in enumerate(_rows(content, source.name)):
        place = f"{source.name}, row {number}"
        yield place, row if isinstance(row, dict) else BadRow(_no_object(row))


def _no_object(row: object) -> str:
    hint = "; 'format': 'json' reads an array of them" if isinstance(row, list) else ""
    return f"expected a JSON object, found {type(row).__name__}{hint}"


def _rows(content: Any, name: str) -> list[Any]:
    """The rows of what a file holds.

    Raises:
        DataError: nobody can tell where they are.
    """
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise DataError(f"{name}: expected a JSON array or object, found {type(content).__name__}")
    values = list(content.values())
    tables = [value for value in values if isinstance(value, list) and _all(value, dict)]
    if len(tables) == 1:
        return tables[0]  # beside a version and the like
    if _all(values, list) and not tables and len({len(value) for value in values}) == 1:
        return [dict(zip(content, row, strict=True)) for row in zip(*values, strict=True)]
    if _all(values, dict):
        rows = values[0].keys()
        if rows == {str(number) for number in range(len(rows))} and all(
            value.keys() == rows for value in values
        ):
            # Columns, each from a row's number to its value: pandas' own form.
            return [{name: content[name][row] for name in content} for row in rows]
        return values  # rows by their ids
    if not any(isinstance(value, (list, dict)) for value in values):
        return [content]  # a file of one row
    raise DataError(
        f"{name}: no array of objects; its keys: {', '.join(map(str, list(content)[:10]))}"
    )


def _all(values: list[Any], kind: type) -> bool:
    return bool(values) and all(isinstance(value, kind) for value in values)
