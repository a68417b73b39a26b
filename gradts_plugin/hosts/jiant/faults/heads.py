"""What a task's head starts from depends on which other tasks have one, and so does dropout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from gradts_plugin.hosts.jiant.faults.random_streams import random_stream
from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named


@contextlib.contextmanager
def seeded_heads(seed: int) -> Iterator[None]:
    """Each head starts from the seed and its task's name, and takes no other random number.

    Then a primary's trainings with and without auxiliaries start alike, and a container config that
    has heads for further tasks trains what one without them does.
    """
    module = module_named("jiant.proj.main.modeling.model_setup")
    create = module.create_taskmodel

    def create_taskmodel(task: Any, *arguments: Any, **options: Any) -> Any:
        # Heads are made on the CPU, so no other stream is touched.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random_stream(seed, "head", task.name).randint(2**31)))
            return create(task, *arguments, **options)

    with replaced(module, "create_taskmodel", create_taskmodel):
        yield
