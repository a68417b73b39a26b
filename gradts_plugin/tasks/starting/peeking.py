"""A first look at a file: its form, and rows of it, read by the readers that runs use."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gradts_plugin.errors import ConfigError, DataError
from gradts_plugin.tasks.formats.rows import BadRow, Source, read_bytes
from gradts_plugin.tasks.formats.table import table_cells
from gradts_plugin.tasks.kinds import COMPRESSED, SUFFIXES, Format
from gradts_plugin.tasks.reading import READERS
from gradts_plugin.tasks.starting.columns import is_name, is_number
from gradts_plugin.tasks.task_configs import TaskConfig, parse_task_config

#: Rows of a file that are looked at.
_LOOKED_AT: Final = 100_000

#: More broken rows than this share are no accident.
FEW: Final = 0.05

#: No column is called so: readers that leave out what nobody asks for leave out nothing.
NO_COLUMN: Final = "(every column)"

#: Form of a table: format, separator.
_Form = tuple[Format, str]

_TABLES: Final[Mapping[str, tuple[_Form, ...]]] = {
    "csv": (("csv", ","), ("csv", ";"), ("tsv", "\t"), ("csv", "|")),
    "tsv": (("tsv", "\t"), ("csv", ","), ("csv", ";"), ("csv", "|")),
}


@dataclass(frozen=True)
class Peek:
    """A file as it was looked at.

    Attributes:
        form: keys of a task config that say how it is read.
        rows: by the names of their columns, or by numbers where nothing names them.
        header: names of the columns where the file has them in its first line; None: it has not.
        width: number of columns of a table.
        reasons: what was seen, a line each.
    """

    form: dict[str, Any]
    rows: Sequence[Mapping[Any, Any]]
    header: tuple[str, ...] | None = None
    width: int = 0
    reasons: tuple[str, ...] = field(default=())


def suffix_format(path: Path) -> Format | None:
    """The format by a file's suffix; None where that says nothing."""
    name = Path(path.name.lower())
    suffix = (name.with_suffix("") if name.suffix in COMPRESSED else name).suffix
    return SUFFIXES.get(suffix)


def looking(path: Path, form: Mapping[str, Any], kind: str = "single") -> TaskConfig:
    """A config that reads all columns of a file, by number where it is a table."""
    by_number = form.get("format") in ("csv", "tsv", "conll", "conllu")
    name = 0 if by_number else NO_COLUMN
    roles = ("tokens", "labels") if kind == "tagging" else ("text_a", "label")
    values = {
        "name": "look",
        "kind": kind,
        "metric": "accuracy",
        "paths": {"train": str(path), "val": str(path)},
        "fields": {} if kind == "tagging" else dict.fromkeys(roles, name),
        **form,
    }
    return parse_task_config(values, where=str(path))


def encoding_of(path: Path) -> dict[str, str]:
    """The key `encoding`, where a file needs one.

    Raises:
        DataError: it cannot be read.
    """
    raw = read_bytes(str(path))
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return {}
    zeros = [raw[side:1000:2].count(0) / len(raw[side:1000:2] or b".") for side in (0, 1)]
    if max(zeros) > 0.4 and min(zeros) < 0.1:  # letters of most of Europe have an empty half
        return {"encoding": "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"}
    for encoding in ("utf-8", "cp1252"):
        try:
            raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        return {} if encoding == "utf-8" else {"encoding": encoding}
    return {"encoding": "latin-1"}


def read_rows(path: Path, form: Mapping[str, Any]) -> list[Mapping[Any, Any]]:
    """The first rows of a file whose rows name their fields.

    Raises:
        DataError: it cannot be read, or has no rows.
    """
    config = looking(path, form)
    source = Source(config, "train", str(path), None)
    return checked_rows(READERS[config.file_format(str(path))](source), str(path))


def checked_rows(found: Iterator[tuple[str, Any]], where: str) -> list[Mapping[Any, Any]]:
    """The first of some rows, those that are broken left out.

    Raises:
        DataError: there is none.
    """
    seen = list(itertools.islice(found, _LOOKED_AT))
    rows = [row for _, row in seen if not isinstance(row, BadRow)]
    if not rows:
        if seen:
            place, bad = seen[0]
            raise DataError(f"{place}: {bad.problem}")
        raise DataError(f"{where}: is empty")
    return rows


# --- tables ---------------------------------------------------------------------------------------


