"""AUTOSEM through jiant: who steers, in which ratio tasks are trained, and killed runs."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from test_bandit import bandit_of
from tiny_encoders import save_tiny_encoder
from tiny_runs import Recorder, run_command, with_plugins, write_run_file

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.hosts.jiant.faults.random_streams import random_stream
from gradts_plugin.hosts.jiant.training import scheduled as scheduled_runs
from gradts_plugin.selection import mixing

pytestmark = pytest.mark.usefixtures("without_pages")

TASKS = ("topic", "match", "words")
AUTOSEM = {"name": "autosem", "rounds": 14, "steps_per_round": 2, "top_k": 2, "trials": 3}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_tiny_encoder("bert", tmp_path_factory.mktemp("encoder") / "bert")


def run(run_file, *arguments):
    """Runs a file that must work; returns its outcome and what plugins heard."""
    recorder = Recorder()
    with pytest.MonkeyPatch.context() as patch:
        with_plugins(patch, recorder)
        answer = run_command("run", run_file, "--json", *arguments)
    assert answer.code == 0, answer.err
    return json.loads(answer.out), recorder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, encoder):
    run_file = write_run_file(tmp_path_factory.mktemp("run"), encoder, TASKS, method=AUTOSEM)
    return run_file, *run(run_file)


def scheduled(recorder):
    """The steps and the result of the bandit's run."""
    steps = [
        call["step"] for call in recorder.of("after_train_step") if call["plan"].recipe.schedule
    ]
    results = [
        call["result"] for call in recorder.of("after_training") if call["plan"].recipe.schedule
    ]
    return steps, results


def test_the_bandit_steers_one_run_round_by_round_from_the_primary_on(finished):
    _, _, recorder = finished
    steps, (result,) = scheduled(recorder)
    names = [step.task_name for step in steps]
    assert len(names) == result.num_steps == 28
    assert set(names) == set(TASKS)
    assert names[:2] == ["topic", "topic"]
    assert names[::2] == names[1::2]
    assert len(result.history) == 14
    # The same decisions follow from the scores.
    bandit = bandit_of(TASKS, seed=0)
    for name, score in zip(names[::2], result.history, strict=True):
        assert bandit.next_task() == name
        bandit.observe(score)
    assert bandit.state() == result.scheduler_state


def test_the_ratios_end_in_jiants_sampler(finished):
    run_file, outcome, _ = finished
    selection = outcome["selection"]
    best = max(selection["trials"], key=lambda trial: trial["score"])
    assert selection["mixing_ratios"] == best["mixing_ratios"]
    config = json.loads((run_file.parent / "out" / "selected_config.json").read_text())
    tasks = {"topic", *selection["auxiliary_tasks"]}
    assert set(config["task_run_config"]["train_task_list"]) == tasks
    if selection["mixing_ratios"]:
        assert config["sampler_config"] == {
            "sampler_type": "SpecifiedProbMultiTaskSampler",
            "task_to_unweighted_probs": selection["mixing_ratios"],
        }
    assert outcome["selected"]["mixing_ratios"] == best["mixing_ratios"]
    assert outcome["selected"]["score"] == best["score"]


def test_every_mixture_is_trained_in_its_ratio(finished):
    _, outcome, recorder = finished
    steps = {}
    for call in recorder.of("after_train_step"):
        plan, step = call["plan"], call["step"]
        ratios = tuple(plan.recipe.mixing_ratios.items())
        steps.setdefault((ratios, plan.seed), []).append(step.task_name)
    mixed = {key: names for key, names in steps.items() if key[0]}
    assert len({ratios for ratios, _ in mixed}) == sum(
        bool(trial["mixing_ratios"]) for trial in outcome["selection"]["trials"]
    )
    for (ratios, seed), names in mixed.items():
        tasks, counts = zip(*ratios, strict=True)
        stream = random_stream(seed, "task order")
        drawn = [stream.choice(tasks, p=np.array(counts) / sum(counts)) for _ in names]
        assert names == drawn


def test_faithful_trains_the_mixture_in_blocks(finished, encoder):
    run_file, _, _ = finished
    faithful = write_run_file(
        run_file.parent,
        encoder,
        TASKS,
        method={**AUTOSEM, "trials": 1},
        faithful=True,
        training={"max_steps": 40, "batch_size": 8, "learning_rate": 1e-3, "exposure": "total"},
        output_dir="faithful",
        seed=4,
    )
    outcome, recorder = run(faithful)
    (drawn,) = mixing.random_ratios(2, 1, np.random.default_rng([4, 1]))
    ratios = outcome["selection"]["mixing_ratios"]
    assert list(ratios.values()) == [ratio for ratio in drawn if ratio]
    cycle = [name for name, ratio in ratios.items() for _ in range(2 * ratio)]
    trained = [
        call["step"].task_name
        for call in recorder.of("after_train_step")
        if call["plan"].recipe.block_steps
    ]
    assert trained == list(itertools.islice(itertools.cycle(cycle), 40))
    config = json.loads((run_file.parent / "faithful" / "selected_config.json").read_text())
    assert config["sampler_config"]["task_to_unweighted_probs"] == ratios


class Crafted:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class StopAtStep:
    """Interrupts the bandit's run after one of its steps."""

    @hookimpl
    def after_train_step(self, plan, step):
        """Stops."""
        if plan.recipe.schedule and step.global_step == 7:
            raise KeyboardInterrupt


def test_a_killed_run_goes_on_after_its_last_round(finished, tmp_path, encoder, monkeypatch):
    _, outcome, uninterrupted = finished
    run_file = write_run_file(tmp_path, encoder, TASKS, method=AUTOSEM)
    with monkeypatch.context() as patch:
        patch.setattr(scheduled_runs, "CHECKPOINT_SECONDS", 0.0)
        with_plugins(patch, StopAtStep())
        assert run_command("run", run_file).code == 130
    (checkpoint,) = tmp_path.glob("out/trials/*/*")  # and no other file, a pickle say
    assert checkpoint.name == "checkpoint.safetensors"

    whole = checkpoint.read_bytes()
    other_number = bytearray(whole)
    other_number[-1] ^= 1
    executed = tmp_path / "executed"
    for damaged in (whole[:1000], bytes(other_number), b"", pickle.dumps(Crafted(executed))):
        checkpoint.write_bytes(damaged)
        answer = run_command("run", run_file)
        assert answer.code == 2
        assert answer.err.splitlines()[-1] == (
            f"gradts-select: the checkpoint {checkpoint} is damaged; "
            "remove it and the run starts anew"
        )
        assert "Traceback" not in answer.err
    assert not executed.exists()

    checkpoint.write_bytes(whole)
    resumed, recorder = run(run_file)
    steps, (result,) = scheduled(recorder)
    all_steps, (expected,) = scheduled(uninterrupted)
    assert steps == all_steps[6:]
    assert result.history == expected.history
    assert result.num_examples == expected.num_examples
    assert result.scheduler_state == expected.scheduler_state
    assert not checkpoint.exists()
    assert resumed["selection"]["reason"] == outcome["selection"]["reason"]
    assert resumed["selection"]["mixing_ratios"] == outcome["selection"]["mixing_ratios"]
