"""Text files: a row a line."""

from __future__ import annotations

from collections.abc import Iterator

from gradts_plugin.tasks.formats.rows import Row, Source, numbered_lines


def read_lines(source: Source) -> Iterator[Row]:
    """Yields the lines of a file, each as the column that is named, or as `line`.

    Blank lines are skipped where lines are divided, and count where files lie side by side.
    """
    name = source.columns[0] if source.columns else "line"
    for number, text in numbered_lines(source):
        line = text.rstrip("\r\n")
        if line.strip() or not source.config.divisions:
            yield f"{source.name}, line {number}", {name: line}
