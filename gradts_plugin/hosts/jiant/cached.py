"""Tokenised instances out of jiant's caches, as plain values that other frameworks can be given."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gradts_plugin.errors import ConfigError, DataError
from gradts_plugin.hosts.jiant.compat import apply_mends

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.components import container_setup

from gradts_plugin.hosts.jiant.caches import open_cache
from gradts_plugin.hosts.jiant.container import ContainerConfig, check_container_config

#: A class id, a score, or one class id per token (None: the token has no label).
Target = int | float | tuple[int | None, ...]


@dataclass(frozen=True)
class TokenizedRow:
    """One instance without padding; T tokens, special ones included.

    Attributes:
        example_id: the instance's stable key.
        token_ids: T ids of the encoder's vocabulary.
        type_ids: T segment ids.
        target: what is to be predicted.
    """

    example_id: int
    token_ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    target: Target


@dataclass(frozen=True)
class TokenizedTask:
    """A task of a container config, and its cached rows.

    Attributes:
        name: the task.
        kind: classification, regression, tagging, or another of jiant's task types.
        labels: class names in the order of their ids; none for regression.
        is_pair: its instances are two texts.
        metric: the metric of a task config; None for one of jiant's own tasks.
        positive_label: the label that the metric f1 is for.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    is_pair: bool
    metric: str | None
    positive_label: str | None
    _folders: Mapping[str, str]

    def rows(self, phase: Literal["train", "val"]) -> Iterator[TokenizedRow]:
        """The cached rows, in order; the training rows are those that the config trains on.

        Raises:
            DataError: the cache is missing or damaged.
        """
        if phase not in self._folders:
            raise DataError(f"task {self.name!r} has no {phase} cache")
        cache = open_cache(self.name, phase, self._folders[phase])
        for row in cache.iter_all():
            yield _row(row["data_row"], row["metadata"]["example_id"])


def tokenized_tasks(
    container_config: ContainerConfig, names: Sequence[str]
) -> tuple[TokenizedTask, ...]:
    """Some tasks of a container config, ready to be read.

    Args:
        container_config: jiant's task-container config. Custom tasks need `opening.attach_tasks`.
        names: the tasks, in the order wanted.

    Raises:
        ConfigError: the config is damaged, or lacks a task.
    """
    check_container_config(container_config)
    paths = container_config["task_config_path_dict"]
    missing = [name for name in names if name not in paths]
    if missing:
        raise ConfigError(f"task_config_path_dict has no entry for task {missing[0]!r}")
    with contextlib.redirect_stdout(io.StringIO()):
        tasks = container_setup.create_task_dict(
            {name: paths[name] for name in names}, verbose=False
        )
    return tuple(
        _tokenized_task(tasks[name], container_config["task_cache_config_dict"][name])
        for name in names
    )


def _tokenized_task(task: Any, folders: Mapping[str, str]) -> TokenizedTask:
    config = getattr(task, "config", None)
    if config is not None:
        is_pair = config.kind == "pair" or config.fields.text_b is not None
    else:
        given = {field.name for field in dataclasses.fields(task.Example)}
        is_pair = len(given - {"guid", "label"}) > 1
    return TokenizedTask(
        name=task.name,
        kind=task.TASK_TYPE.value,
        labels=tuple(str(label) for label in getattr(task, "LABELS", ())),
        is_pair=is_pair,
        metric=getattr(config, "metric", None),
        positive_label=getattr(config, "positive_label", None),
        _folders=dict(folders),
    )


def _row(data: Any, example_id: int) -> TokenizedRow:
    real = data.input_mask.astype(bool)
    target: Target
    if hasattr(data, "label_mask"):
        target = tuple(
            int(label) if labelled else None
            for label, labelled in zip(data.label_ids[real], data.label_mask[real], strict=True)
        )
    elif hasattr(data, "label"):
        target = float(data.label)
    else:
        target = int(data.label_id)
    return TokenizedRow(
        example_id=int(example_id),
        token_ids=tuple(data.input_ids[real].tolist()),
        type_ids=tuple(data.segment_ids[real].tolist()),
        target=target,
    )
