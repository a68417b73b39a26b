"""A rewritten config trains in jiant's own run exactly what a trial was scored by."""

import json
from types import SimpleNamespace

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_jiant import export_weights, losses, write_setup
from tiny_runs import Recorder, run_command

from gradts_plugin.commands.jiant_setup import open_setup
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.block import merge_settings

apply_mends()

pytestmark = pytest.mark.usefixtures("without_pages")

TASKS = ("cola", "rte", "stsb", "udpos")

#: Nothing of it is jiant's default, or stands in jiant's arguments below.
TRAINING = {
    "max_steps": 6,
    "batch_size": 3,
    "gradient_accumulation_steps": 2,
    "learning_rate": 2e-3,
    "max_grad_norm": 0.05,
    "warmup_proportion": 0.5,
}


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("setup")
    encoder = save_tiny_encoder("bert", folder / "encoder")
    weights = export_weights(encoder, folder / "weights.p")
    container = write_setup(folder, encoder, TASKS, 6)
    return SimpleNamespace(encoder=encoder, weights=weights, container=container)


def block(**training):
    return {
        "primary_task": "cola",
        "candidate_tasks": ["udpos", "stsb"],
        "method": "all",
        "training": {**TRAINING, **training},
        "seed": 3,
    }


def trials(setup, folder, values, *requests):
    """Scores trials; (task, loss) of the steps of each."""
    settings = merge_settings(values, None, {}, where="test")
    arguments = HostArguments(str(setup.encoder), str(setup.weights), no_cuda=True)
    config = json.loads(setup.container.read_text())
    recorder = Recorder()
    manager = make_plugin_manager([recorder], entry_points=False)
    engine = open_setup(config, arguments, settings, manager, folder)
    found = []
    for names in requests:
        recorder.calls.clear()
        engine.trainings.score(TrialRequest(names, range(3, 4), longer=False))
        steps = [call["step"] for call in recorder.of("after_train_step")]
        found.append([(step.task_name, step.loss) for step in steps])
    return found


@pytest.mark.parametrize(
    ("training", "num_steps"),
    [
        ({"exposure": "equal", "auxiliary_ratio": 1.5}, 15),
        ({"exposure": "total"}, 6),
        ({"exposure": "total", "sampler": "epoch"}, 6),
        ({"exposure": "equal", "optimizer": "adamax", "precision": "bf16"}, 12),
        ({"exposure": "equal", "clip_once_per_step": False}, 12),
        ({"exposure": "equal", "order": "mixed"}, 12),
        ({"exposure": "equal", "order": "mixed", "optimizer": "adamax"}, 12),
    ],
    ids=lambda given: ", ".join(map(str, given.values())) if isinstance(given, dict) else "",
)
def test_every_loss_is_that_of_the_trial(setup, tmp_path, training, num_steps):
    config = json.loads(setup.container.read_text())
    config["gradts"] = block(**training)
    path = tmp_path / "container.json"
    path.write_text(json.dumps(config))
    answer = run_command(
        *("run", "--jiant_task_container_config_path", path, "--output_dir", tmp_path / "out"),
        *("--hf_pretrained_model_name_or_path", setup.encoder, "--model_path", setup.weights),
        *("--no_cuda", "--do_train", "--do_val", "--seed=3", "--learning_rate=1e-3", "--quiet"),
    )
    assert answer.code == 0, answer.err
    [tried] = trials(setup, tmp_path / "trial", block(**training), ("udpos", "stsb"))
    assert len(tried) == num_steps
    assert losses(tmp_path / "out") == tried


@pytest.mark.parametrize("order", ["sequential", "mixed"])
def test_the_primary_gets_the_batches_that_it_gets_alone(setup, tmp_path, order):
    # At a learning rate of nothing, a loss shows which rows are in a batch.
    values = block(max_steps=8, learning_rate=1e-12, exposure="equal", order=order)
    alone, together = trials(setup, tmp_path, values, (), ("stsb", "udpos"))
    of_primary = [loss for task, loss in together if task == "cola"]
    assert len(of_primary) == len(alone) == 8
    last = [task for task, _ in together[8:]] == ["cola"] * 8
    assert last == (order == "sequential")
    assert len({round(loss, 4) for loss in of_primary}) > 4
    assert of_primary == pytest.approx([loss for _, loss in alone], abs=1e-6)
