"""A first look at text: CoNLL columns, and lines that hold a label and a text."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradts_plugin.tasks.formats.rows import Source, numbered_lines
from gradts_plugin.tasks.spans import span_tags
from gradts_plugin.tasks.starting.columns import Column, is_number
from gradts_plugin.tasks.starting.guessing import Guess, tagging_guess
from gradts_plugin.tasks.starting.peeking import looking

_WORDS = re.compile(r"[ \t\f\v]+")
_DOCUMENT_START: Final = "-DOCSTART-"
_FASTTEXT: Final = "__label__"
_LOOKED_AT: Final = 300_000


@dataclass(frozen=True)
class TextGuess:
    """What a text file is taken for.

    Attributes:
        form: keys of a task config that say how it is read.
        guess: the task.
    """

    form: dict[str, Any]
    guess: Guess


def lines_of(path: Path, encoding: Mapping[str, str]) -> list[str]:
    """The first lines of a file, without their ends."""
    config = looking(path, {"format": "lines", **encoding})
    found = numbered_lines(Source(config, "train", str(path), None))
    return [line.rstrip("\r\n") for _, line in itertools.islice(found, _LOOKED_AT)]


# --- CoNLL ----------------------------------------------------------------------------------------


def guess_conll(lines: Sequence[str], *, sure: bool) -> TextGuess | None:
    """Takes lines for words with their tags, a blank line between sentences.

    Args:
        lines: of a file.
        sure: whether the file's name says that it is one.

    Returns:
        None where they are none.
    """
    kept = [line for line in lines if line.strip() and _DOCUMENT_START not in line]
    words = [line for line in kept if not line.startswith("#")]
    if not words:
        return None
    tabbed = sum("\t" in line for line in words) > 0.9 * len(words)
    rows = [_cells(line, tabbed=tabbed) for line in words]
    widths = Counter(map(len, rows))
    width, count = widths.most_common(1)[0]
    ragged = count < len(rows)
    if width < 2 or not (sure or _is_conll(lines, rows, share=count / len(rows))):
        return None
    form: dict[str, Any] = {"separator": "\t"} if tabbed else {}
    comment = _comment(kept, width, {row[-1] for row in rows}, tabbed=tabbed)
    form |= {"comment": comment} if comment else {}
    columns = list(zip(*(row[: min(widths)] for row in rows), strict=False))
    return _columns_guess(form, columns, ragged=ragged)


def _cells(line: str, *, tabbed: bool) -> list[str]:
    return [cell.strip() for cell in line.split("\t")] if tabbed else _WORDS.split(line.strip())


def _is_conll(lines: Sequence[str], rows: Sequence[Sequence[str]], *, share: float) -> bool:
    last = len(lines)
    while last and not lines[last - 1].strip():
        last -= 1
    apart = any(not line.strip() for line in lines[:last]) or _counted([row[0] for row in rows])
    return apart and share > 0.95 and not any(" " in cell for row in rows for cell in row)


def _counted(cells: Sequence[str]) -> bool:
    """Whether a column counts the words of each sentence, from 1 (CoNLL-2012: from 0)."""
    first = cells[0]
    return first in ("0", "1") and all(
        cell == first or (cell.isdigit() and before.isdigit() and int(cell) == int(before) + 1)
        for before, cell in itertools.pairwise(cells)
    )


def _comment(lines: Sequence[str], width: int, tags: set[str], *, tabbed: bool) -> str | None:
    """How comments begin; `#` may also be a word."""
    marked = [line for line in lines if line.startswith("#")]
    odd = [
        line
        for line in marked
        for cells in [_cells(line, tabbed=tabbed)]
        if len(cells) != width or cells[-1] not in tags
    ]
    if not odd:
        return None
    if len(odd) == len(marked):
        return "#"
    first, last = min(odd), max(odd)
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    start = "".join(letter for letter, _ in same)
    return start if not any(line.startswith(start) for line in {*marked} - {*odd}) else "#"


def _columns_guess(
    form: dict[str, Any], columns: Sequence[Sequence[str]], *, ragged: bool
) -> TextGuess | None:
    """Names the columns, or says their numbers where some lines have more."""
    counted = next((place for place, cells in enumerate(columns) if _counted(cells)), None)
    words = 0
    while words < len(columns) - 1 and (words == counted or _is_no_word(columns, words)):
        words += 1
    after = range(words + 1, len(columns))
    if not after:
        return None
    spans = [place for place in after if _marks_spans({*columns[place]})]
    varied = [place for place in after if len({*columns[place]}) > 1] or [*after]
    # Nested tags follow in numbered files; elsewhere tags stand last.
    plain = varied[0] if ragged else varied[-1]
    tags = plain if not spans else spans[0] if counted is not None else spans[-1]
    tokens_field: int | str = words
    tags_field: int | str = tags
    others = [f"column {place}" for place in varied if place != tags]
    if ragged:
        form |= {"fields": {"tokens": words, "labels": tags}}
    else:
        names = [f"column{place}" for place in range(len(columns))]
        names[words], names[tags] = "tokens", "labels"
        if counted is not None:
            names[counted] = "id"
        tokens_field, tags_field = "tokens", "labels"
        others = [f"column{place}" for place in varied if place != tags]
        form |= {} if names == ["tokens", "labels"] else {"columns": names}
    guess = tagging_guess(tokens_field, tags_field, {*columns[tags]}, others)
    return TextGuess(form, guess)


def _is_no_word(columns: Sequence[Sequence[str]], place: int) -> bool:
    """A column of document names or numbers, before the words."""
    cells = columns[place]
    constant = len({*cells}) == 1 and len(cells) > 1 and len(columns) > 3
    return constant or all(is_number(cell) for cell in cells)


def _marks_spans(tags: set[str]) -> bool:
    marked = tags - {"_"}
    found = span_tags(sorted(marked))
    letters = marked <= {*"BIESLUMWO"}
    return (
        bool(found)
        and {*found} >= marked
        and (marked - {"O"} != set())
        and (any(len(tag) > 1 for tag in marked) or letters)
    )


# --- lines ----------------------------------------------------------------------------------------


def guess_lines(lines: Sequence[str]) -> TextGuess | None:
    """Takes lines for texts with a label before or behind them; None where they are none."""
    kept = [line for line in lines if line.strip()]
    firsts = [line.split(" ", maxsplit=1) for line in kept]
    if kept and all(len(parts) == 2 for parts in firsts):
        labels = Column("label", [parts[0] for parts in firsts], len(kept))
        if all(label.startswith(_FASTTEXT) for label in labels.values):
            names = sorted({*labels.values})
            mapped = {name: name.removeprefix(_FASTTEXT) for name in names}
            form: dict[str, Any] = {"split": _before(), "label_map": mapped}
            return _lines_guess(form, f"lines begin with {_FASTTEXT}")
        if all(re.fullmatch(r"\w+:\w+", label) for label in labels.values):
            fine = {"field": "label", "separator": ":", "into": ["label", "fine"]}
            form = {"split": [_before(), fine]}
            return _lines_guess(form, "lines begin with a class, and a finer one after ':'")
        if _are_labels(labels):
            return _lines_guess({"split": _before()}, "lines begin with one of few words")
    lasts = [line.rsplit("\t", maxsplit=1) for line in kept]
    if kept and all(len(parts) == 2 for parts in lasts):
        labels = Column("label", [parts[1] for parts in lasts], len(kept))
        if _are_labels(labels):
            form = {"split": {"separator": "\t", "into": ["text_a", "label"], "from_end": True}}
            return _lines_guess(form, "lines end in one of few words, behind a tab")
    return None


def _before() -> dict[str, Any]:
    return {"separator": " ", "into": ["label", "text_a"]}


def _are_labels(column: Column) -> bool:
    """Whether words are labels: the same few, again and again."""
    if column.distinct < 2:
        return False
    return column.known_labels or (
        column.distinct <= 50 and column.distinct <= len(column.values) / 4
    )


def _lines_guess(form: dict[str, Any], why: str) -> TextGuess:
    reasons = (f"single: {why}", "accuracy: the usual metric of classes")
    return TextGuess(
        form, Guess("single", {"text_a": "text_a", "label": "label"}, "accuracy", reasons)
    )
