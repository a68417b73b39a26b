"""jiant never seeds its task sampler, and has none that counts steps."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

from gradts_plugin.hosts.jiant.faults.random_streams import random_stream
from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named


@contextlib.contextmanager
def seeded_task_order(seed: int) -> Iterator[None]:
    """The task sampler draws from the seed."""
    module = module_named("jiant.proj.main.components.task_sampler")
    create = module.create_task_sampler

    @functools.wraps(create)
    def create_task_sampler(*args: Any, rng: Any = None, **kwargs: Any) -> Any:
        stream = random_stream(seed, "task order") if rng is None else rng
        return create(*args, rng=stream, **kwargs)

    with replaced(module, "create_task_sampler", create_task_sampler):
        yield


@contextlib.contextmanager
def exact_task_order(
    seed: int, task_steps: Mapping[str, int], last_task: str = ""
) -> Iterator[None]:
    """Every task gets exactly its steps, in an order that the seed decides.

    Args:
        seed: of the run.
        task_steps: task -> optimiser steps; the order is drawn anew after all of them.
        last_task: its steps come after all others; empty: mixed.
    """
    # It imports jiant, as nothing does before the mends.
    from gradts_plugin.hosts.jiant.training.samplers import EpochTaskSampler

    module = module_named("jiant.proj.main.components.task_sampler")

    def create_task_sampler(*, task_dict: Mapping[str, Any], **_others: Any) -> EpochTaskSampler:
        stream = random_stream(seed, "task order")
        return EpochTaskSampler(task_dict, stream, task_steps, last_task)

    with replaced(module, "create_task_sampler", create_task_sampler):
        yield
