"""JSON Lines: an object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.formats.rows import Row, decoded_lines
from gradts_plugin.tasks.task_configs import TaskConfig


def read_json_lines(config: TaskConfig, source: str) -> Iterator[Row]:
    """Yields the objects of a file; blank lines are skipped."""
    del config
    for number, line in enumerate(decoded_lines(source), start=1):
        if not line.strip():
            continue
        place = f"{source}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # also endless nesting and endless numbers
            raise DataError(f"{place}: broken JSON: {getattr(error, 'msg', error)}") from error
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected a JSON object, found {type(row).__name__}")
        yield place, row
