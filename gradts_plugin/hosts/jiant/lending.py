"""A jiant model, lent to be probed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import nn

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


def _row_length(row: Mapping[str, Any]) -> int:
    mask = getattr(row["data_row"], "input_mask", None)
    # Multiple choice rows hold one mask per choice; the longest decides.
    return 0 if mask is None else int(np.asarray(mask).sum(axis=-1).max())
