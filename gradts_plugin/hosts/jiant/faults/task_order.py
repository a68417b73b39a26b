"""jiant never seeds its task sampler."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
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
