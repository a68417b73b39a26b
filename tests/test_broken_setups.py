"""Broken jiant set-ups: lines that say what is wrong, no traceback, nothing run or written."""

from __future__ import annotations

import json
import shutil

import pytest
from broken_encoders import config, one_weight
from broken_setups import (
    ARGUMENTS,
    FILES,
    RUN_ARGUMENTS,
    changed,
    of_meaning,
    of_samplers,
    of_values,
    put,
)
from tiny_encoders import save_tiny_encoder
from tiny_jiant import export_weights, write_setup
from tiny_runs import files_below, run_command

from gradts_plugin.hosts.jiant.compat import apply_mends

apply_mends()

TASKS = ("cola", "rte", "stsb")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A jiant set-up that nobody changes."""
    folder = tmp_path_factory.mktemp("made")
    encoder = save_tiny_encoder("bert", folder / "encoder")
    export_weights(encoder, folder / "weights.p")
    path = write_setup(folder, encoder, TASKS, 4)
    block = {"gradts": {"primary_task": "cola", "method": "all"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | block))
    return path


@pytest.fixture
def container(made, tmp_path):
    """A copy of it."""
    folder = shutil.copytree(made.parent, tmp_path / "set_up")
    path = folder / "container.json"
    path.write_text(path.read_text().replace(str(made.parent), str(folder)))
    return path


def answer_on(path, folder, *command, **arguments):
    """A command on a container config; jiant's other arguments are those of the set-up."""
    given = {
        "jiant_task_container_config_path": path,
        "hf_pretrained_model_name_or_path": folder / "encoder",
        "model_path": folder / "weights.p",
        **arguments,
    }
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    return run_command(*command, *words, "--no_cuda", "--quiet")


def is_refused(answer):
    """Whether it says what is wrong, a line for each mistake."""
    lines = answer.err.splitlines()
    return (
        answer.code == 2
        and answer.out == ""
        and lines[0].startswith("gradts-select: ")
        and all(line.startswith("  ") for line in lines[1:])
        and (len(lines) == 1 or f"{len(lines) - 1} mistakes" in lines[0])
        and all(len(line) < 600 for line in lines)
    )


def mutants(whole):
    """Container configs, each broken in one way."""
    return dict([*of_values(whole), *of_samplers(whole), *of_meaning(whole)])


def unseen(found, folder):
    """Of container configs, those that a plan does not refuse: way -> what it answered."""
    before = files_below(folder)
    passed = {}
    for way, broken in found.items():
        path = folder / "mutant.json"
        path.write_text(json.dumps(broken))
        answer = answer_on(path, folder, "select", "--dry-run", "--no-measure")
        if not is_refused(answer):
            passed[way] = (answer.code, answer.err)
        path.unlink()
    assert files_below(folder) == before
    return passed


def test_every_broken_container_config_is_refused(made):
    found = mutants(json.loads(made.read_text()))
    assert len(found) >= 282
    assert unseen(found, made.parent) == {}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("taskmodels_config.taskmodel_config_map", None),
        ("task_specific_configs_dict.rte.eval_subset_num", None),
        ("sampler_config", {"sampler_type": "UniformMultiTaskSampler"}),
        (
            "sampler_config",
            {
                "sampler_type": "TemperatureMultiTaskSampler",
                "temperature": 2,
                "examples_cap": None,
            },
        ),
        ("task_run_config.test_task_list", []),
        ("taskmodels_config.task_to_taskmodel_map.rte", "head"),
        ("global_train_config.warmup_steps", 0),
    ],
)
def test_what_is_right_is_taken(made, tmp_path, place, value):
    right = changed(json.loads(made.read_text()), tuple(place.split(".")), put(value))
    path = tmp_path / "container.json"
    path.write_text(json.dumps(right))
    answer = answer_on(path, made.parent, "run", output_dir=tmp_path / "out", seed=1)
    assert answer.code == 0, answer.err


@pytest.mark.parametrize("command", ["select", "run"])
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in ARGUMENTS.items() for value in values]
)
def test_a_wrong_argument_is_refused(container, tmp_path, command, name, value):
    value = {"CONTAINER": container, "FOLDER": tmp_path}.get(value, value)
    before = files_below(tmp_path)
    given = {name: value, **({"output_dir": tmp_path / "out"} if command == "run" else {})}
    answer = answer_on(container, container.parent, command, **given)
    assert is_refused(answer), answer.err
    assert files_below(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in RUN_ARGUMENTS.items() for value in values]
)
def test_a_wrong_argument_of_the_run_script_is_refused(container, tmp_path, name, value):
    before = files_below(tmp_path)
    answer = answer_on(
        container, container.parent, "run", output_dir=tmp_path / "out", **{name: value}
    )
    assert is_refused(answer), answer.err
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("flag", ["--fp16", "--write_val_preds"])
def test_a_flag_that_cannot_be_used_is_refused(container, tmp_path, flag):
    answer = answer_on(container, container.parent, "run", flag, output_dir=tmp_path / "out")
    assert is_refused(answer), answer.err
    assert flag in answer.err


@pytest.mark.parametrize("way", FILES)
def test_a_broken_file_is_refused(container, way):
    FILES[way](container.parent)
    before = files_below(container.parent)
    for more in ((), ("--dry-run", "--no-measure")):
        answer = answer_on(container, container.parent, "select", *more)
        assert is_refused(answer), answer.err
    assert files_below(container.parent) == before


def test_weights_of_another_encoder_are_refused(container, tmp_path):
    other = save_tiny_encoder("roberta", tmp_path / "roberta")
    export_weights(other, container.parent / "weights.p")
    answer = answer_on(container, container.parent, "select")
    assert is_refused(answer), answer.err
    assert "must be exported from this encoder" in answer.err


def test_fewer_positions_than_the_caches_rows_have(container):
    folder = container.parent / "encoder"
    config(max_position_embeddings=40)(folder)
    one_weight("embeddings.position_embeddings.weight", lambda found: found[:40])(folder)
    export_weights(folder, container.parent / "weights.p")
    answer = answer_on(container, container.parent, "select")
    assert is_refused(answer), answer.err
    assert "max_seq_length is 48, but encoder" in answer.err
