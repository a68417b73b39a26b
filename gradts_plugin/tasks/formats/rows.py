"""What a reader is and yields, and the lines that the readers of files share."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from gradts_plugin.errors import DataError
from gradts_plugin.settings.reading import is_special, no_file, no_such_file
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

#: The bytes of a file, unpacked.
Unpacked = BinaryIO | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile

#: First bytes -> what unpacks such a file.
_PACKED: Mapping[bytes, Callable[[BinaryIO], Unpacked]] = {
    b"\x1f\x8b": lambda packed: gzip.GzipFile(fileobj=packed),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}

_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

#: Bytes that are decoded at a time.
_BLOCK = 1 << 16


@contextlib.contextmanager
def open_bytes(path: str) -> Iterator[Unpacked]:
    """Opens a file, unpacked as it is read where it is gzip, bzip2 or xz.

    Raises:
        DataError: it cannot be read or unpacked, now or while the context lasts.
    """
    is_packed = False
    try:
        if is_special(Path(path)):
            raise DataError(no_file(Path(path)))
        with Path(path).open("rb") as raw:
            start = raw.read(6)
            raw.seek(0)
            if start.startswith(b"PK\x03\x04"):
                raise DataError(
                    f"{path}: is a zip archive or a workbook; unpack it, or save it as CSV (UTF-8)"
                )
            unpacks = [made for mark, made in _PACKED.items() if start.startswith(mark)]
            is_packed = bool(unpacks)
            yield unpacks[0](raw) if unpacks else raw
    except FileNotFoundError as error:
        raise DataError(no_such_file(Path(path))) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if is_packed and getattr(error, "errno", None) is None:
            raise DataError(f"{path}: the compressed file is damaged: {error}") from error
        if not isinstance(error, OSError):
            raise
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def read_bytes(path: str, count: int = -1) -> bytes:
    """The content of a file, or its first bytes; see `open_bytes`."""
    with open_bytes(path) as stream:
        return stream.read(count)


def read_text(config: TaskConfig, path: str) -> str:
    """The text of a file in the config's encoding; UTF-16 is known by its mark.

    Raises:
        DataError: it cannot be read, or is text of another encoding; names the line.
    """
    return "".join(_text_lines(config, path))


def numbered_lines(source: Source) -> Iterator[tuple[int, str]]:
    """The lines of a file and their numbers from 1, without those that are skipped.

    Lines end in a line feed, and keep it; in the files of old Macs, which have none, they end in a
    carriage return. A byte order mark at the start of a line is none of it; files were joined. One
    line is held at a time.
    """
    first = source.config.skipped_rows(source.split)
    for number, line in enumerate(_lines_of_any_age(source), start=1):
        if number > first:
            yield number, line.removeprefix(BYTE_ORDER_MARK)


def _lines_of_any_age(source: Source) -> Iterator[str]:
    lines = _text_lines(source.config, source.name)
    first = next(lines, "")
    if first.endswith("\n"):
        yield first
        yield from lines
    else:  # there is no line feed
        yield from io.StringIO(first.replace("\r", "\n"), newline="\n")


def _text_lines(config: TaskConfig, path: str) -> Iterator[str]:
    """The lines of a file, which end in line feeds alone (see `read_text`)."""
    encoding = _encoding(config, path)
    try:
        with open_bytes(path) as stream:
            # At line feeds alone: `splitlines` takes a dozen other characters for a line's end.
            yield from io.TextIOWrapper(stream, encoding, newline="\n")
    except UnicodeDecodeError as error:
        line = _undecodable_line(path, encoding)
        hint = "" if config.encoding else "; say its 'encoding' (cp1252 and latin-1 are common)"
        name = "UTF-8" if encoding == "utf-8" else encoding
        raise DataError(f"{path}, line {line}: is not {name} text{hint}") from error
    except UnicodeError as error:  # of encodings that do not say where
        raise DataError(f"{path}: is not {encoding} text: {error}") from error


def _encoding(config: TaskConfig, path: str) -> str:
    if config.encoding is not None:
        return config.encoding
    start = read_bytes(path, 5)
    if start.startswith(_UTF_16_MARKS):
        return "utf-16"
    if b"\0\0" in (start[:3:2], start[1:4:2]):
        raise DataError(f"{path}: is no UTF-8 text; is it UTF-16? say its 'encoding'")
    return "utf-8"


def _undecodable_line(path: str, encoding: str) -> int:
    """The number of the first line that is no text of an encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with open_bytes(path) as stream:
        while block := stream.read(_BLOCK):
            before = decoder.getstate()
            try:
                line += decoder.decode(block).count("\n")
            except UnicodeError:
                decoder.setstate(before)
                with contextlib.suppress(UnicodeError):
                    for number in range(len(block)):
                        line += decoder.decode(block[number : number + 1]).count("\n")
                break
    return line
