"""What a reader is and yields, and the lines that the readers of files share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.task_configs import TaskConfig

#: The fields of a row as they were read.
Values = Mapping[str, Any]

#: A row with its place for error messages: (place, values).
Row = tuple[str, Values]

#: Reads one split of a settled task config, from what the config calls it: a path, or the name of a
#: dataset's split.
Reader = Callable[[TaskConfig, str], Iterator[Row]]

_BYTE_ORDER_MARK = "\ufeff"


def decoded_lines(path: str) -> Iterator[str]:
    """Decoded lines of a UTF-8 file, without a byte order mark."""
    try:
        with Path(path).open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8")
                yield line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: is not UTF-8 text") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
