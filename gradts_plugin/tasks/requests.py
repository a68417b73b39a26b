"""What `gradts-select data` is asked for, and the task configs over a dataset that this makes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.tasks.formats.datasets import dataset_split_names, load_dataset_split
from gradts_plugin.tasks.kinds import METRICS, ROLES
from gradts_plugin.tasks.shipped import shipped_task_configs
from gradts_plugin.tasks.sources import DatasetSource
from gradts_plugin.tasks.spans import span_tags
from gradts_plugin.tasks.task_configs import TaskConfig, parse_task_config, read_task_config

#: The GLUE tasks of Ma et al. 2021, as the shipped task configs call them.
GLUE_TASKS: Final = ("cola", "mrpc", "sst2", "wnli", "mnli", "qnli", "rte", "qqp", "stsb")

#: What datasets call their dev split.
_DEV_SPLITS: Final = ("validation", "val", "dev", "valid", "validation_matched")


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


def shipped_configs(request: DataRequest) -> list[TaskConfig]:
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


def new_config(request: DataRequest) -> TaskConfig:
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
    spans = kind == "tagging" and labels and len(span_tags(labels)) == len(labels)
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
