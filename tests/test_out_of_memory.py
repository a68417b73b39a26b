"""A probe that runs out of memory goes on with smaller batches, and gives the same numbers."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
import torch
from fake_runs import TASKS, open_fake

from gradts_plugin.errors import TrainingError
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTarget


@dataclass(frozen=True)
class SmallTarget(FakeTarget):
    """Has no memory for losses of more than two instances at a time, or for fewer still."""

    most: int = 2
    sizes: list[int] = field(default_factory=list)

    def batches(self, *, batch_size, **given):
        self.sizes.append(batch_size)
        for batch in super().batches(batch_size=batch_size, **given):
            yield replace(
                batch,
                instance_losses=partial(self.within, batch.instance_losses, len(batch.example_ids)),
                hidden_states=partial(self.within, batch.hidden_states, len(batch.example_ids)),
            )

    def within(self, compute, number):
        if number > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return compute()


@dataclass
class SmallHost(FakeHost):
    most: int = 2
    sizes: list[int] = field(default_factory=list)

    def small(self, target):
        return SmallTarget(**vars(target), most=self.most, sizes=self.sizes)

    @contextlib.contextmanager
    def fine_tuned(self, plan, looks=None):
        with super().fine_tuned(plan, looks) as target:
            yield self.small(target)

    @contextlib.contextmanager
    def untrained(self, task_names, seed):
        with super().untrained(task_names, seed) as target:
            yield self.small(target)


def probed(folder, model, host=None, **probing):
    engine = open_fake(folder, {"probing": {"model": model, "batch_size": 8, **probing}}, host=host)
    return {name: sources[0] for name, sources in engine.probes.of_tasks().items()}


@pytest.mark.parametrize("model", ["frozen", "fine-tuned"])
def test_the_batch_is_halved_and_the_numbers_are_the_same(tmp_path, model):
    host = SmallHost(TASKS)
    expected = probed(tmp_path / "large", model)
    found = probed(tmp_path / "small", model, host)
    assert set(host.sizes) == {8, 4, 2}
    assert len(host.fine_tunings) == (len(TASKS) if model == "fine-tuned" else 0)  # once each
    for name, record in expected.items():
        assert found[name].metadata.digest == record.metadata.digest
        np.testing.assert_allclose(found[name].task_matrix(), record.task_matrix(), rtol=1e-5)


def test_where_one_instance_is_too_much_it_is_said(tmp_path):
    with pytest.raises(TrainingError, match="probe of goal ran out of memory with batches of 1"):
        probed(tmp_path, "frozen", SmallHost(TASKS, most=0))


def test_with_dropout_batches_matter_and_are_not_halved(tmp_path):
    with pytest.raises(TrainingError, match=r"batches of 8 \(probing\.batch_size\)"):
        probed(tmp_path, "fine-tuned", SmallHost(TASKS), train_mode=True)
