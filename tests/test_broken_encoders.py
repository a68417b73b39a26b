"""Broken encoder folders: one line, no traceback, nothing written; odd but whole ones run."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from broken_encoders import (
    OF_BERT,
    OF_OTHERS,
    Breaks,
    config,
    in_numbers,
    one_segment_type,
    weights,
    without,
)
from tiny_encoders import KINDS, save_tiny_encoder
from tiny_runs import files_below, run_command, write_run_file

from gradts_plugin.hosts.jiant import opening

BROKEN = [
    *(("bert", name) for name in OF_BERT),
    *((kind, name) for kind, ways in OF_OTHERS.items() for name in ways),
]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    """A folder with a tiny encoder of each kind."""
    folder = tmp_path_factory.mktemp("encoders")
    for kind in KINDS:
        save_tiny_encoder(kind, folder / kind)
    return folder


def test_there_are_many_ways():
    assert len(BROKEN) >= 70


@pytest.mark.parametrize(("kind", "way"), BROKEN, ids=lambda value: value)
def test_a_broken_encoder_is_one_line_and_nothing_is_written(kind, way, encoders, tmp_path):
    for name in {kind, "roberta"}:  # whose tokenizer one way takes
        shutil.copytree(encoders / name, tmp_path / name)
    breaks = OF_BERT[way] if kind == "bert" else OF_OTHERS[kind][way]
    breaks(tmp_path / kind)
    path = write_run_file(tmp_path, tmp_path / kind)
    before = files_below(tmp_path)
    answer = run_command("run", path, "--quiet")
    assert (answer.code, answer.out) == (2, ""), answer.err
    (line,) = answer.err.splitlines()
    assert line.startswith("gradts-select: ")
    assert len(line.replace(str(tmp_path), "")) < 400
    assert files_below(tmp_path) == before


def rounded(found):
    """Values that half precision holds exactly."""
    return {name: value.half().bfloat16().float() for name, value in found.items()}


def under_old_names(found):
    """As a masked language model stores it, with the names of 2019."""
    named = {
        f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in found.items()
        if "pooler" not in name
    }
    return named | {"cls.predictions.bias": torch.zeros(246)}


#: Encoders that are whole, if not as jiant knew them; each must compute what the plain one does.
SAME_NUMBERS: dict[str, Breaks] = {
    "float16": in_numbers(torch.float16),
    "bfloat16": in_numbers(torch.bfloat16),
    "float64": in_numbers(torch.float64),
    "return_dict": config(return_dict=False),
    "torchscript": config(torchscript=True),
    "chunks": config(chunk_size_feed_forward=5),
    "attentions": config(output_attentions=True),
    "no architectures": config(architectures=None),
}


def numbers_of_a_run(encoder, folder):
    """A run's scores and correlations."""
    path = write_run_file(folder, encoder, tasks=("topic", "match"))
    answer = run_command("run", path, "--quiet")
    assert answer.code == 0, answer.err
    result = json.loads((folder / "out" / "result.json").read_text())
    taus = [each["tau"] for each in result["ranking"]["candidates"]]
    return taus, result["selected"]["scores"], result["alone"]["scores"]


@pytest.fixture(scope="module")
def plain(encoders, tmp_path_factory):
    """An encoder with values that every precision holds, and a run on it."""
    folder = tmp_path_factory.mktemp("plain")
    encoder = shutil.copytree(encoders / "bert", folder / "bert")
    weights(rounded)(encoder)
    return encoder, numbers_of_a_run(encoder, folder)


@pytest.mark.parametrize("name", SAME_NUMBERS)
def test_odd_encoders_compute_what_plain_ones_do(name, plain, tmp_path):
    encoder = shutil.copytree(plain[0], tmp_path / "bert")
    SAME_NUMBERS[name](encoder)
    assert numbers_of_a_run(encoder, tmp_path) == plain[1]


@pytest.mark.parametrize("way", [without("pooler"), weights(under_old_names)])
def test_heads_and_names_of_later_times_may_be_missing(way, encoders, tmp_path):
    encoder = shutil.copytree(encoders / "bert", tmp_path / "bert")
    way(encoder)
    assert numbers_of_a_run(encoder, tmp_path)


def test_one_segment_type_is_enough_without_pairs(encoders, tmp_path):
    encoder = shutil.copytree(encoders / "bert", tmp_path / "bert")
    one_segment_type(encoder)
    path = write_run_file(tmp_path, encoder, tasks=("topic", "words"))
    assert run_command("plan", path).code == 0


def test_a_plan_refuses_what_the_run_would(encoders, tmp_path):
    encoder = shutil.copytree(encoders / "bert", tmp_path / "bert")
    without("layer.1.")(encoder)
    path = write_run_file(tmp_path, encoder)
    answer = run_command("plan", path)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "is incomplete" in answer.err


def test_an_encoder_is_tried_until_it_is_exported_and_not_again(encoders, tmp_path, monkeypatch):
    path = write_run_file(tmp_path, encoders / "bert")
    tried = []
    rehearse = opening.rehearse
    monkeypatch.setattr(opening, "rehearse", lambda *given: tried.append(given) or rehearse(*given))
    assert run_command("rank", path, "--quiet").code == 0
    assert run_command("rank", path, "--quiet").code == 0
    assert len(tried) == 1
    (exported,) = tmp_path.rglob("encoder/prepared.json")
    shutil.rmtree(exported.parent)
    assert run_command("rank", path, "--quiet").code == 0
    assert [len(samples) for _, _, samples in tried[1:]] == [0]  # the tasks are prepared
