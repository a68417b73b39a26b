"""What the `datasets` library loads: saved folders, folders of files, the hub."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from gradts_plugin.errors import DataError, nearest
from gradts_plugin.settings.reading import is_special, no_file
from gradts_plugin.tasks.formats.rows import Row, Source
from gradts_plugin.tasks.formats.table import read_table
from gradts_plugin.tasks.kinds import IGNORED
from gradts_plugin.tasks.sources import DatasetSource

#: Files of a dataset's folder, at most.
_MOST_FILES: Final = 100_000


def read_dataset(source: Source) -> Iterator[Row]:
    """Yields the rows of a split by their columns, class numbers as names."""
    origin = source.config.dataset
    if origin is None:  # the table of readers has seen to it
        return
    place = origin.place(source.name)
    tables = _tables(origin)
    if tables:
        yield from _read_tables(source, tables)
        return
    dataset = load_dataset_split(origin, source.name)
    wanted = {
        name.split(".")[0] if name not in dataset.column_names else name
        for name in map(str, source.used)
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
            source.path, source.name, split=split, revision=source.revision
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
    for path in _files_below(folder):
        if path.exists() and is_special(path):
            raise DataError(no_file(path))
    if (folder / "dataset_dict.json").is_file():
        saved: Mapping[str, Any] = datasets.load_from_disk(str(folder))
        return saved
    if (folder / "state.json").is_file():
        return {"train": datasets.load_from_disk(str(folder))}
    return None


def _files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder; none where it is none.

    Raises:
        DataError: there are so many that it is hardly the folder that is meant.
    """
    number = 0
    for here, _, names in os.walk(folder):
        number += len(names)
        if number > _MOST_FILES:
            raise DataError(f"{folder}: holds more than {_MOST_FILES:,} files; name one dataset's")
        yield from (Path(here, name) for name in names)


def _part_of(saved: Mapping[str, Any], split: str, where: str) -> Any:
    """A split of a saved dataset, or a slice of one."""
    import datasets

    if split in saved:
        return saved[split]
    sizes = {name: len(part) for name, part in saved.items()}
    return datasets.concatenate_datasets(
        [saved[name].select(range(sizes[name])[part]) for name, part in _parts(split, sizes, where)]
    )


def _parts(split: str, sizes: Mapping[str, int], where: str) -> list[tuple[str, slice]]:
    """The parts of splits that an instruction such as `train[:90%]` names.

    Raises:
        DataError: there is no such split; says what there is.
    """
    import datasets

    name = split.partition("[")[0]
    if "+" not in split and name not in sizes:
        hint = "; 'train[:90%]' and 'train[90%:]' divide it" if len(sizes) == 1 else ""
        raise DataError(f"{where}: no split {name!r}; {nearest(name, sizes)}{hint}")
    try:
        parts = datasets.ReadInstruction.from_spec(split).to_absolute(dict(sizes))
    except (ValueError, AssertionError) as error:
        raise DataError(f"{where}: split {split!r}: {error}") from error
    return [(part.splitname, slice(part.from_, part.to)) for part in parts]


def _tables(source: DatasetSource) -> Mapping[str, Sequence[str]]:
    """The files of a folder of tables, split by split; none where it is no such folder."""
    import datasets

    folder = Path(source.path)
    suffixes = {suffix for path in _files_below(folder) for suffix in path.suffixes}
    if not suffixes & {".csv", ".tsv"}:
        return {}
    with _dataset_errors(source):
        builder = datasets.load_dataset_builder(source.path, source.name)
    config, known = builder.config, builder.info.features or {}
    if any(isinstance(feature, datasets.ClassLabel) for feature in known.values()):
        return {}  # the folder's card names the classes, which only `datasets` reads
    is_table = hasattr(config, "keep_default_na") and config.data_files
    return {str(split): files for split, files in config.data_files.items()} if is_table else {}


def _read_tables(source: Source, tables: Mapping[str, Sequence[str]]) -> Iterator[Row]:
    """Reads a folder's tables as files are read.

    What `datasets` reads them with takes None, NA and null for no value, and 01 for a number.
    """

    def rows(split: str) -> Iterator[Row]:
        for file in tables[split]:
            yield from read_table(replace(source, name=str(file)))

    if source.name in tables:
        yield from rows(source.name)
        return
    names = {part.partition("[")[0] for part in source.name.split("+")}
    sizes = {name: sum(1 for _ in rows(name)) if name in names else 0 for name in tables}
    path = source.config.dataset.path if source.config.dataset else ""
    for name, part in _parts(source.name, sizes, f"dataset {path}"):
        yield from islice(rows(name), part.start, part.stop)


@contextlib.contextmanager
def _dataset_errors(source: DatasetSource) -> Iterator[None]:
    """Says in one line what `datasets` could not do; what is at hand is read without a word."""
    import datasets

    shows_progress = not datasets.are_progress_bars_disabled()
    if Path(source.path).is_dir():
        datasets.disable_progress_bars()
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
        if shows_progress:
            datasets.enable_progress_bars()
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
