"""What auxiliaries' steps leave is kept, and found by whoever begins a training alike."""

import dataclasses
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_encoders import save_tiny_encoder
from tiny_jiant import export_weights, write_setup
from tiny_runs import Recorder

from gradts_plugin.commands.jiant_setup import open_setup
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.records import BatchSize, Recipe, TrainingPlan
from gradts_plugin.settings.block import merge_settings

apply_mends()

# ruff: noqa: E402
from gradts_plugin.hosts.jiant.faults.mending import ALL_MENDED
from gradts_plugin.hosts.jiant.training.checkpoint import read_checkpoint, write_checkpoint
from gradts_plugin.hosts.jiant.training.starts import Starts, start_digest

pytestmark = pytest.mark.usefixtures("without_pages")

TRAINING = {
    "max_steps": 6,
    "batch_size": 3,
    "gradient_accumulation_steps": 2,
    "learning_rate": 2e-3,
    "max_grad_norm": 0.05,
    "warmup_proportion": 0.5,
    "exposure": "equal",
    "auxiliary_ratio": 1.5,
}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("setup")
    encoder = save_tiny_encoder("bert", folder / "encoder", dropout=0.2)
    weights = export_weights(encoder, folder / "weights.p")
    container = write_setup(folder, encoder, ("cola", "rte", "stsb", "udpos"), 6)
    return SimpleNamespace(encoder=encoder, weights=weights, container=container)


def trained(
    setup, folder, primary, auxiliaries=("stsb", "udpos"), switches=(), keep_starts=0, **training
):
    """A training with auxiliaries: its steps, its result, its weights, and what the run did."""
    values = {
        "primary_task": primary,
        "candidate_tasks": list(auxiliaries),
        "training": {**TRAINING, **training},
        "store": str(folder.parent / "store"),
        "keep_starts": keep_starts,
        "seed": 3,
        **dict.fromkeys(switches, False),
    }
    settings = merge_settings(values, None, {}, where="test")
    arguments = HostArguments(str(setup.encoder), str(setup.weights), no_cuda=True)
    recorder = Recorder()
    manager = make_plugin_manager([recorder], entry_points=False)
    config = json.loads(setup.container.read_text())
    engine = open_setup(config, arguments, settings, manager, folder)
    trial = engine.trainings.score(TrialRequest(auxiliaries, range(3, 4), longer=False))
    engine.session.close()
    [result] = [call["result"] for call in recorder.of("after_training")]
    return SimpleNamespace(
        steps=[call["step"] for call in recorder.of("after_train_step")],
        result=dataclasses.replace(result, output_dir=None, seconds=0.0, weights_sha256=""),
        weights=torch.load(next(iter(folder.glob("trials/*/best_model.p")))),
        done=engine.session.accounts.counters,
        trial=trial,
    )


def starts(tmp_path):
    return sorted((tmp_path / "store" / "starts").glob("*"))


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"optimizer": "adamax", "precision": "bf16"},
        {"clip_once_per_step": False, "optimizer": "radam"},
    ],
    ids=str,
)
def test_another_primary_is_trained_as_if_all_of_it_were(setup, tmp_path, training):
    whole = trained(setup, tmp_path / "whole", "rte", **training)
    assert starts(tmp_path) == []
    (tmp_path / "store").rename(tmp_path / "other")  # where the training itself is found
    first = trained(setup, tmp_path / "first", "cola", keep_starts=1, **training)
    assert len(starts(tmp_path)) == 1
    found = trained(setup, tmp_path / "found", "rte", keep_starts=1, **training)
    assert len(starts(tmp_path)) == 1
    assert (len(first.steps), len(whole.steps), len(found.steps)) == (15, 15, 6)
    assert found.steps == whole.steps[9:]
    assert found.result == whole.result
    assert (whole.result.found_steps, found.result.found_steps) == (0, 9)
    assert (first.done.training_steps, found.done.training_steps) == (15, 6)
    assert found.weights.keys() == whole.weights.keys()
    for name, tensor in whole.weights.items():
        assert torch.equal(found.weights[name], tensor), name


def test_what_begins_otherwise_has_a_start_of_its_own(setup, tmp_path):
    keep = {"keep_starts": 1}
    trained(setup, tmp_path / "0", "cola", **keep)
    trained(setup, tmp_path / "1", "cola", ("udpos",), **keep)
    trained(setup, tmp_path / "2", "cola", learning_rate=1e-3, **keep)
    trained(setup, tmp_path / "3", "cola", batch_size=2, **keep)
    trained(setup, tmp_path / "4", "cola", warmup_proportion=0.1, **keep)
    trained(setup, tmp_path / "5", "cola", auxiliary_ratio=1, **keep)
    assert len(starts(tmp_path)) == 6
    # What comes after the start is no part of it.
    again = trained(setup, tmp_path / "6", "cola", ("udpos",), evaluations=2, **keep)
    assert again.result.found_steps == 9
    assert len(starts(tmp_path)) == 6


