"""What the `datasets` library loads: saved folders, folders of files, the hub."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.errors import DataError, nearest
from gradts_plugin.tasks.formats.rows import Row, Source
from gradts_plugin.tasks.kinds import IGNORED
from gradts_plugin.tasks.sources import DatasetSource


def read_dataset(source: Source) -> Iterator[Row]:
    """Yields the rows of a split by their columns, class numbers as names."""
    origin = source.config.dataset
    if origin is None:  # the table of readers has seen to it
        return
    dataset = load_dataset_split(origin, source.name)
    place = origin.place(source.name)
    wanted = {
        name.split(".")[0] if name not in dataset.column_names else name
        for name in map(str, source.config.used_fields())
    }
    if wanted <= set(dataset.column_names):
        # Columns nobody asked for (images, sound) are expensive to decode.
        dataset = dataset.select_columns(sorted(wanted))
    for number, row in enumerate(dataset):
        named = {
            column: class_names(value, dataset.features[column]) for column, value in row.items()
        }
        yield f"{place}, row {number}", named


def load_dataset_split(source: DatasetSource, split: str) -> Any:
    """One split of a dataset, from a folder saved by `datasets`, a folder of files, or the hub.

    Raises:
        DataError: there is no such dataset or split, or the hub cannot be reached.
    """
    import datasets  # takes seconds to import, and most tasks are files

    with _dataset_errors(source):
        saved = _saved(source)
        if saved is not None:
            return _part_of(saved, split, f"dataset {source.path}")
        return datasets.load_dataset(
            source.path, source.name, split=split, revision=source.revision, **_as_text(source)
        )


def dataset_split_names(source: DatasetSource) -> tuple[str, ...]:
    """The splits that a dataset has; see `load_dataset_split`."""
    import datasets

    with _dataset_errors(source):
        saved = _saved(source)
        if saved is not None:
            return tuple(saved)
        return tuple(
            datasets.get_dataset_split_names(source.path, source.name, revision=source.revision)
        )


def _saved(source: DatasetSource) -> Mapping[str, Any] | None:
    """The splits of a folder that `save_to_disk` wrote; one that was saved alone is `train`."""
    import datasets

    folder = Path(source.path)
    if (folder / "dataset_dict.json").is_file():
        saved: Mapping[str, Any] = datasets.load_from_disk(str(folder))
        return saved
    if (folder / "state.json").is_file():
        return {"train": datasets.load_from_disk(str(folder))}
    return None


def _part_of(saved: Mapping[str, Any], split: str, where: str) -> Any:
    """A split of a saved dataset, or a slice of one.

    Raises:
        DataError: there is no such split; says what there is.
    """
    import datasets

    sizes = {name: len(part) for name, part in saved.items()}
    if split in sizes:
        return saved[split]
    name = split.partition("[")[0]
    if "+" not in split and name not in sizes:
        hint = "; 'train[:90%]' and 'train[90%:]' divide it" if len(sizes) == 1 else ""
        raise DataError(f"{where}: no split {name!r}; {nearest(name, sizes)}{hint}")
    parts = datasets.ReadInstruction.from_spec(split).to_absolute(sizes)
    return datasets.concatenate_datasets(
        [
            saved[part.splitname].select(range(sizes[part.splitname])[part.from_ : part.to])
            for part in parts
        ]
    )


def _as_text(source: DatasetSource) -> dict[str, Any]:
    """What makes `datasets` read the cells of a folder of tables as they stand.

    Left alone, pandas takes None, NA and null for no value, and 01 for a number.
    """
    import datasets
    import pandas as pd

    folder = Path(source.path)
    if not any(path.suffix in (".csv", ".tsv") for path in folder.rglob("*") if path.is_file()):
        return {}
    builder = datasets.load_dataset_builder(source.path, source.name)
    config = builder.config
    if not hasattr(config, "keep_default_na"):
        return {}
    kept: dict[str, Any] = {"keep_default_na": False}
    if config.features is None:
        first = next(iter(config.data_files.values()))[0]
        names = pd.read_csv(first, sep=config.sep, nrows=0).columns
        kept["features"] = datasets.Features(dict.fromkeys(names, datasets.Value("string")))
    return kept


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


def class_names(value: Any, feature: Any) -> Any:
    """Names instead of class numbers, however deep; a number without a name is no label.

    Args:
        value: of a row.
        feature: what `datasets` knows of it; None: nothing.
    """
    if isinstance(value, Mapping):
        inner = getattr(feature, "feature", feature) or {}  # a list of structs, or a struct
        return {key: class_names(item, inner.get(key)) for key, item in value.items()}
    if isinstance(value, list):
        inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
        return [class_names(item, inner) for item in value]
    names = getattr(feature, "names", None)
    if names is None or not isinstance(value, int):
        return value
    return names[value] if 0 <= value < len(names) else IGNORED
