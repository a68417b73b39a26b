"""jiant trains every supported encoder on every kind of task."""

from __future__ import annotations

import json
import math

import pytest
import torch
import transformers
from tiny_encoders import KINDS, save_tiny_encoder
from tiny_jiant import TASKS, export_weights, losses, read_log, run_arguments, write_setup

from gradts_plugin.hosts.jiant.architectures import SUPPORTED_ENCODERS
from gradts_plugin.hosts.jiant.compat import apply_mends

apply_mends()

import jiant.proj.main.runscript as runscript  # noqa: E402
import jiant.shared.caching as caching  # noqa: E402

NUM_STEPS = 15


def test_every_supported_encoder_is_tested():
    assert sorted(KINDS) == sorted(SUPPORTED_ENCODERS)


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    """A folder with a jiant run of an encoder on all kinds of tasks."""
    folder = tmp_path_factory.mktemp(request.param)
    encoder = save_tiny_encoder(request.param, folder / "encoder")
    weights = export_weights(encoder, folder / "weights.p")
    # jiant cannot align words with pieces for all encoders, but none of these tasks needs it.
    container = write_setup(
        folder, encoder, tuple(TASKS), NUM_STEPS, sampler="UniformMultiTaskSampler"
    )
    runscript.run_loop(
        run_arguments(container, encoder, weights, folder / "output", do_save_last=True)
    )
    return folder


def test_steps_have_finite_losses_on_every_kind_of_task(trained):
    steps = losses(trained / "output")
    assert len(steps) == NUM_STEPS
    assert all(math.isfinite(loss) for _, loss in steps)


def test_training_starts_from_the_encoder_and_moves_every_layer(trained):
    before = transformers.AutoModel.from_pretrained(trained / "encoder").state_dict()
    after = torch.load(trained / "output" / "last_model.p", weights_only=True)
    for name, weight in before.items():
        trained_weight = after["encoder." + name]
        assert (trained_weight - weight).abs().max() < 0.1  # not drawn anew
        if "layer" in name and name.endswith("weight"):
            assert not torch.equal(trained_weight, weight), name


def test_evaluation_gives_a_metric_for_every_task(trained):
    metrics = read_log(trained / "output", "train_val")[-1]["metrics"]
    assert sorted(metrics) == sorted(TASKS)
    assert json.loads((trained / "output" / "val_metrics.json").read_text())


def test_pieces_are_known_to_the_tokenizer_and_padded_with_its_pad_token(trained):
    tokenizer = transformers.AutoTokenizer.from_pretrained(trained / "encoder", use_fast=False)
    datum = caching.ChunkedFilesDataCache(str(trained / "cache" / "rte" / "train")).get_all()[0]
    row = datum["data_row"]
    length = int(row.input_mask.sum())
    assert set(row.input_ids[length:].tolist()) <= {tokenizer.pad_token_id}
    assert tokenizer.unk_token_id not in row.input_ids[:length].tolist()
    assert row.input_ids[0] == tokenizer.cls_token_id
    assert row.input_ids[length - 1] == tokenizer.sep_token_id
