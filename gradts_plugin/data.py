"""Task data from the hub or a local folder, written as the files that task configs read.

Every split becomes one JSON Lines file; `MANIFEST.json` beside them holds their checksums and where
they came from, so that a second call verifies what is there and loads nothing.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gradts_plugin.errors import ConfigError, DataError, nearest
from gradts_plugin.readers import (
    Example,
    dataset_split_names,
    load_dataset_split,
    read_examples,
)
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.files import disk_errors, write_bytes_atomic, write_json_atomic
from gradts_plugin.task_configs import (
    METRICS,
    ROLES,
    DatasetSource,
    Split,
    TaskConfig,
    parse_task_config,
    read_task_config,
    shipped_task_configs,
    to_json_values,
)

MANIFEST: Final = "MANIFEST.json"

#: The GLUE tasks of Ma et al. 2021, as the shipped task configs call them.
GLUE_TASKS: Final = ("cola", "mrpc", "sst2", "wnli", "mnli", "qnli", "rte", "qqp", "stsb")

#: What datasets call their dev split.
_DEV_SPLITS: Final = ("validation", "val", "dev", "valid", "validation_matched")

#: Told of each file before and after: files finished, files in all, what is or was done.
Report = Callable[[int, int, str], None]


@dataclass(frozen=True)
class DataRequest:
    """What `gradts-select data` was asked for.

    Attributes:
        source: `glue`, a shipped task, a dataset's name on the hub, or a folder.
        tasks: shipped tasks to fill from the source; empty: all of `glue`, else one new task.
        subset: subset of the dataset; shipped tasks know their own.
        revision: branch, tag or commit on the hub.
        max_rows: at most so many rows of each split, a seeded sample in the order of the data.
        name: of a new task; None: made from the source.
        kind: of a new task.
        metric: of a new task; None: accuracy, Pearson's correlation, or F1 of spans.
        positive_label: of a new task, for the metric f1.
        fields: role -> field name of a new task, where they differ.
        splits: train, val, test -> what the dataset calls them; found by their names where absent.
    """

    source: str
    tasks: tuple[str, ...] = ()
    subset: str | None = None
    revision: str | None = None
    max_rows: int | None = None
    name: str | None = None
    kind: str | None = None
    metric: str | None = None
    positive_label: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)


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
    shipped = _shipped_configs(request)
    configs = shipped or [_new_config(request)]
    jobs = [(config, split, name) for config in configs for split, name in _splits_of(config)]
    num_rows: dict[str, dict[str, int]] = {config.name: {} for config in configs}
    for done, (config, split, name) in enumerate(jobs):
        place = f"{config.name}/{split}.jsonl"
        report(done, len(jobs), f"{place}: loading")
        count, kept = _write_split(config, split, name, request, output_dir)
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


# --- which tasks ----------------------------------------------------------------------------------


def _shipped_configs(request: DataRequest) -> list[TaskConfig]:
    """Configs of shipped tasks that read the source; none where the source is a new task."""
    known = shipped_task_configs()
    names = request.tasks
    from_hub = request.source == "glue" or (request.source in known and not names)
    if not names:
        names = GLUE_TASKS if request.source == "glue" else (request.source,) * from_hub
    for name in names:
        if name not in known:
            raise ConfigError(f"tasks: unknown task {name!r}; {nearest(name, known)}")
    if names and (request.kind or request.fields or request.name or request.subset):
        raise ConfigError(
            f"task {names[0]!r} is shipped and knows its kind, fields and subset; leave them out"
        )
    return [
        _shipped_config(read_task_config(known[name]), request, from_hub=from_hub) for name in names
    ]


def _shipped_config(config: TaskConfig, request: DataRequest, *, from_hub: bool) -> TaskConfig:
    source = config.dataset
    if source is None:
        raise ConfigError(
            f"task {config.name!r} has no dataset on the hub; name one, or a folder, with --kind "
            "and its fields"
        )
    update: dict[str, Any] = {}
    if not from_hub:
        update = _located(request.source, source.name)
    if request.revision is not None:
        update["revision"] = request.revision
    if request.splits:
        update["splits"] = source.splits.model_copy(update=dict(request.splits))
    return config.model_copy(update={"paths": None, "dataset": source.model_copy(update=update)})


def _located(source: str, subset: str | None) -> dict[str, Any]:
    """Path and subset; a folder of folders has a subset in each."""
    folder = Path(source)
    if not folder.is_dir():
        return {"path": source, "name": subset}
    if subset is not None and (folder / subset).is_dir():
        folder, subset = folder / subset, None
    elif (folder / "dataset_dict.json").is_file():
        subset = None  # a saved dataset has no subsets
    return {"path": str(folder.absolute()), "name": subset, "revision": None}


def _new_config(request: DataRequest) -> TaskConfig:
    """The task config of a set that is not shipped, from the request and the set's own features."""
    where = f"dataset {request.source}"
    located = _located(request.source, request.subset)
    source = DatasetSource(**{"revision": request.revision, **located})
    splits = _splits(request, source)
    features = load_dataset_split(source, splits["train"]).features
    if request.kind is None:
        raise ConfigError(
            f"{where}: say what it is with --kind ({', '.join(ROLES)}); its fields: "
            f"{', '.join(features)}"
        )
    names = _label_names(features.get(request.fields.get(_label_role(request), "")))
    fields: dict[str, Any] = dict(request.fields)
    if "," in fields.get("choices", ""):
        fields["choices"] = fields["choices"].split(",")
    values = {
        "name": request.name or _task_name(request),
        "kind": request.kind,
        "dataset": {**source.model_dump(exclude_none=True), "splits": splits},
        "fields": fields,
        "labels": names if request.kind in ("single", "pair", "tagging") and names else "infer",
        "metric": request.metric or _default_metric(request.kind, names),
        **({"positive_label": request.positive_label} if request.positive_label else {}),
    }
    return parse_task_config(values, where=where)


