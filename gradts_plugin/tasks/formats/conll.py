"""CoNLL: one word per line, its columns apart, a blank line between sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.formats.rows import Row, decoded_lines
from gradts_plugin.tasks.task_configs import TaskConfig

#: First token of CoNLL-2003's document separators, which are no sentences.
_DOCUMENT_START = "-DOCSTART-"
#: White space between CoNLL columns. A no-break space or an ideographic one belongs to its word.
_COLUMN_SPACE = re.compile(r"[ \t\f\v]+")


def read_conll(config: TaskConfig, source: str) -> Iterator[Row]:
    """Yields the sentences of a file, each column a list."""
    columns = config.columns or ("tokens", "labels")
    sentence: list[list[str]] = []
    start = 1
    for number, line in enumerate(decoded_lines(source), start=1):
        text = line.rstrip("\r\n")
        if not text.strip(" \t\f\v") or text.lstrip(" \t").startswith(_DOCUMENT_START):
            yield from _sentence(sentence, columns, f"{source}, line {start}")
            sentence = []
            continue
        if config.comment is not None and text.startswith(config.comment):
            continue
        values = (
            _COLUMN_SPACE.split(text.strip(" \t\f\v"))
            if config.separator is None
            else text.split(config.separator)
        )
        # Files with more columns than were named are common, with fewer they are broken.
        if len(values) < len(columns):
            raise DataError(
                f"{source}, line {number}: {len(values)} columns, at least {len(columns)} are "
                f"expected ({', '.join(columns)})"
            )
        if not sentence:
            start = number
        sentence.append(values)
    yield from _sentence(sentence, columns, f"{source}, line {start}")


def _sentence(lines: list[list[str]], columns: Sequence[str], place: str) -> Iterator[Row]:
    if lines:
        yield (
            place,
            {name: [values[i] for values in lines] for i, name in enumerate(columns)},
        )
