"""Reads the examples and labels of a custom task, whatever its format.

Whatever is wrong with the data is said with file and line; what is left out is counted and told.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress, zip_longest
from pathlib import Path

from gradts_plugin.errors import ConfigError, DataError, LeftOutWarning, nearest
from gradts_plugin.tasks.examples import Example, sample_positions
from gradts_plugin.tasks.formats.columnar import read_columnar
from gradts_plugin.tasks.formats.conll import read_conll
from gradts_plugin.tasks.formats.datasets import read_dataset
from gradts_plugin.tasks.formats.json_lines import read_json_file, read_json_lines
from gradts_plugin.tasks.formats.lines import read_lines
from gradts_plugin.tasks.formats.rows import BadRow, Reader, Row, Source, Values
from gradts_plugin.tasks.formats.table import read_table
from gradts_plugin.tasks.holding_out import held_out_positions
from gradts_plugin.tasks.kinds import NO_LABELS, Split
from gradts_plugin.tasks.parsing import RowParser, positions
from gradts_plugin.tasks.sources import Division
from gradts_plugin.tasks.spans import check_spans
from gradts_plugin.tasks.task_configs import SPLITS, TaskConfig, settled_paths

#: Who reads what; `dataset` is everything that `datasets` loads.
READERS: Mapping[str, Reader] = {
    "jsonl": read_json_lines,
    "json": read_json_file,
    "csv": read_table,
    "tsv": read_table,
    "conll": read_conll,
    "conllu": read_conll,
    "lines": read_lines,
    "parquet": read_columnar,
    "arrow": read_columnar,
    "dataset": read_dataset,
}


@dataclass
class Noted:
    """Rows or words of one kind that were met.

    Attributes:
        count: how many.
        first: the place of the first.
    """

    count: int = 0
    first: str = ""

    def add(self, place: str) -> None:
        """One more."""
        self.first = self.first or place
        self.count += 1


@dataclass
class SplitRead:
    """One split, read anew whenever it is gone through: one row is held at a time.

    What was left out is known once it was gone through.

    Attributes:
        split: train, val or test.
        unlabelled: rows without a label, which are left out (of a test split: kept).
        bad: rows whose form is broken, which are left out; `first` says what is wrong with it.
        num_words_unlabelled: words of kept rows that are without a label.
    """

    split: Split
    _examples: Callable[[SplitRead], Iterator[Example]]
    unlabelled: Noted = field(default_factory=Noted)
    bad: Noted = field(default_factory=Noted)
    num_words_unlabelled: int = 0

    def __iter__(self) -> Iterator[Example]:
        """Yields the examples that are kept, before any sampling, in the order of the data."""
        self.unlabelled, self.bad, self.num_words_unlabelled = Noted(), Noted(), 0
        for example in self._examples(self):
            self.num_words_unlabelled += sum(label is None for label in example.labels)
            yield example

    def left_out(self) -> list[str]:
        """What was left out, each kind in a few words."""
        found = []
        if self.unlabelled.count and self.split != "test":
            noted = self.unlabelled
            found.append(f"rows without a label, left out: {noted.count} (first {noted.first})")
        if self.num_words_unlabelled and self.split != "test":
            found.append(f"words without a label, ignored: {self.num_words_unlabelled}")
        if self.bad.count:
            found.append(f"broken rows, left out: {self.bad.count} (first {self.bad.first})")
        return found


def read_examples(
    config: TaskConfig,
    split: Split,
    data_folder: Path,
    *,
    labels: tuple[str, ...] | None = None,
) -> list[Example]:
    """Reads one split of a task at once; `each_example` holds one row at a time."""
    return list(each_example(config, split, data_folder, labels=labels))


def each_example(
    config: TaskConfig,
    split: Split,
    data_folder: Path,
    *,
    labels: tuple[str, ...] | None = None,
) -> Iterator[Example]:
    """Yields the examples of one split of a task; warns of what is left out, in the end.

    Args:
        config: the task.
        split: train, val or test. Rows without a label are left out of train and val, and only
            train rows are sampled down to `config.max_train_examples`.
        data_folder: where relative paths of the config start.
        labels: what `task_labels` answered, where that is known; None: it is asked.

    Yields:
        The examples in the order of the data.

    Raises:
        ConfigError: the config names no such split.
        DataError: a file or dataset is missing, empty, malformed, or contradicts the config.
    """
    found = read_split(config, split, data_folder, labels=labels)
    limit = config.max_train_examples if split == "train" else None
    if limit is None:
        yield from found
    else:
        number = sum(1 for _ in found)  # read twice: a sample depends on how many rows there are
        chosen = sample_positions(number, limit, config.sample_seed)
        yield from (example for place, example in enumerate(found) if place in chosen)
    for words in found.left_out():
        warnings.warn(LeftOutWarning(f"task {config.name!r}, {split} split: {words}"), stacklevel=2)


def read_split(
    config: TaskConfig,
    split: Split,
    data_folder: Path,
    *,
    labels: tuple[str, ...] | None = None,
) -> SplitRead:
    """One split of a task, to be gone through, and what is left out of it (see `each_example`)."""
    if labels is None:
        labels = task_labels(config, data_folder)
    return _part(settled_paths(config, data_folder), split, labels)


def task_labels(config: TaskConfig, data_folder: Path) -> tuple[str, ...]:
    """The labels of a task in the order of their ids.

    Args:
        config: the task.
        data_folder: where relative paths of the config start.

    Returns:
        What the config lists; else the sorted labels of the whole training data, also of what is
        held out of them, or of all splits (`infer_all`); for multiple choice the positions of the
        choices ("0", "1", ...); for regression nothing.

    Raises:
        ConfigError: the metric does not fit the labels, or one of them may be none.
        DataError: a split cannot be read, or there are fewer than two labels.
    """
    labels = _task_labels(config, data_folder)
    if config.metric == "seqeval_f1":
        check_spans(labels, f"task {config.name!r}")
    return labels


def _task_labels(config: TaskConfig, data_folder: Path) -> tuple[str, ...]:
    if config.kind == "regression":
        return ()
    if not isinstance(config.labels, str):
        return config.labels
    settled = settled_paths(config, data_folder)
    names = settled.field_names()
    if config.kind == "multiple_choice":
        if isinstance(names["choices"], tuple):
            return positions(len(names["choices"]))
        first = next(iter(_parsed(settled, "train", labels=None)))
        return positions(len(first.choices))
    found: set[str] = set()
    for split in SPLITS if config.labels == "infer_all" else ("train",):
        if split == "train" or _sources(settled, split):
            found |= _labels_in(settled, split)
    _check_inferred(settled, found)
    return tuple(sorted(found))


def _labels_in(config: TaskConfig, split: Split) -> set[str]:
    """The labels of a split.

    Raises:
        DataError: comments of a CoNLL file would be words: a tag that only a first # has.
    """
    found: set[str] = set()
    first: set[str | None] = set()
    others: set[str | None] = {"#", None}
    for example in _parsed(config, split, labels=None):
        found |= example.class_labels
        marked = example.tokens[:1] == ("#",)
        first |= {*example.labels[:1]} if marked else set()
        others |= {*example.labels[marked:]}
    for tag in first - others if config.comment is None else ():
        raise DataError(
            f"{_place(config, _sources(config, split)[0])}: only a # at the start of a sentence "
            f"has the tag {tag!r}; where that is a comment say 'comment': '#', else list the labels"
        )
    return found


def _check_inferred(config: TaskConfig, found: set[str]) -> None:
    """Refuses labels that were found where they are too few, or may be none."""
    where = f"{_place(config, _sources(config, 'train')[0])}"
    if len(found) < 2:
        (label,) = found
        raise DataError(f"{where}: every row has the label {label!r}; a task needs at least two")
    unclear = {*NO_LABELS[config.kind]} & found - {*config.label_map.values()}
    if config.no_label is None and unclear and len(found - unclear) > 1:
        label = min(unclear)
        raise ConfigError(
            f"{where}: {label!r} is a class in some sets and means no label in others: "
            f"'no_label': [\"{label}\"] leaves such rows out, 'no_label': [] makes it a class"
        )
    if config.positive_label is not None and config.positive_label not in found:
        raise ConfigError(
            f"task {config.name!r}: positive_label {config.positive_label!r} is no label of the "
            f"training split; {nearest(config.positive_label, found)}"
        )


def sources_of(config: TaskConfig, split: Split, data_folder: Path) -> tuple[str, ...]:
    """What a split is read from: files side by side, or a dataset's split; none: no such."""
    settled = settled_paths(config, data_folder)
    if not settled.is_held_out(split) or settled.held_out is None:
        return tuple(_place(settled, name) for name in _sources(settled, split))
    share = settled.held_out.share(split)
    return tuple(
        f"{100 * (share or 0):g} % of {_place(settled, name)}"
        for name in _sources(settled, "train")
    )