def _label_role(request: DataRequest) -> str:
    return "labels" if request.kind == "tagging" else "label"


def _label_names(feature: Any) -> list[str] | None:
    """The names that a dataset has for its class numbers, at least two; else None."""
    feature = getattr(feature, "feature", feature)  # of a sequence: of its elements
    names = getattr(feature, "names", None)
    return list(names) if names is not None and len(names) > 1 else None


def _default_metric(kind: str, labels: Sequence[str] | None) -> str:
    spans = kind == "tagging" and any(name.startswith(("B-", "I-")) for name in labels or ())
    return "seqeval_f1" if spans else METRICS.get(kind, ("accuracy",))[0]


def _task_name(request: DataRequest) -> str:
    last = re.split(r"[/\\]", request.source.rstrip("/\\"))[-1]
    name = f"{last}_{request.subset}" if request.subset else last
    return re.sub(r"[^A-Za-z0-9_-]", "_", name).lstrip("-") or "task"


def _splits(request: DataRequest, source: DatasetSource) -> dict[str, str]:
    """What the dataset calls its splits, as far as they can be told by their names."""
    given = dict(request.splits)
    if {"train", "val"} <= {*given}:
        return given
    there = dataset_split_names(source)
    splits = {"train": "train"} if "train" in there else {}
    dev = next((name for name in _DEV_SPLITS if name in there), None)
    splits |= {"val": dev} if dev else {}
    splits |= {"test": "test"} if "test" in there else {}
    splits |= given
    for split in ("train", "val"):
        if split not in splits:
            raise ConfigError(
                f"dataset {request.source} has the splits {', '.join(there)}: say with "
                f"--{split}_split which is its {split} split, e.g. 'train[:90%]'"
            )
    return splits


# --- files ----------------------------------------------------------------------------------------


