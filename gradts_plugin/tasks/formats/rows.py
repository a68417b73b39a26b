"""What a reader is and yields, and the lines that the readers of files share."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gradts_plugin.errors import DataError
from gradts_plugin.settings.reading import no_such_file
from gradts_plugin.tasks.kinds import Split
from gradts_plugin.tasks.sources import FieldName
from gradts_plugin.tasks.task_configs import TaskConfig

#: The fields of a row as they were read; columns by their numbers, too, where those are asked for.
Values = Mapping[Any, Any]


@dataclass(frozen=True)
class BadRow:
    """A row whose form is broken.

    Attributes:
        problem: what is wrong with it.
    """

    problem: str


class Sentence(dict[Any, Any]):
    """A row of words.

    Attributes:
        file: where it stands.
        lines: numbers of its words' lines.
    """

    file: str
    lines: Sequence[int]


@dataclass(frozen=True)
class Source:
    """A split to be read.

    Attributes:
        config: the task, settled.
        split: which split.
        name: a path, or what a dataset calls the split.
        columns: names of the columns; None: the file names them.
    """

    config: TaskConfig
    split: Split
    name: str
    columns: tuple[str, ...] | None

    @cached_property
    def used(self) -> tuple[FieldName, ...]:
        """The fields of a row that are read."""
        return tuple(self.config.used_fields())

    @cached_property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the columns that are read by number."""
        return tuple(name for name in self.used if isinstance(name, int))

    @cached_property
    def tokens(self) -> FieldName | tuple[FieldName, ...]:
        """The field of a tagging task's words."""
        return self.config.field_names()["tokens"]

    def numbered(self, values: list[str]) -> dict[Any, str]:
        """The columns that are read by number, as far as a row has them."""
        return {n: values[n] for n in self.numbers if -len(values) <= n < len(values)}


#: A row with its place for error messages.
Row = tuple[str, Values | BadRow]

#: Reads one split, row by row.
Reader = Callable[[Source], Iterator[Row]]

BYTE_ORDER_MARK = "\ufeff"

#: First bytes -> what unpacks such a file.
_PACKED: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bytes(path: str) -> bytes:
    """The content of a file, unpacked where it is gzip, bzip2 or xz.

    Raises:
        DataError: it cannot be read or unpacked.
    """
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise DataError(no_such_file(Path(path))) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if raw.startswith(b"PK\x03\x04"):
        raise DataError(
            f"{path}: is a zip archive or a workbook; unpack it, or save it as CSV (UTF-8)"
        )
    for start, unpack in _PACKED.items():
        if raw.startswith(start):
            try:
                return unpack(raw)
            except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
                raise DataError(f"{path}: the compressed file is damaged: {error}") from error
    return raw


def read_text(config: TaskConfig, path: str) -> str:
    """The text of a file in the config's encoding; UTF-16 is known by its mark.

    Raises:
        DataError: it cannot be read, or is text of another encoding; names the line.
    """
    raw = read_bytes(path)
    encoding = config.encoding
    if encoding is None:
        encoding = "utf-16" if raw.startswith(_UTF_16_MARKS) else "utf-8"
        if b"\0\0" in (raw[:3:2], raw[1:4:2]):
            raise DataError(f"{path}: is no UTF-8 text; is it UTF-16? say its 'encoding'")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].decode(encoding, errors="ignore").count("\n") + 1
        hint = "" if config.encoding else "; say its 'encoding' (cp1252 and latin-1 are common)"
        name = "UTF-8" if encoding == "utf-8" else encoding
        raise DataError(f"{path}, line {line}: is not {name} text{hint}") from error
    except UnicodeError as error:  # of encodings that do not say where
        raise DataError(f"{path}: is not {encoding} text: {error}") from error


def numbered_lines(source: Source) -> Iterator[tuple[int, str]]:
    """The lines of a file and their numbers from 1, without those that are skipped.

    Lines end in a line feed, and keep it; in the files of old Macs, which have none, they end in a
    carriage return. A byte order mark at the start of a line is none of it; files were joined.
    """
    text = read_text(source.config, source.name)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    first = source.config.skipped_rows(source.split)
    # At line feeds alone: `splitlines` takes a dozen other characters for the end of a line.
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        if number > first:
            yield number, line.removeprefix(BYTE_ORDER_MARK)