def _sources(config: TaskConfig, split: Split) -> tuple[str, ...]:
    """What a settled config calls a split: its files side by side, or a dataset's split."""
    if config.paths is not None:
        return config.paths.of(split)
    name: str | None = getattr(config.dataset.splits, split) if config.dataset else None
    return (name,) if name is not None else ()


def _place(config: TaskConfig, source: str) -> str:
    return source if config.dataset is None else config.dataset.place(source)


def _reader(config: TaskConfig, source: str) -> Reader:
    if config.dataset is not None:
        return READERS["dataset"]
    try:
        return READERS[config.file_format(source)]
    except ValueError as error:
        raise ConfigError(f"task {config.name!r}: {error}") from error


def _part(config: TaskConfig, split: Split, labels: tuple[str, ...]) -> SplitRead:
    """A settled config's split, without what is held out of it."""
    held_out = config.held_out
    if held_out is None or not (split == "train" or config.is_held_out(split)):
        return _parsed(config, split, labels)

    def examples(read: SplitRead) -> Iterator[Example]:
        whole = _parsed(config, "train", labels)
        chosen = held_out_positions(whole, held_out, split)
        if not any(chosen):
            where = _place(config, _sources(config, "train")[0])
            raise DataError(
                f"{where}: held_out.{split}: of {len(chosen)} rows none can be spared; each class "
                "keeps one for training, and rows that share a text stay together"
            )
        yield from compress(whole, chosen)
        if split == "train":
            read.unlabelled, read.bad = whole.unlabelled, whole.bad

    return SplitRead(split, examples)


