"""What the `datasets` library loads: saved folders, folders of files, the hub."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradts_plugin.errors import DataError, nearest
from gradts_plugin.tasks.formats.rows import Row
from gradts_plugin.tasks.sources import DatasetSource
from gradts_plugin.tasks.task_configs import TaskConfig


def read_dataset(config: TaskConfig, source: str) -> Iterator[Row]:
    """Yields the rows of a split by their columns, class numbers as names."""
    if config.dataset is None:  # the table of readers has seen to it
        return
    dataset = load_dataset_split(config.dataset, source)
    place = config.dataset.place(source)
    names = config.field_names()
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
