"""Reads the examples and labels of a custom task, whatever its format.

Whatever is wrong with the data is said with file and line; what is left out is counted and told.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from gradts_plugin.errors import ConfigError, DataError, LeftOutWarning, nearest
from gradts_plugin.tasks.examples import Example, sampled
from gradts_plugin.tasks.formats.columnar import read_columnar
from gradts_plugin.tasks.formats.conll import read_conll
from gradts_plugin.tasks.formats.datasets import read_dataset
from gradts_plugin.tasks.formats.json_lines import read_json_file, read_json_lines
from gradts_plugin.tasks.formats.lines import read_lines
from gradts_plugin.tasks.formats.rows import BadRow, Reader, Row, Source, Values
from gradts_plugin.tasks.formats.table import read_table
from gradts_plugin.tasks.holding_out import held_out_part
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


@dataclass(frozen=True)
class SplitRead:
    """One split as it was read.

    Attributes:
        examples: those that are kept, before any sampling.
        unlabelled: places of rows without a label, which were left out (of a test split: kept).
        bad: places of rows whose form is broken, which were left out, each with its problem.
        num_words_unlabelled: words of kept rows that are without a label.
    """

    examples: list[Example]
    unlabelled: list[str]
    bad: list[str]
    num_words_unlabelled: int

    def left_out(self, split: Split) -> list[str]:
        """What was left out, each kind in a few words."""
        found = []
        if self.unlabelled and split != "test":
            count = len(self.unlabelled)
            found.append(f"rows without a label, left out: {count} (first {self.unlabelled[0]})")
        if self.num_words_unlabelled and split != "test":
            found.append(f"words without a label, ignored: {self.num_words_unlabelled}")
        if self.bad:
            found.append(f"broken rows, left out: {len(self.bad)} (first {self.bad[0]})")
        return found


def read_examples(
    config: TaskConfig,
    split: Split,
    data_folder: Path,
    *,
    labels: tuple[str, ...] | None = None,
) -> list[Example]:
    """Reads one split of a task; warns of what is left out.

    Args:
        config: the task.
        split: train, val or test. Rows without a label are left out of train and val, and only
            train rows are sampled down to `config.max_train_examples`.
        data_folder: where relative paths of the config start.
        labels: what `task_labels` answered, where that is known; None: it is asked.

    Returns:
        The examples in the order of the data.

    Raises:
        ConfigError: the config names no such split.
        DataError: a file or dataset is missing, empty, malformed, or contradicts the config.
    """
    found = read_split(config, split, data_folder, labels=labels)
    for words in found.left_out(split):
        warnings.warn(LeftOutWarning(f"task {config.name!r}, {split} split: {words}"), stacklevel=2)
    limit = config.max_train_examples if split == "train" else None
    return sampled(found.examples, limit, config.sample_seed)


def read_split(
    config: TaskConfig,
    split: Split,
    data_folder: Path,
    *,
    labels: tuple[str, ...] | None = None,
) -> SplitRead:
    """Reads one split of a task, and says what was left out (see `read_examples`)."""
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
        return positions(len(_parsed(settled, "train", labels=None).examples[0].choices))
    found: set[str] = set()
    for split in SPLITS if config.labels == "infer_all" else ("train",):
        if split == "train" or _sources(settled, split):
            examples = _parsed(settled, split, labels=None).examples
            _check_comments(settled, split, examples)
            found |= {label for each in examples for label in each.class_labels}
    _check_inferred(settled, found)
    return tuple(sorted(found))


def _check_comments(config: TaskConfig, split: Split, examples: list[Example]) -> None:
    """Refuses comments of CoNLL files that would be words: a tag that only a first # has."""
    if config.kind != "tagging" or config.comment is not None:
        return
    first: set[str | None] = set()
    others: set[str | None] = {"#", None}
    for example in examples:
        marked = example.tokens[0] == "#"
        first |= {*example.labels[:1]} if marked else set()
        others |= {*example.labels[marked:]}
    for tag in first - others:
        raise DataError(
            f"{_place(config, _sources(config, split)[0])}: only a # at the start of a sentence "
            f"has the tag {tag!r}; where that is a comment say 'comment': '#', else list the labels"
        )


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
    """A settled config's split, without what is held out of it.

    Raises:
        DataError: too few rows to hold any out.
    """
    if config.held_out is None or not (split == "train" or config.is_held_out(split)):
        return _parsed(config, split, labels)
    whole = _parsed(config, "train", labels)
    examples = held_out_part(whole.examples, config.held_out, split)
    if not examples:
        where = _place(config, _sources(config, "train")[0])
        raise DataError(
            f"{where}: held_out.{split}: of {len(whole.examples)} rows none can be spared; each "
            "class keeps one for training, and rows that share a text stay together"
        )
    if split == "train":
        return replace(whole, examples=examples, num_words_unlabelled=_num_unlabelled(examples))
    return SplitRead(examples, [], [], _num_unlabelled(examples))


def _num_unlabelled(examples: Sequence[Example]) -> int:
    return sum(label is None for each in examples for label in each.labels)


def _parsed(config: TaskConfig, split: Split, labels: tuple[str, ...] | None) -> SplitRead:
    """A settled config's split as it lies there; labels None: not known yet, any will do."""
    unlabelled_too = split == "test"
    parser = RowParser(config, config.field_names(), labels, unlabelled=unlabelled_too)
    examples: list[Example] = []
    bad: list[str] = []
    without: list[str] = []
    index = -1
    for place, row in _rows(config, split):
        if isinstance(row, BadRow):
            if config.on_bad_rows == "error":
                raise DataError(f"{place}: {row.problem}; 'on_bad_rows': 'skip' leaves it out")
            bad.append(f"{place}: {row.problem}")
            continue
        index += 1
        example = parser.example(index, place, row)
        if not example.is_labelled:
            without.append(place)
        if example.is_labelled or unlabelled_too:
            examples.append(example)
    if not examples:
        where = _place(config, (*_sources(config, split), "")[0])
        what = "has no row with a label" if without else "is empty"
        if bad:
            what = f"has no row that is whole; {bad[0]}"
        raise DataError(f"{where}: the {split} split {what}")
    return SplitRead(examples, without, bad, _num_unlabelled(examples))


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
