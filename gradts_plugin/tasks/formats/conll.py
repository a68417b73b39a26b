"""CoNLL and CoNLL-U: one word per line, its columns apart, a blank line between sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from gradts_plugin.tasks.formats.rows import (
    BadRow,
    Row,
    Sentence,
    Source,
    numbered_lines,
)
from gradts_plugin.tasks.kinds import IGNORED

#: A word of CoNLL-2003's document separators, which are no sentences.
_DOCUMENT_START = "-DOCSTART-"

#: White space between CoNLL columns. A no-break space or an ideographic one belongs to its word.
_WHITE: Final = " \t\f\v"
_COLUMN_SPACE = re.compile(f"[{_WHITE}]+")

#: Columns of CoNLL-U; https://universaldependencies.org/format.html.
_UNIVERSAL = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")

#: Where a file of CoNLL-U Plus names its own.
_OWN_COLUMNS = "# global.columns ="

#: Ids of ranges (1-2, several words written as one) and of empty nodes (1.1), which are no words.
_NO_WORD = re.compile(r"[0-9]+[-.][0-9]+")


#: A line's number, and its columns.
_Line = tuple[int, list[str]]


@dataclass(frozen=True)
class _Form:
    """How the lines of a file are read.

    Attributes:
        columns: their names; None: they are read by number.
        separator: between columns; None: white space.
        comment: how a comment begins; None: there are none.
        universal: an underscore means that there is nothing.
    """

    columns: tuple[str, ...] | None
    separator: str | None
    comment: str | None
    universal: bool

    def cells(self, text: str) -> list[str]:
        """The columns of a line."""
        if self.separator is None:
            return _COLUMN_SPACE.split(text.strip(_WHITE))
        return [cell.strip(_WHITE) for cell in text.split(self.separator)]


def read_conll(source: Source) -> Iterator[Row]:
    """Yields the sentences of a file, each column a list.

    A sentence whose lines differ in their number of columns, or have others than are named, is
    broken: its words would be taken for tags.
    """
    form = _form(source)
    sentence: list[_Line] = []
    for number, line in numbered_lines(source):
        text = line.strip("\r\n")
        if form.universal and text.startswith(_OWN_COLUMNS):
            form = replace(form, columns=tuple(text[len(_OWN_COLUMNS) :].lower().split()))
        cells = form.cells(text)
        if _DOCUMENT_START in cells or not text.strip(_WHITE):
            yield from _sentence(source, form, sentence)
            sentence = []
        elif not (form.comment and text.startswith(form.comment)):
            sentence.append((number, cells))
    yield from _sentence(source, form, sentence)


def _form(source: Source) -> _Form:
    config, columns = source.config, source.columns
    if config.file_format(source.name) == "conllu":
        comment = "#" if config.comment is None else config.comment
        return _Form(columns or _UNIVERSAL, config.separator or "\t", comment, universal=True)
    if columns is None and not source.numbers:
        columns = ("tokens", "labels")
    return _Form(columns, config.separator, config.comment, universal=False)


def _words(source: Source, form: _Form, lines: list[_Line]) -> list[_Line]:
    """The lines that are words, by their ids: a column `id`, or a first one of whole numbers."""
    names, used = form.columns or (), source.used
    place = names.index("id") if "id" in names else 0
    ids = [cells[place] if place < len(cells) else "" for _, cells in lines]
    counted = place == 0 and not {0, *names[:1]} & {*used} and any(each.isdigit() for each in ids)
    if not counted and "id" not in names:
        return lines
    return [line for line, each in zip(lines, ids, strict=True) if not _NO_WORD.fullmatch(each)]


def _sentence(source: Source, form: _Form, lines: list[_Line]) -> Iterator[Row]:
    lines = _words(source, form, lines)
    if not lines:
        return
    names, width = form.columns, len(lines[0][1])
    if names is not None and width == len(names) - 1 and names[-1] in source.used:
        names = names[:-1]  # a test file without labels; elsewhere they are said to be missing
    wrong = _ragged(lines) or _misnamed(names, lines)
    if wrong:
        yield f"{source.name}, line {wrong[0]}", BadRow(f"{wrong[1]}; {_HINT}")
        return
    columns = [[cells[place] for _, cells in lines] for place in range(width)]
    if form.universal:
        spelt = [name in ("form", "lemma") for name in form.columns or ()]
        columns = [
            column if own else _given(column) for column, own in zip(columns, spelt, strict=False)
        ]
    row = Sentence(zip(names or (), columns, strict=False))
    row |= {number: columns[number] for number in source.numbers if -width <= number < width}
    row.file, row.lines = source.name, [number for number, _ in lines]
    tokens = row.get(source.tokens, [])
    if "" in tokens:
        yield f"{source.name}, line {row.lines[tokens.index('')]}", BadRow("the word is empty")
        return
    yield f"{source.name}, line {row.lines[0]}", row


def _ragged(lines: list[_Line]) -> tuple[int, str] | None:
    """The first line that has not as many columns as most, and what is wrong with it."""
    widths = Counter(len(cells) for _, cells in lines)
    ((width, _), *others) = widths.most_common()
    if not others:
        return None
    number, cells = next(line for line in lines if len(line[1]) != width)
    return number, f"{_shown(cells)}, where other lines of its sentence have {width}"


def _misnamed(names: tuple[str, ...] | None, lines: list[_Line]) -> tuple[int, str] | None:
    """The first line where it has not as many columns as are named, and what is wrong with it."""
    number, cells = lines[0]
    if names is None or len(cells) == len(names):
        return None
    named = f"{len(names)} are named ({', '.join(names)})"
    hint = "name each in 'columns', or say numbers in 'fields'"
    return number, f"{_shown(cells)}, {named}; {hint}"


_HINT: Final = "comment lines begin with 'comment', columns with spaces in them need 'separator'"


def _shown(cells: list[str]) -> str:
    count = f"{len(cells)} column{'s' if len(cells) > 1 else ''}"
    return f"{count} ({' | '.join(cells[:12])}{' | ...' if len(cells) > 12 else ''})"


def _given(cells: list[str]) -> list[str]:
    """Cells of CoNLL-U, in which an underscore is no label."""
    return [IGNORED if cell == "_" else cell for cell in cells]
