"""Task data from the hub or a local folder, written as the files that task configs read.

Every split becomes one JSON Lines file; `MANIFEST.json` beside them holds their checksums and where
they came from, so that a second call verifies what is there and loads nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.files import write_json_atomic
from gradts_plugin.tasks.examples import Example, sample_positions
from gradts_plugin.tasks.kinds import IGNORED, Split
from gradts_plugin.tasks.reading import read_examples
from gradts_plugin.tasks.requests import DataRequest, new_config, shipped_configs
from gradts_plugin.tasks.task_configs import TaskConfig, parse_task_config, to_json_values
from gradts_plugin.tasks.written_files import Origin, verified_rows, write_file

#: Told of each file before and after: files finished, files in all, what is or was done.
Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class WrittenTask:
    """A task whose files are there.

    Attributes:
        name: the task.
        config_path: its new task config; None for shipped tasks, which have one.
        num_rows: rows per split.
    """

    name: str
    config_path: Path | None
    num_rows: Mapping[str, int]


def write_data(
    request: DataRequest, output_dir: Path, *, report: Report = lambda *_: None
) -> tuple[WrittenTask, ...]:
    """Writes the data files of tasks, and the task config of a new one; keeps what is there.

    Args:
        request: what is wanted.
        output_dir: `TASK/SPLIT.jsonl`, `TASK.json` and `MANIFEST.json` go there.
        report: told of each file.

    Raises:
        ConfigError: the request does not fit the dataset; says what does.
        DataError: the dataset cannot be had or is malformed, or a file here is not what it was.
        StoreError: the disk refused; nothing half is left.
    """
    if request.max_rows is not None and request.max_rows < 1:
        raise ConfigError(f"max_rows: at least 1 is needed, found {request.max_rows}")
    shipped = shipped_configs(request)
    configs = shipped or [new_config(request)]
    jobs = [
        (config, split, origin)
        for config in configs
        for split, origin in _splits_of(config, request.max_rows)
    ]
    num_rows: dict[str, dict[str, int]] = {config.name: {} for config in configs}
    for done, (config, split, origin) in enumerate(jobs):
        place = f"{config.name}/{split}.jsonl"
        report(done, len(jobs), f"{place}: loading")
        count, kept = _write_split(config, split, origin, output_dir)
        num_rows[config.name][split] = count
        report(done + 1, len(jobs), f"{place}: {count} rows{', unchanged' if kept else ''}")
    return tuple(
        WrittenTask(
            config.name,
            None if shipped else _write_config(config, num_rows[config.name], output_dir),
            num_rows[config.name],
        )
        for config in configs
    )


def _splits_of(config: TaskConfig, max_rows: int | None) -> Iterator[tuple[Split, Origin]]:
    """Its splits, and where their rows come from."""
    source = config.dataset
    if source is None:  # both makers of configs have seen to it
        return
    splits: Mapping[Any, str] = source.splits.model_dump(exclude_none=True)
    for split, name in splits.items():
        yield split, Origin(source.path, source.name, source.revision, name, max_rows)


def _write_split(
    config: TaskConfig, split: Split, origin: Origin, output_dir: Path
) -> tuple[int, bool]:
    """Writes one split unless it is there; returns its number of rows, and whether it was kept."""
    path = f"{config.name}/{split}.jsonl"
    found = verified_rows(output_dir, path, origin)
    if found is not None:
        return found, True
    examples = read_examples(config, split, output_dir)
    chosen = sample_positions(len(examples), origin.max_rows, seed=0)
    lines = [
        json.dumps(_row(example), ensure_ascii=False) + "\n"
        for place, example in enumerate(examples)
        if place in chosen
    ]
    write_file(output_dir, path, "".join(lines).encode(), origin, len(lines))
    return len(lines), False


def _row(example: Example) -> JsonObject:
    """An example as a row with the roles' own names."""
    if example.tokens:
        row: JsonObject = {"tokens": list(example.tokens)}
        labels = [IGNORED if label is None else label for label in example.labels]
        return {**row, "labels": labels} if labels else row
    row = {"text_a": example.text_a}
    if example.text_b is not None:
        row["text_b"] = example.text_b
    if example.choices:
        row["choices"] = list(example.choices)
    return row if example.label is None else {**row, "label": example.label}


def _write_config(config: TaskConfig, splits: Iterable[str], output_dir: Path) -> Path:
    """The config of a new task, over the written files."""
    fields = {"text_b": "text_b"} if config.fields.text_b and config.kind != "pair" else {}
    values = {
        **to_json_values(config),
        "paths": {split: f"{config.name}/{split}.jsonl" for split in splits},
        "fields": fields,
    }
    del values["dataset"]
    if not fields:
        del values["fields"]
    path = output_dir / f"{config.name}.json"
    parse_task_config(values, where=str(path))
    if path.exists() and read_json(path) != values:
        raise ConfigError(
            f"{path} is there already and says something else; remove it, or choose another "
            "--output"
        )
    write_json_atomic(path, values)
    return path
