"""The checkpoint of a scheduled run: what is written comes back as it was, or not at all."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.training import checkpoint


def test_everything_comes_back_with_its_type_and_value(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    values = {
        "plain": [None, True, 3, 0.1, "text"],
        "empty": ({}, [], ()),
        "by number": {0: {"step": 2, "exp_avg": weight.to(torch.bfloat16)}},
        "shared": {"first": weight, "again": weight, "part": weight[1:], "view": weight.T},
        "scalar": torch.tensor(1.5),
        "random": (random.getstate(), np.random.get_state(), torch.get_rng_state()),
    }
    path = tmp_path / "new" / "checkpoint"
    checkpoint.write_checkpoint(path, values)
    assert same(checkpoint.read_checkpoint(path), values)
    assert [found.name for found in path.parent.iterdir()] == ["checkpoint"]


def same(found, expected):
    """Equal in type and value, all the way down."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and same(list(found.values()), list(expected.values()))
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


def test_a_value_that_is_no_plain_one_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "checkpoint"
    checkpoint.write_checkpoint(path, {"step": 1})
    with pytest.raises(TypeError, match="object cannot be written"):
        checkpoint.write_checkpoint(path, {"step": object()})
    assert checkpoint.read_checkpoint(path) == {"step": 1}


@pytest.mark.parametrize(
    ("what", "changed"),
    [("step 7", b'"step\\", 7'), ("another format", b"scheduled RUN")],
)
def test_a_file_that_was_changed_is_refused(tmp_path, what, changed):
    path = tmp_path / "checkpoint"
    checkpoint.write_checkpoint(path, {"weight": torch.ones(3), "step": 5})
    original = {"step 7": b'"step\\", 5', "another format": b"scheduled run"}[what]
    content = path.read_bytes()
    assert original in content
    path.write_bytes(content.replace(original, changed))
    with pytest.raises(HostError, match="is damaged; remove it and the run starts anew"):
        checkpoint.read_checkpoint(path)
