"""A jiant model, lent to be probed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import nn

from gradts_plugin.hosts.jiant.compat import apply_mends

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.tasks.core import TaskTypes

from gradts_plugin.hosts.jiant.caches import open_cache
from gradts_plugin.hosts.jiant.faults.batch_length import trim_batch
from gradts_plugin.hosts.jiant.losses import hidden_states, instance_losses, labels_of
from gradts_plugin.hosts.jiant.training.samplers import TaskDict
from gradts_plugin.records import IntArray, ProbeBatch, TrainingResult


@dataclass
class LentModel:
    """A jiant model and the tasks' cached instances (see `records.ProbeTarget`)."""

    model: nn.Module
    encoder: nn.Module
    result: TrainingResult
    _own_task: str
    _tasks: TaskDict
    _caches: Mapping[str, Mapping[str, str]]
    _device: Any

    def batches(
        self,
        *,
        batch_size: int,
        max_instances: int | None,
        seed: int,
        task_name: str | None = None,
        phase: Literal["train", "val"] = "train",
    ) -> Iterator[ProbeBatch]:
        """Yields a task's instances chunk by chunk, sorted by length within a chunk."""
        name = task_name or self._own_task
        cache = open_cache(name, phase, self._caches[name][phase])
        wanted = sample_indices(len(cache), max_instances, seed, name)
        for chunk_index in range(cache.num_chunks):
            first = chunk_index * cache.chunk_size
            inside = wanted[(wanted >= first) & (wanted < first + cache.chunk_size)] - first
            if not len(inside):
                continue
            chunk = cache.load_chunk(chunk_index)
            rows = sorted((chunk[index] for index in inside), key=_row_length)
            del chunk
            for start in range(0, len(rows), batch_size):
                yield self._batch(self._tasks[name], rows[start : start + batch_size])

    def _batch(self, task: Any, rows: list[dict[str, Any]]) -> ProbeBatch:
        batch, metadata = task.collate_fn(rows)
        batch = trim_batch(batch).to(self._device)
        return ProbeBatch(
            example_ids=np.asarray(metadata["example_id"], dtype=np.int64),
            instance_losses=lambda: instance_losses(self.model, batch, task),
            attention_mask=batch.input_mask.bool(),
            hidden_states=lambda: hidden_states(self.model, batch),
            labels=labels_of(batch),
        )


def sample_indices(num_rows: int, max_instances: int | None, seed: int, task_name: str) -> IntArray:
    """Row numbers to probe, ascending: all, or a sample that depends on the seed and the task."""
    if max_instances is None or max_instances >= num_rows:
        return np.arange(num_rows)
    generator = np.random.default_rng([seed, zlib.crc32(task_name.encode())])
    return np.sort(generator.choice(num_rows, size=max_instances, replace=False))


def sampled_ids(task_name: str, folder: str, max_instances: int | None, seed: int) -> IntArray:
    """Example ids of a sample of cached training rows (see `protocols.Host.sampled_ids`).

    Args:
        task_name: the task.
        folder: of its cached training rows.
        max_instances: size of the sample.
        seed: of the sample.
    """
    cache = open_cache(task_name, "train", folder)
    ids = [int(datum["metadata"]["example_id"]) for datum in cache.iter_all()]
    return np.sort(np.array(ids)[sample_indices(len(ids), max_instances, seed, task_name)])


def shared_by_all(task: Any, folder: str, max_instances: int | None, seed: int) -> str | None:
    """What all instances of a sample have in common (see `protocols.Host.nothing_to_learn`).

    Args:
        task: jiant's task.
        folder: of its cached training rows.
        max_instances: size of the sample.
        seed: of the sample.
    """
    cache = open_cache(task.name, "train", folder)
    wanted = set(sample_indices(len(cache), max_instances, seed, task.name).tolist())
    texts: set[bytes] = set()
    labels: set[Any] = set()
    for number, datum in enumerate(cache.iter_all()):
        if number not in wanted:
            continue
        row = datum["data_row"]
        known = _labels_of(task, row)
        if known is None or not hasattr(row, "input_ids"):
            return None
        labels |= known
        texts.add(np.asarray(row.input_ids).tobytes())
        if len(texts) > 1 and len(labels) > 1:
            return None
    if len(wanted) < 2:
        return None  # one instance has everything in common with itself
    what = f"all {len(wanted)} instances that are looked at have the same"
    if len(texts) == 1:
        return f"{what} text"
    if len(labels) > 1:
        return None
    kind = "score" if task.TASK_TYPE == TaskTypes.REGRESSION else "label"
    return f"{what} {kind}{''.join(f', {label!r}' for label in labels)}"


def _labels_of(task: Any, row: Any) -> set[Any] | None:
    """Names of a row's labels, or its score; None where they say nothing of what can be learned."""
    if task.TASK_TYPE == TaskTypes.REGRESSION:
        return {float(row.label)}
    names = getattr(task, "ID_TO_LABEL", {})
    if task.TASK_TYPE == TaskTypes.TAGGING:
        return {names.get(label, label) for label in row.label_ids[row.label_mask == 1].tolist()}
    if task.TASK_TYPE == TaskTypes.CLASSIFICATION:
        label = int(row.label_id)
        return {names.get(label, label)}
    return None


def _row_length(row: Mapping[str, Any]) -> int:
    mask = getattr(row["data_row"], "input_mask", None)
    # Multiple choice rows hold one mask per choice; the longest decides.
    return 0 if mask is None else int(np.asarray(mask).sum(axis=-1).max())