def digest(encoder="e", data="d", device="cpu", steps=5, own=(), **changes):
    """Of what is trained before the steps of `goal`."""
    recipe = Recipe(
        host="jiant",
        host_version=2,
        max_steps=steps + 10,
        evaluations=1,
        batches=dict.fromkeys(("goal", "near"), BatchSize(4, 1)),
        task_steps={"goal": steps, "near": 10},
        last_task="goal",
        own={
            "warmup_steps": 0,
            "learning_rate": 1e-3,
            "optimizer": "adamw",
            "max_grad_norm": 1.0,
            "clip_once_per_step": True,
            "sampler": "host",
            "precision": "fp32",
            "heads": None,
            **dict(own),
        },
    )
    plan = TrainingPlan("trial", ("goal", "near"), "goal", 3, recipe)
    return start_digest(
        dataclasses.replace(plan, **changes),
        ALL_MENDED,
        encoder=encoder,
        task_data={"near": data, "goal": "never asked for"},
        device=device,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "f"},
        {"data": "e"},
        {"device": "cuda"},
        {"seed": 4},
        {"kept_instances": {"near": np.array([1, 2])}},
        {"own": {"learning_rate": 1e-4}},
        {"own": {"optimizer": "radam"}},
        {"own": {"precision": "bf16"}},
        {"own": {"max_grad_norm": 2.0}},
    ],
    ids=str,
)
def test_all_that_a_start_depends_on_is_in_its_name(changes):
    assert digest(**changes) != digest()
    assert digest(**changes) == digest(**changes)


def test_the_primary_is_not_in_a_starts_name():
    assert digest(steps=7) == digest() is not None


def test_heads_that_may_be_shared_have_no_start():
    assert digest(own={"heads": {"task_to_taskmodel_map": {}}}) is None


@pytest.mark.parametrize(
    ("training", "switches"),
    [
        ({"order": "mixed"}, ()),
        ({"exposure": "total"}, ()),
        ({}, ("seeded_heads",)),
        ({}, ("reshuffle_epochs",)),
    ],
    ids=str,
)
def test_nothing_is_kept_of_steps_that_the_primary_has_an_influence_on(
    setup, tmp_path, training, switches
):
    trained(setup, tmp_path / "0", "cola", keep_starts=1, switches=switches, **training)
    assert starts(tmp_path) == []


def test_a_damaged_start_is_said(setup, tmp_path):
    trained(setup, tmp_path / "first", "cola", keep_starts=1)
    [path] = starts(tmp_path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(HostError, match=f"{path} is damaged; remove it"):
        trained(setup, tmp_path / "found", "rte", keep_starts=1)


def test_a_start_that_another_process_removes_is_made_again(tmp_path, monkeypatch):
    def read_too_late(path):
        path.unlink()
        return read_checkpoint(path)

    kept = Starts(tmp_path, most_gib=1)
    write_checkpoint(kept.path("a"), {"seconds": 1.0})
    assert kept.read("a") == {"seconds": 1.0}
    monkeypatch.setattr(f"{Starts.__module__}.read_checkpoint", read_too_late)
    assert kept.read("a") is None


def test_starts_that_were_unused_for_longest_go_first(tmp_path):
    kept = Starts(tmp_path / "starts", most_gib=3 * 100 / 2**30)
    (tmp_path / "starts").mkdir()
    (tmp_path / "starts" / "notes.txt").write_text("n" * 1000)
    for number, name in enumerate("abcd"):
        kept.path(name).write_bytes(bytes(100))
        os.utime(kept.path(name), (number, number))
    with pytest.raises(HostError, match="damaged"):
        kept.read("a")  # it is the latest now
    assert kept.read("e") is None
    kept.make_room()
    assert [name for name in "abcd" if kept.path(name).exists()] == ["a", "c", "d"]
    kept.make_room()
    assert (tmp_path / "starts" / "notes.txt").exists()
    # One that is larger than all that may be kept stays until there is another.
    small = Starts(tmp_path / "starts", most_gib=50 / 2**30)
    small.make_room()
    assert [name for name in "abcd" if kept.path(name).exists()] == ["a"]