def _splits_of(config: TaskConfig) -> list[tuple[Split, str]]:
    """Its splits, and what the dataset calls them."""
    if config.dataset is None:  # both makers of configs have seen to it
        return []
    splits: Mapping[Any, str] = config.dataset.splits.model_dump(exclude_none=True)
    return list(splits.items())


def _write_split(
    config: TaskConfig, split: Split, name: str, request: DataRequest, output_dir: Path
) -> tuple[int, bool]:
    """Writes one split unless it is there; returns its number of rows, and whether it was kept."""
    path = f"{config.name}/{split}.jsonl"
    origin = {
        "dataset": config.dataset and config.dataset.path,
        "subset": config.dataset and config.dataset.name,
        "revision": config.dataset and config.dataset.revision,
        "split": name,
        "max_rows": request.max_rows,
    }
    found = _verified(output_dir, path, origin)
    if found is not None:
        return found, True
    examples = _sampled(read_examples(config, split, output_dir), request.max_rows)
    lines = [json.dumps(_row(example), ensure_ascii=False) + "\n" for example in examples]
    _write_file(output_dir, path, "".join(lines).encode(), origin, len(lines))
    return len(lines), False


def _row(example: Example) -> dict[str, Any]:
    """An example as a row with the roles' own names."""
    if example.tokens:
        row: dict[str, Any] = {"tokens": list(example.tokens)}
        return {**row, "labels": list(example.labels)} if example.labels else row
    row = {"text_a": example.text_a}
    if example.text_b is not None:
        row["text_b"] = example.text_b
    if example.choices:
        row["choices"] = list(example.choices)
    return row if example.label is None else {**row, "label": example.label}


def _sampled(examples: Sequence[Example], limit: int | None) -> Iterable[Example]:
    if limit is None or limit >= len(examples):
        return examples
    chosen = random.Random(0).sample(range(len(examples)), limit)  # noqa: S311
    return [examples[position] for position in sorted(chosen)]


def _manifest(output_dir: Path) -> dict[str, Any]:
    path = output_dir / MANIFEST
    files = read_json(path).get("files") if path.exists() else {}
    if not isinstance(files, dict):
        raise DataError(f"{path} is damaged: it lists no files; remove it to verify all anew")
    return files


def _verified(output_dir: Path, path: str, origin: Mapping[str, Any]) -> int | None:
    """Rows of a file that is there and as it was written; None where there is none.

    Raises:
        DataError: it has been changed, or comes from elsewhere.
    """
    known = _manifest(output_dir).get(path)
    if known is None or not (output_dir / path).exists():
        return None
    if known["origin"] != dict(origin):
        key = next(key for key in origin if known["origin"].get(key) != origin[key])
        raise DataError(
            f"{output_dir / path} was written with {key} {known['origin'].get(key)!r}, here it is "
            f"{origin[key]!r}; remove it, or choose another --output"
        )
    with disk_errors("read", output_dir / path, error_class=DataError):
        digest = hashlib.sha256((output_dir / path).read_bytes()).hexdigest()
    if digest != known["sha256"]:
        raise DataError(
            f"{output_dir / path} is not what was written (sha256 {digest[:12]}..., "
            f"{MANIFEST} says {known['sha256'][:12]}...); remove it to write it again"
        )
    return int(known["num_rows"])


def _write_file(
    output_dir: Path, path: str, data: bytes, origin: Mapping[str, Any], num_rows: int
) -> None:
    target = output_dir / path
    if not target.exists():
        write_bytes_atomic(target, data)
    elif target.read_bytes() != data:
        raise DataError(
            f"{target} is there already, is in no {MANIFEST} and differs from the dataset; remove "
            "it, or choose another --output"
        )
    files = _manifest(output_dir)
    files[path] = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "num_rows": num_rows,
        "origin": dict(origin),
    }
    write_json_atomic(output_dir / MANIFEST, {"files": dict(sorted(files.items()))})


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