def _parsed(config: TaskConfig, split: Split, labels: tuple[str, ...] | None) -> SplitRead:
    """A settled config's split as it lies there; labels None: not known yet, any will do."""

    def examples(read: SplitRead) -> Iterator[Example]:
        parser = RowParser(config, config.field_names(), labels, unlabelled=split == "test")
        index = -1
        is_empty = True
        for place, row in _rows(config, split):
            if isinstance(row, BadRow):
                if config.on_bad_rows == "error":
                    raise DataError(f"{place}: {row.problem}; 'on_bad_rows': 'skip' leaves it out")
                read.bad.add(f"{place}: {row.problem}")
                continue
            index += 1
            example = parser.example(index, place, row)
            if not example.is_labelled:
                read.unlabelled.add(place)
            if example.is_labelled or split == "test":
                is_empty = False
                yield example
        if is_empty:
            where = _place(config, (*_sources(config, split), "")[0])
            what = "has no row with a label" if read.unlabelled.count else "is empty"
            if read.bad.count:
                what = f"has no row that is whole; {read.bad.first}"
            raise DataError(f"{where}: the {split} split {what}")

    return SplitRead(split, examples)


def _rows(config: TaskConfig, split: Split) -> Iterator[Row]:
    """The rows of a split, those of files side by side as one, fields divided."""
    names = _sources(config, split)
    if not names:
        raise ConfigError(f"task {config.name!r} names no {split} split")
    columns = config.columns_of(split)
    sources = [Source(config, split, name, columns) for name in names]
    if len(names) > 1 and columns:  # a column of each file
        sources = [
            Source(config, split, name, (column,) if config.file_format(name) == "lines" else None)
            for name, column in zip(names, columns, strict=True)
        ]
    readers = [_reader(config, name)(source) for name, source in zip(names, sources, strict=True)]
    rows = readers[0]
    if len(readers) > 1:
        rows = (_together(names, parts) for parts in zip_longest(*readers))
    for place, row in rows:
        whole = row
        for division in config.divisions:
            whole = whole if isinstance(whole, BadRow) else _divided(whole, division)
        yield place, whole


def _together(names: tuple[str, ...], parts: tuple[Row | None, ...]) -> Row:
    """A row of files that lie side by side."""
    found = [part for part in parts if part is not None]
    place = found[0][0]
    if len(found) < len(parts):
        raise DataError(
            f"{place}: {names[parts.index(None)]} has fewer rows; the files of a split lie side by "
            "side, row by row"
        )
    row: Values = {}
    for _, values in found:
        if isinstance(values, BadRow):
            return place, values
        row = {**row, **values} if row else values
    return place, row


def _divided(row: Values, division: Division) -> Values | BadRow:
    value = row.get(division.field)
    if not isinstance(value, str):
        return BadRow(f"field {division.field!r} has no text to divide but {value!r:.60}")
    divide = value.rsplit if division.from_end else value.split
    parts = divide(division.separator, len(division.into) - 1)
    return {**row, **dict(zip(division.into, parts, strict=False))}
