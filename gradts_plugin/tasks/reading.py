"""Reads the examples and labels of a custom task, whatever its format.

Whatever is wrong with the data is said with file and line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gradts_plugin.errors import ConfigError, DataError, nearest
from gradts_plugin.tasks.examples import Example, sampled
from gradts_plugin.tasks.formats.conll import read_conll
from gradts_plugin.tasks.formats.datasets import read_dataset
from gradts_plugin.tasks.formats.json_lines import read_json_lines
from gradts_plugin.tasks.formats.rows import Reader
from gradts_plugin.tasks.formats.table import read_table
from gradts_plugin.tasks.kinds import Split
from gradts_plugin.tasks.parsing import RowParser, positions
from gradts_plugin.tasks.spans import check_spans
from gradts_plugin.tasks.task_configs import TaskConfig, settled_paths

#: Who reads what; `dataset` is everything that `datasets` loads.
READERS: Mapping[str, Reader] = {
    "jsonl": read_json_lines,
    "csv": read_table,
    "tsv": read_table,
    "conll": read_conll,
    "dataset": read_dataset,
}


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
    examples = _parsed(settled_paths(config, data_folder), split, labels)
    limit = config.max_train_examples if split == "train" else None
    return sampled(examples, limit, config.sample_seed)


def task_labels(config: TaskConfig, data_folder: Path) -> tuple[str, ...]:
    """The labels of a task in the order of their ids.

    Args:
        config: the task.
        data_folder: where relative paths of the config start.

    Returns:
        What the config lists; else the sorted labels of the whole training split; for multiple
        choice the positions of the choices ("0", "1", ...); for regression nothing.

    Raises:
        ConfigError: the metric does not fit the labels.
        DataError: the training split cannot be read, or has fewer than two labels.
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
    if config.kind == "multiple_choice" and not isinstance(names["choices"], str):
        return positions(len(names["choices"]))
    examples = _parsed(settled, "train", labels=None)
    if config.kind == "multiple_choice":
        return positions(len(examples[0].choices))
    if config.kind == "tagging":
        found = sorted({label for example in examples for label in example.labels})
    else:
        found = sorted({str(example.label) for example in examples})
    if len(found) < 2:
        raise DataError(
            f"{_place(settled, _source(settled, 'train'))}: every row has the label {found[0]!r}; "
            "a task needs at least two"
        )
    if config.positive_label is not None and config.positive_label not in found:
        raise ConfigError(
            f"task {config.name!r}: positive_label {config.positive_label!r} is no label of the "
            f"training split; {nearest(config.positive_label, found)}"
        )
    return tuple(found)


def _source(config: TaskConfig, split: Split) -> str:
    """What a settled config calls a split: a path, or the name of a dataset's split.

    Raises:
        ConfigError: it names no such split.
    """
    splits = config.paths or (config.dataset and config.dataset.splits)
    source: str | None = getattr(splits, split)
    if source is None:
        raise ConfigError(f"task {config.name!r} names no {split} split")
    return source


def _place(config: TaskConfig, source: str) -> str:
    return source if config.dataset is None else config.dataset.place(source)


def _reader(config: TaskConfig, source: str) -> Reader:
    if config.dataset is not None:
        return READERS["dataset"]
    try:
        return READERS[config.file_format(source)]
    except ValueError as error:
        raise ConfigError(f"task {config.name!r}: {error}") from error


def _parsed(config: TaskConfig, split: Split, labels: tuple[str, ...] | None) -> list[Example]:
    """Examples of a settled config's split; labels None: they are not known yet, any will do."""
    source = _source(config, split)
    parser = RowParser(config, config.field_names(), labels, unlabelled=split == "test")
    rows = _reader(config, source)(config, source)
    examples = [parser.example(index, place, row) for index, (place, row) in enumerate(rows)]
    if not examples:
        raise DataError(f"{_place(config, source)}: the {split} split is empty")
    return examples