def peek_table(path: Path, expected: Format, encoding: Mapping[str, str]) -> Peek | None:
    """Looks at a table; None where the lines of a file have no columns.

    Args:
        path: the file.
        expected: csv or tsv, by its suffix.
        encoding: from `encoding_of`.

    Raises:
        DataError: it is empty, or no separator divides it into columns; says which were tried.
    """
    tried: list[tuple[float, int, _Form, list[list[str]]]] = []
    problem = ""
    for place, form in enumerate(_TABLES[expected]):
        try:
            rows = _cells(path, form, encoding)
        except (DataError, ConfigError) as error:
            problem = problem or str(error)
            continue
        regular = _regularity(rows, open_ended=form[1] == "\t")
        if regular:
            tried.append((regular, -place, form, rows))
    if not tried:
        if problem:
            raise DataError(problem)
        if not read_bytes(str(path)).strip():
            raise DataError(f"{path}: is empty")
        return None
    good = [found for found in tried if found[0] > 0.9] or tried
    form, rows = max(good, key=lambda found: (found[0] > 0.9 and found[1], found[0]))[2:]
    if form == ("tsv", "\t") and _are_quoted(rows):
        form = ("csv", "\t")
        rows = _cells(path, form, encoding)
    return _table(form, rows, {**_written(form, path), **encoding})


def _written(form: _Form, path: Path) -> dict[str, Any]:
    """A form as keys, where they are not those of the suffix."""
    usual = {"csv": ",", "tsv": "\t"}
    keys: dict[str, Any] = {} if suffix_format(path) == form[0] else {"format": form[0]}
    return keys if usual[form[0]] == form[1] else {**keys, "separator": form[1]}


def _cells(path: Path, form: _Form, encoding: Mapping[str, str]) -> list[list[str]]:
    config = looking(path, {"format": form[0], "separator": form[1], **encoding})
    _, _, rows = table_cells(Source(config, "train", str(path), None))
    whole: list[list[str]] = []
    broken: list[str] = []
    for number, values in itertools.islice(rows, _LOOKED_AT):
        if isinstance(values, BadRow):
            broken.append(f"{path}, line {number}: {values.problem}")
        else:
            whole.append(values)
    if len(broken) > FEW * (len(whole) + len(broken)):
        raise DataError(broken[0])
    return whole


def _regularity(rows: Sequence[Sequence[str]], *, open_ended: bool) -> float:
    """Share of rows that have as many columns as most; 0 where that is one."""
    widths = Counter(len(row) for row in rows[1:] or rows)
    if not widths:
        return 0.0
    if open_ended and min(widths) > 1:
        return 1.0
    width, count = widths.most_common(1)[0]
    return count / widths.total() if width > 1 else 0.0


def _are_quoted(rows: Sequence[Sequence[str]]) -> bool:
    """Whether most rows have a cell in quotation marks."""
    quoted = sum(any(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in row) for row in rows)
    return quoted > len(rows) / 2


def _table(form: _Form, rows: Sequence[list[str]], keys: dict[str, Any]) -> Peek:
    widths = Counter(len(row) for row in rows[1:] or rows)
    width = min(widths) if form[1] == "\t" else widths.most_common(1)[0][0]
    reasons = []
    if "separator" in keys or "format" in keys:
        reasons.append(f"columns are apart by {_SPELT.get(form[1], repr(form[1]))}")
    if len(rows) > 1 and len(rows[0]) == width - 1 and _has_header(rows[0], rows[1:], shift=1):
        # As R writes tables: the header is one name short.
        names = ("row", *(cell.strip() for cell in rows[0]))
        keys |= {"columns": list(names), "skip_rows": 1}
        reasons.append("the header line is one name short, the first column has row numbers")
        return Peek(keys, _named(names, rows[1:]), None, width, tuple(reasons))
    if _has_header(rows[0], rows[1:]):
        names = tuple(cell.strip() for cell in rows[0])
        return Peek(keys, _named(names, rows[1:]), names, width, tuple(reasons))
    width = min(map(len, rows)) if form[1] == "\t" else width
    reasons.append("the first line names no columns")
    return Peek(keys, _named(range(width), rows), None, width, tuple(reasons))


_SPELT: Final = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}


def _named(names: Any, rows: Sequence[list[str]]) -> list[Mapping[Any, Any]]:
    return [dict(zip(names, row, strict=False)) for row in rows]


def _has_header(first: Sequence[str], rest: Sequence[Sequence[str]], shift: int = 0) -> bool:
    """Whether the first line names the columns."""
    if any(is_name(cell) for cell in first if cell.strip()):
        return True
    for place, cell in enumerate(first):
        below = [row[place + shift] for row in rest if len(row) > place + shift]
        if not below or not any(letter.isalpha() for letter in cell):
            continue
        if len(below) > 1 and all(is_number(value) for value in below):
            return True
        # A name is short where all below are sentences.
        lengths = [len(value.split()) for value in below]
        if len(cell.split()) == 1 and len(below) > 2 and min(lengths) >= 4:
            return True
    return False
