"""jiant repeats the first epoch's batches for ever, and keeps them all in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.faults.random_streams import RandomStates, random_stream
from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.records import IntArray

#: Rows that are read from the cache at a time; jiant's own number.
_BUFFER_SIZE = 10_000


def epoch_order(seed: int, task_name: str, epoch: int, num_rows: int) -> IntArray:
    """The order in which an epoch goes through a task's training rows.

    Args:
        seed: the run's seed.
        task_name: other tasks have no influence on this one's order.
        epoch: counts from 0.
        num_rows: rows in the training cache.

    Returns:
        A permutation, int64 array of shape (num_rows,).
    """
    order = random_stream(seed, "data order", task_name, epoch).permutation(num_rows)
    return order.astype(np.int64)


#: Where a task's batches go on, plain values that only they read: (epoch, batches popped in it), or
#: (batches popped, random states at the first).
Position = tuple[int, Any]


class Batches(Protocol):
    """What the runner pops training batches of one task from, for ever."""

    def pop(self) -> Any:
        """The next batch and its metadata."""
        ...

    def position(self) -> Position:
        """Where the next `pop` reads."""
        ...

    def move_to(self, position: Position) -> None:
        """Goes on from a position."""
        ...


class _ReshuffledBatches:
    """The batches of one task, every epoch in an order of its own."""

    def __init__(self, cache: Any, task: Any, batch_size: int, seed: int) -> None:
        self._cache = cache
        self._task = task
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0
        self._popped = 0
        self._batches: Iterator[Any] = self._read(0)

    def pop(self) -> Any:
        """The next batch and its metadata."""
        for batch in self._batches:
            self._popped += 1
            return batch
        if self._popped == 0:
            raise HostError(f"task {self._task.name!r} has no training rows")
        self.move_to((self._epoch + 1, 0))
        return self.pop()

    def position(self) -> Position:
        """Where the next `pop` reads."""
        return self._epoch, self._popped

    def move_to(self, position: Position) -> None:
        """Goes on from a position."""
        self._epoch, self._popped = position
        self._batches = self._read(self._popped * self._batch_size)

    def _read(self, first: int) -> Iterator[Any]:
        # As jiant reads: a buffer of rows at a time, so that chunks are not read again for every
        # batch. Buffers start at `first`, which only moves their borders, never the batches'.
        order = epoch_order(self._seed, self._task.name, self._epoch, len(self._cache))
        rows = self._cache.get_iterable_dataset(
            buffer_size=_BUFFER_SIZE, shuffle=False, explicit_subset=order[first:]
        )
        loader = torch.utils.data.DataLoader(
            rows,
            batch_size=self._batch_size,
            collate_fn=self._task.collate_fn,
            # A generator of its own: a loader otherwise draws from the stream that dropout uses.
            generator=torch.Generator(),
        )
        yield from loader


class RepeatedBatches:
    """jiant's own batches of one task, with a position that can be returned to."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self._num_batches = len(batches.iterable)
        self._popped = 0
        self._start: RandomStates | None = None

    def pop(self) -> Any:
        """The next batch and its metadata."""
        if self._start is None:
            self._start = RandomStates.now()  # jiant draws the order at the first pop
        self._popped += 1
        return self._batches.pop()

    def position(self) -> Position:
        """Where the next `pop` reads."""
        return self._popped, self._start and vars(self._start)

    def move_to(self, position: Position) -> None:
        """Goes on from a position; changes the random states."""
        popped, start = position
        if start is None:
            return
        states = RandomStates(**start)
        states.restore()
        # After the first epoch jiant repeats it, so only the remainder has to be gone through.
        repeats = max(popped // self._num_batches - 1, 0) * self._num_batches
        for _ in range(popped - repeats):
            self.pop()
        self._popped = popped
        self._start = states


@contextlib.contextmanager
def reshuffled_data(seed: int) -> Iterator[None]:
    """Every epoch of a task has its own order, given by seed, task and epoch."""
    runner_class = module_named("jiant.proj.main.runner").JiantRunner

    def get_train_dataloader_dict(self: Any) -> dict[str, Batches]:
        container = self.jiant_task_container
        return {
            name: _ReshuffledBatches(
                cache=container.task_cache_dict[name]["train"],
                task=container.task_dict[name],
                batch_size=container.task_specific_configs[name].train_batch_size,
                seed=seed,
            )
            for name in container.task_run_config.train_task_list
        }

    with replaced(runner_class, "get_train_dataloader_dict", get_train_dataloader_dict):
        yield
