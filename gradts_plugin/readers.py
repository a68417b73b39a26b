"""Reads the examples of a custom task: JSON Lines, CSV and TSV, CoNLL columns, `datasets`.

Rows of every format become one plain record, `Example`. Whatever is wrong with the data is
said with file and line.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from gradts_plugin.errors import ConfigError, DataError, nearest
from gradts_plugin.task_configs import (
    DatasetSource,
    Split,
    TaskConfig,
    label_name,
    settled_paths,
)

#: A row as it was read, with its place for error messages: (place, row).
Row = tuple[str, Mapping[str, Any]]

_DEFAULT_SEPARATORS = {"csv": ",", "tsv": "\t", "conll": None}
_BYTE_ORDER_MARK = "\ufeff"
#: First token of CoNLL-2003's document separators, which are no sentences.
_DOCUMENT_START = "-DOCSTART-"
#: White space between CoNLL columns. A no-break space or an ideographic one belongs to its word.
_COLUMN_SPACE = re.compile(r"[ \t\f\v]+")


@dataclass(frozen=True)
class Example:
    """One instance of a task; what its kind does not have stays empty.

    Attributes:
        index: position in its split, counted before sampling.
        text_a: the text.
        text_b: the second text, or None.
        label: a label's name, a regression score, the position of the right choice; None where an
            unlabelled test split has none.
        tokens: words of a tagging example.
        labels: one label per word; empty where an unlabelled test split has none.
        choices: texts of the choices of a multiple-choice example.
    """

    index: int
    text_a: str = ""
    text_b: str | None = None
    label: str | float | int | None = None
    tokens: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()


def read_examples(
    config: TaskConfig,
    split: Split,
    data_folder: Path,
    *,
    labels: tuple[str, ...] | None = None,
) -> list[Example]:
    """Reads one split of a task.

    Args:
        config: the task.
        split: train, val or test. Only test rows may lack their labels, and only train rows are
            sampled down to `config.max_train_examples`.
        data_folder: where relative paths of the config start.
        labels: what `task_labels` answered, where that is known; None: it is asked.

    Returns:
        The examples in the order of the data.

    Raises:
        ConfigError: the config names no such split.
        DataError: a file or dataset is missing, empty, malformed, or contradicts the config.
    """
    if labels is None:
        labels = task_labels(config, data_folder)
    examples = _parsed(config, split, data_folder, labels)
    limit = config.max_train_examples
    if split != "train" or limit is None or limit >= len(examples):
        return examples
    chosen = random.Random(config.sample_seed).sample(range(len(examples)), limit)  # noqa: S311
    return [examples[position] for position in sorted(chosen)]


def task_labels(config: TaskConfig, data_folder: Path) -> tuple[str, ...]:
    """The labels of a task in the order of their ids.

    Args:
        config: the task.
        data_folder: where relative paths of the config start.

    Returns:
        What the config lists; else the sorted labels of the whole training split; for multiple
        choice the positions of the choices ("0", "1", ...); for regression nothing.

    Raises:
        DataError: the training split cannot be read, or has fewer than two labels.
    """
    if config.kind == "regression":
        return ()
    if not isinstance(config.labels, str):
        return config.labels
    names = config.field_names(from_dataset=_reads_dataset(config, data_folder))
    if config.kind == "multiple_choice" and not isinstance(names["choices"], str):
        return _positions(len(names["choices"]))
    examples = _parsed(config, "train", data_folder, labels=None)
    if config.kind == "multiple_choice":
        return _positions(len(examples[0].choices))
    if config.kind == "tagging":
        found = sorted({label for example in examples for label in example.labels})
    else:
        found = sorted({str(example.label) for example in examples})
    if len(found) < 2:
        raise DataError(
            f"{_describe(config, 'train', data_folder)}: every row has the label {found[0]!r}; "
            "a task needs at least two"
        )
    if config.positive_label is not None and config.positive_label not in found:
        raise ConfigError(
            f"task {config.name!r}: positive_label {config.positive_label!r} is no label of the "
            f"training split; {nearest(config.positive_label, found)}"
        )
    return tuple(found)


def _positions(count: int) -> tuple[str, ...]:
    return tuple(str(position) for position in range(count))


# --- rows of each format -------------------------------------------------------------------------


def _reads_dataset(config: TaskConfig, data_folder: Path) -> bool:
    return settled_paths(config, data_folder).paths is None


def _describe(config: TaskConfig, split: Split, data_folder: Path) -> str:
    """The place of a split, for error messages."""
    settled = settled_paths(config, data_folder)
    if settled.paths is not None:
        return str(getattr(settled.paths, split))
    if settled.dataset is None:  # the config's own check has seen to it
        return f"task {config.name!r}"
    source, name = settled.dataset, settled.dataset.name
    subset = f" ({name})" if name else ""
    return f"dataset {source.path}{subset}, split {getattr(source.splits, split)!r}"


def _rows(config: TaskConfig, split: Split, data_folder: Path) -> Iterator[Row]:
    settled = settled_paths(config, data_folder)
    source = settled.paths or (settled.dataset and settled.dataset.splits)
    if source is None or getattr(source, split) is None:
        raise ConfigError(f"task {config.name!r} names no {split} split")
    if settled.dataset is not None:
        return _dataset_rows(settled, settled.dataset, split)
    path = Path(getattr(source, split))
    try:
        file_format = config.file_format(str(path))
    except ValueError as error:
        raise ConfigError(f"task {config.name!r}: {error}") from error
    return _FORMATS[file_format](config, path)


def _lines(path: Path) -> Iterator[str]:
    """Decoded lines of a UTF-8 file, without a byte order mark."""
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                line = raw.decode("utf-8")
                yield line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: is not UTF-8 text") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


def _json_rows(config: TaskConfig, path: Path) -> Iterator[Row]:
    del config
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:  # also endless nesting and endless numbers
            raise DataError(f"{place}: broken JSON: {getattr(error, 'msg', error)}") from error
        if not isinstance(row, dict):
            raise DataError(f"{place}: expected a JSON object, found {type(row).__name__}")
        yield place, row


def _table_rows(config: TaskConfig, path: Path) -> Iterator[Row]:
    # In tsv files a quotation mark is an ordinary character (as in GLUE's files); in csv files it
    # quotes. A quoted tab-separated file is a csv file with another separator.
    file_format = config.file_format(str(path))
    reader = csv.reader(
        _lines(path),
        delimiter=config.separator or _DEFAULT_SEPARATORS[file_format] or ",",
        quoting=csv.QUOTE_NONE if file_format == "tsv" else csv.QUOTE_MINIMAL,
        strict=True,
    )
    columns: Sequence[str] | None = config.columns
    start = 1  # a quoted row can span lines; it is named by its first
    try:
        for values in reader:
            place = f"{path}, line {start}"
            start = reader.line_num + 1
            if not values:
                continue
            if columns is None:
                columns = values
                _check_header(columns, place)
                continue
            if len(values) != len(columns):
                raise DataError(
                    f"{place}: {len(values)} columns, {len(columns)} are expected "
                    f"({', '.join(columns)})"
                )
            yield place, dict(zip(columns, values, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}, line {start}: broken CSV: {error}") from error


def _check_header(columns: Sequence[str], place: str) -> None:
    repeated = [name for name in columns if columns.count(name) > 1]
    if repeated:
        raise DataError(f"{place}: column {repeated[0]!r} appears twice in the header")


def _conll_rows(config: TaskConfig, path: Path) -> Iterator[Row]:
    """Sentences: one word per line, columns apart, a blank line between sentences."""
    columns = config.columns or ("tokens", "labels")
    sentence: list[list[str]] = []
    start = 1
    for number, line in enumerate(_lines(path), start=1):
        text = line.rstrip("\r\n")
        if not text.strip(" \t\f\v") or text.lstrip(" \t").startswith(_DOCUMENT_START):
            yield from _sentence(sentence, columns, f"{path}, line {start}")
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
                f"{path}, line {number}: {len(values)} columns, at least {len(columns)} are "
                f"expected ({', '.join(columns)})"
            )
        if not sentence:
            start = number
        sentence.append(values)
    yield from _sentence(sentence, columns, f"{path}, line {start}")


def _sentence(lines: list[list[str]], columns: Sequence[str], place: str) -> Iterator[Row]:
    if lines:
        yield (
            place,
            {name: [values[i] for values in lines] for i, name in enumerate(columns)},
        )


_FORMATS: Mapping[str, Callable[[TaskConfig, Path], Iterator[Row]]] = {
    "jsonl": _json_rows,
    "csv": _table_rows,
    "tsv": _table_rows,
    "conll": _conll_rows,
}


# --- datasets ---------------------------------------------------------------------------------


def _dataset_rows(config: TaskConfig, source: DatasetSource, split: Split) -> Iterator[Row]:
    dataset = load_dataset_split(source, getattr(source.splits, split))
    subset = f" ({source.name})" if source.name else ""
    place = f"dataset {source.path}{subset}, split {getattr(source.splits, split)!r}"
    names = config.field_names(from_dataset=True)
    wanted = {
        field.split(".")[0] if field not in dataset.column_names else field
        for name in names.values()
        for field in ([name] if isinstance(name, str) else name)
    }
    if wanted <= set(dataset.column_names):
        # Columns nobody asked for (images, sound) are expensive to decode.
        dataset = dataset.select_columns(sorted(wanted))
    for number, row in enumerate(dataset):
        named = {
            column: _class_names(value, dataset.features[column]) for column, value in row.items()
        }
        yield f"{place}, row {number}", named


def load_dataset_split(source: DatasetSource, split: str) -> Any:
    """One split of a dataset, from a folder saved by `datasets`, a folder of files, or the hub.

    Raises:
        DataError: there is no such dataset or split, or the hub cannot be reached.
    """
    import datasets  # takes seconds to import, and most tasks are files

    folder = Path(source.path)
    with _dataset_errors(source):
        if (folder / "dataset_dict.json").is_file():
            saved = datasets.load_from_disk(str(folder))
            if split not in saved:
                raise DataError(f"dataset {folder}: no split {split!r}; {nearest(split, saved)}")
            return saved[split]
        return datasets.load_dataset(
            source.path, source.name, split=split, revision=source.revision
        )


def dataset_split_names(source: DatasetSource) -> tuple[str, ...]:
    """The splits that a dataset has; see `load_dataset_split`."""
    import datasets

    saved = Path(source.path) / "dataset_dict.json"
    with _dataset_errors(source):
        if saved.is_file():
            return tuple(json.loads(saved.read_text(encoding="utf-8"))["splits"])
        return tuple(
            datasets.get_dataset_split_names(source.path, source.name, revision=source.revision)
        )


@contextlib.contextmanager
def _dataset_errors(source: DatasetSource) -> Iterator[None]:
    """Says in one line what `datasets` could not do."""
    # What they log on the way to an error (each retry is a line) says less than the error.
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    except DataError:
        raise
    except ConnectionError as error:
        raise DataError(
            f"dataset {source.path}: no such folder, and the hub cannot be reached; "
            "give a local folder or files"
        ) from error
    except Exception as error:  # whatever its many loaders raise is about the data
        # Of a broken file `datasets` itself says only that the dataset was not made.
        reason = error.__cause__ if error.__cause__ is not None else error
        first_line = (str(reason).splitlines() or [type(reason).__name__])[0]
        raise DataError(f"dataset {source.path} cannot be loaded: {first_line}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _class_names(value: Any, feature: Any) -> Any:
    """Names instead of class numbers, where the dataset knows them; -1 means unlabelled."""
    if isinstance(value, list):
        inner = getattr(feature, "feature", None)
        return [_class_names(item, inner) for item in value]
    names = getattr(feature, "names", None)
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else None


# --- from rows to examples ----------------------------------------------------------------------


def _parsed(
    config: TaskConfig, split: Split, data_folder: Path, labels: tuple[str, ...] | None
) -> list[Example]:
    """Examples of a split; labels None: they are not known yet, any will do."""
    names = config.field_names(from_dataset=_reads_dataset(config, data_folder))
    parser = _RowParser(config, names, labels, unlabelled=split == "test")
    examples = [
        parser.example(index, place, row)
        for index, (place, row) in enumerate(_rows(config, split, data_folder))
    ]
    if not examples:
        raise DataError(f"{_describe(config, split, data_folder)}: the {split} split is empty")
    return examples


@dataclass(frozen=True)
class _RowParser:
    """Checks rows of one task and turns them into examples."""

    config: TaskConfig
    names: Mapping[str, str | tuple[str, ...]]
    labels: tuple[str, ...] | None
    unlabelled: bool

    def example(self, index: int, place: str, row: Mapping[str, Any]) -> Example:
        if self.config.kind == "tagging":
            return self._tagging_example(index, place, row)
        text_b = self._text(row, "text_b", place) if "text_b" in self.names else None
        choices: tuple[str, ...] = ()
        if self.config.kind == "multiple_choice":
            choices = self._choices(row, place)
        value = self._value(row, "label", place, optional=self.unlabelled)
        return Example(
            index=index,
            text_a=self._text(row, "text_a", place),
            text_b=text_b,
            label=None if value is None else self._label(value, choices, place),
            choices=choices,
        )

    def _tagging_example(self, index: int, place: str, row: Mapping[str, Any]) -> Example:
        tokens = self._texts(row, "tokens", place)
        if not tokens:
            _fail(place, f"field {self.names['tokens']!r} has no words")
        value = self._value(row, "labels", place, optional=self.unlabelled)
        if value is None:
            return Example(index=index, tokens=tokens)
        if not isinstance(value, list):
            _fail(place, f"field {self.names['labels']!r} is no list but {value!r:.60}")
        if len(value) != len(tokens):
            _fail(place, f"{len(tokens)} words, but {len(value)} labels")
        labels = tuple(self._class_label(item, place) for item in value)
        return Example(index=index, tokens=tokens, labels=labels)

    def _value(
        self, row: Mapping[str, Any], role: str, place: str, *, optional: bool = False
    ) -> Any:
        name = self.names[role]
        if not isinstance(name, str):
            return [_lookup(row, one, place) for one in name]
        value = _lookup(row, name, place, optional=optional)
        missing = value is None or (role == "label" and self._is_no_label(value))
        if missing and not optional:
            _fail(place, f"field {name!r} is {'empty' if value == '' else 'null'}")
        return None if missing else value

    def _is_no_label(self, value: Any) -> bool:
        """True for what tables have where there is no label: an empty cell, or NaN."""
        empty = isinstance(value, str) and not value.strip() and value not in self.config.label_map
        return empty or (isinstance(value, float) and math.isnan(value))

    def _text(self, row: Mapping[str, Any], role: str, place: str) -> str:
        value = self._value(row, role, place)
        if not isinstance(value, str):
            _fail(place, f"field {self.names[role]!r} is no text but {value!r:.60}")
        return _whole(value, place)

    def _texts(self, row: Mapping[str, Any], role: str, place: str) -> tuple[str, ...]:
        value = self._value(row, role, place)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            _fail(place, f"field {self.names[role]!r} is no list of texts but {value!r:.60}")
        return tuple(_whole(item, place) for item in value)

    def _choices(self, row: Mapping[str, Any], place: str) -> tuple[str, ...]:
        choices = self._texts(row, "choices", place)
        if len(choices) < 2:
            _fail(place, f"{len(choices)} choices, at least two are needed")
        if self.labels is not None and len(choices) != len(self.labels):
            _fail(place, f"{len(choices)} choices, the task has {len(self.labels)}")
        return choices

    def _label(self, value: Any, choices: tuple[str, ...], place: str) -> str | float | int:
        if self.config.kind == "regression":
            return self._score(value, place)
        if self.config.kind == "multiple_choice":
            return self._right_choice(value, choices, place)
        return self._class_label(value, place)

    def _class_label(self, value: Any, place: str) -> str:
        name = self._named(value, place)
        if self.labels is not None and name not in self.labels:
            origin = "the training split" if self.config.labels == "infer" else "the task config"
            _fail(place, f"label {name!r} is not in {origin}; {nearest(name, self.labels)}")
        return name

    def _named(self, value: Any, place: str) -> str:
        try:
            name = label_name(value)
        except ValueError as error:
            _fail(place, f"{error}: {value!r:.60}")
        _whole(name, place)
        return self.config.label_map.get(name, name)

    def _score(self, value: Any, place: str) -> float:
        try:
            score = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            _fail(place, f"field {self.names['label']!r} is no finite number but {value!r:.60}")
        return score

    def _right_choice(self, value: Any, choices: tuple[str, ...], place: str) -> int:
        """Position of the right choice, from its name, text, number or letter."""
        name = self._named(value, place)
        if not isinstance(self.config.labels, str):
            if name not in self.config.labels:
                _fail(place, f"unknown label {name!r}; {nearest(name, self.config.labels)}")
            return self.config.labels.index(name)
        letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)])
        readings = {
            names.index(name)
            for names in (choices, _positions(len(choices)), letters)
            if name in names and (names is choices or self.config.labels == "infer")
        }
        if isinstance(value, int) and name in _positions(len(choices)):
            # A JSON number counts the choices, even where a choice is a number.
            readings = {int(name)} if self.config.labels == "infer" else readings
        if not readings:
            _fail(place, f"label {name!r} is none of the choices, nor their number or letter")
        if len(readings) > 1:
            _fail(
                place,
                f"label {name!r} can mean more than one choice; set labels to 'text' or to the "
                "names of the choices in their order",
            )
        return readings.pop()


def _lookup(row: Mapping[str, Any], name: str, place: str, *, optional: bool = False) -> Any:
    """A field's value; a dot leads into nested objects."""
    if name in row:
        return row[name]
    outer, dot, inner = name.partition(".")
    if dot and isinstance(row.get(outer), Mapping):
        return _lookup(row[outer], inner, place, optional=optional)
    if optional:
        return None
    return _fail(place, f"field {name!r} is missing; {nearest(name, row)}")


def _whole(text: str, place: str) -> str:
    """Refuses half characters (a surrogate alone), which JSON can spell and no tokenizer takes."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            _fail(place, f"{text[error.start]!r} is half a character (a surrogate without another)")
    return text


def _fail(place: str, problem: str) -> NoReturn:
    raise DataError(f"{place}: {problem}")
