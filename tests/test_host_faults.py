"""jiant's own faults: what each switch changes in tiny real runs; nothing stays behind."""

from __future__ import annotations

import collections
import itertools
import types

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_encoders import save_tiny_encoder
from tiny_jiant import (
    TASKS,
    export_weights,
    losses,
    read_log,
    run_arguments,
    write_setup,
)

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.faults.batch_length import trim_batch
from gradts_plugin.hosts.jiant.faults.data_order import epoch_order
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches
from gradts_plugin.hosts.jiant.faults.mending import mended as mended_by
from gradts_plugin.hosts.jiant.faults.random_streams import random_stream

apply_mends()

import jiant.proj.main.components.task_sampler as task_sampler  # noqa: E402
import jiant.proj.main.metarunner as metarunner_module  # noqa: E402
import jiant.proj.main.runner as runner_module  # noqa: E402
import jiant.proj.main.runscript as runscript  # noqa: E402
import jiant.shared.initialization as initialization  # noqa: E402
import jiant.utils.torch_utils as torch_utils  # noqa: E402
from jiant.tasks.core import TaskTypes  # noqa: E402
from jiant.tasks.lib.cola import ColaTask  # noqa: E402
from jiant.tasks.lib.udpos import UdposTask  # noqa: E402
from jiant.tasks.retrieval import TASK_DICT  # noqa: E402

OFF = {
    "seeded_sampler": False,
    "seeded_heads": False,
    "reshuffle_epochs": False,
    "trim_batches": False,
    "exact_resume": False,
}


def mended(*, seed, clip_once_per_step=False, **switches):
    return mended_by(
        seed=seed, switches=FaultSwitches(**switches), clip_once_per_step=clip_once_per_step
    )


class Setup:
    """An encoder, its weights and a container config on all kinds of tasks."""

    def __init__(self, folder, tasks=tuple(TASKS), max_steps=24, dropout=0.0, **options):
        self.folder = folder
        self.encoder = save_tiny_encoder("bert", folder / "encoder", dropout=dropout)
        self.weights = export_weights(self.encoder, folder / "weights.p")
        options.setdefault("cache_options", {"chunk_size": 7})
        self.container = write_setup(folder, self.encoder, tasks, max_steps, **options)

    def arguments(self, name, **options):
        return run_arguments(
            self.container, self.encoder, self.weights, self.folder / name, **options
        )

    def run(self, name, switches=None, **options):
        with mended(**{"seed": 3, **(switches or {})}):
            runscript.run_loop(self.arguments(name, **options))
        return losses(self.folder / name)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    return Setup(tmp_path_factory.mktemp("setup"))


@pytest.fixture(scope="module")
def dropout_setup(tmp_path_factory):
    return Setup(tmp_path_factory.mktemp("dropout"), tasks=("cola", "udpos"), dropout=0.2)


# --- seeds and order ----------------------------------------------------------------------------


def test_same_seed_gives_the_same_run(setup):
    first = setup.run("same_1")
    assert len(first) == 24
    assert first == setup.run("same_2")


def test_another_seed_gives_another_task_order(setup):
    first = setup.run("seed_3")
    second = setup.run("seed_4", {"seed": 4})
    assert [task for task, _ in first] != [task for task, _ in second]


def test_without_the_switch_the_task_order_is_left_to_chance(setup):
    with mended(seed=3, **OFF):
        orders = {tuple(_pop(task_sampler.create_task_sampler, 20)) for _ in range(3)}
    assert len(orders) > 1


def test_a_sampler_that_is_given_its_stream_keeps_it():
    with mended(seed=3):
        found = _pop(task_sampler.create_task_sampler, 20, rng=5)
    assert found == _pop(task_sampler.create_task_sampler, 20, rng=5)


def _pop(create, count, **options):
    sampler = create(
        {"sampler_type": "UniformMultiTaskSampler"},
        task_dict={"a": 1, "b": 2},
        task_to_num_examples_dict={},
        **options,
    )
    return [sampler.pop()[0] for _ in range(count)]


def _popped_ids(setup, switches, count, task="cola"):
    """Example ids of the first batches of a task."""
    with mended(**{"seed": 3, **switches}):
        arguments = setup.arguments("unused")
        container = runscript.container_setup.create_jiant_task_container_from_json(
            arguments.jiant_task_container_config_path, verbose=False
        )
        runner = runner_module.JiantRunner(container, None, None, None, None, None)
        batches = runner.get_train_dataloader_dict()[task]
        return [batches.pop()[1]["example_id"] for _ in range(count)]


def _joined(batches):
    return [int(example_id) for batch in batches for example_id in batch]


def test_every_epoch_has_all_rows_in_a_new_order(setup):
    # 18 rows in batches of 4: five batches an epoch, the last one with two rows.
    found = _popped_ids(setup, {}, 15)
    assert [len(ids) for ids in found] == [4, 4, 4, 4, 2] * 3
    epochs = [_joined(found[start : start + 5]) for start in (0, 5, 10)]
    assert len(set(epochs[0])) == 18
    for epoch in epochs:
        assert collections.Counter(epoch) == collections.Counter(epochs[0])
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_rows_come_in_the_order_that_is_promised(setup):
    found = _joined(_popped_ids(setup, {}, 10))
    assert found == [*epoch_order(3, "cola", 0, 18), *epoch_order(3, "cola", 1, 18)]


def test_host_alone_repeats_the_first_epoch(setup):
    found = _popped_ids(setup, OFF, 15)
    assert found[:5] == found[5:10] == found[10:]


@given(st.integers(0, 2**31 - 1), st.text(max_size=8), st.integers(0, 50), st.integers(0, 60))
def test_epoch_order_is_a_permutation_that_depends_on_nothing_else(seed, task, epoch, num_rows):
    order = epoch_order(seed, task, epoch, num_rows)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(num_rows))
    np.random.seed(epoch)
    np.testing.assert_array_equal(order, epoch_order(seed, task, epoch, num_rows))


def test_streams_of_other_purposes_are_unrelated():
    names = [("a",), ("b",), ("a", 0), ("a", 1), ()]
    drawn = {random_stream(seed, *name).randint(2**31) for seed in (0, 1) for name in names}
    assert len(drawn) == 10


# --- trimming -----------------------------------------------------------------------------------


def test_trimming_changes_no_loss_and_no_metric(setup):
    # A small learning rate: Adam turns rounding errors of tiny gradients into whole steps.
    options = {"write_test_preds": True, "learning_rate": 1e-4}
    full = setup.run("padded", {"trim_batches": False}, **options)
    trimmed = setup.run("trimmed", **options)
    assert {task for task, _ in trimmed} == set(TASKS)
    for (task, loss), (other_task, other_loss) in zip(full, trimmed, strict=True):
        assert task == other_task
        assert loss == pytest.approx(other_loss, abs=1e-5)
    metrics = [read_log(setup.folder / name, "train_val") for name in ("padded", "trimmed")]
    assert _numbers(metrics[0]) == pytest.approx(_numbers(metrics[1]), abs=1e-5)
    predictions = [
        torch.load(setup.folder / name / "test_preds.p", weights_only=False)
        for name in ("padded", "trimmed")
    ]
    for task in ("cola", "rte", "copa"):
        assert predictions[0][task]["preds"].tolist() == predictions[1][task]["preds"].tolist()
    assert predictions[0]["udpos"]["preds"].shape == predictions[1]["udpos"]["preds"].shape


def _numbers(entries):
    if isinstance(entries, dict):
        return [number for value in entries.values() for number in _numbers(value)]
    if isinstance(entries, list):
        return [number for value in entries for number in _numbers(value)]
    return [float(entries)]


def test_forward_passes_are_as_long_as_the_longest_row(setup, monkeypatch):
    lengths = []
    forward = runner_module.wrap_jiant_forward

    def spy(jiant_model, batch, task, compute_loss):
        lengths.append((batch.input_ids.shape[-1], int(batch.input_mask.sum(-1).max())))
        return forward(jiant_model, batch, task, compute_loss)

    monkeypatch.setattr(runner_module, "wrap_jiant_forward", spy)
    setup.run("lengths", write_test_preds=True)
    assert all(length == longest for length, longest in lengths)
    assert min(length for length, _ in lengths) < 24  # max_seq_length is 48


def _tagging_batch(lengths, full_length, label_mask=None):
    mask = torch.zeros(len(lengths), full_length, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
    return UdposTask.Batch(
        input_ids=mask * 5,
        input_mask=mask,
        segment_ids=mask * 0,
        label_ids=mask - 1,
        label_mask=mask if label_mask is None else label_mask,
        tokens=[["x"]] * len(lengths),
    )


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(12, 20))
def test_trimmed_batch_keeps_every_token_and_nothing_else(lengths, full_length):
    batch = _tagging_batch(lengths, full_length)
    trimmed = trim_batch(batch)
    longest = max(lengths)
    for name in ("input_ids", "input_mask", "segment_ids", "label_ids", "label_mask"):
        before, after = getattr(batch, name), getattr(trimmed, name)
        assert after.shape == (len(lengths), longest)
        torch.testing.assert_close(after, before[:, :longest])
        assert after.is_contiguous()
    assert trimmed.tokens is batch.tokens
    assert batch.input_ids.shape == (len(lengths), full_length)  # the given one is not changed


def test_batch_without_padding_is_returned_itself():
    batch = _tagging_batch([6, 3], 6)
    assert trim_batch(batch) is batch


def test_a_label_beyond_the_input_is_not_cut_off():
    label_mask = torch.zeros(1, 8, dtype=torch.long)
    label_mask[0, 5] = 1
    assert trim_batch(_tagging_batch([3], 8, label_mask)).label_ids.shape == (1, 6)


def test_multiple_choice_is_trimmed_to_the_longest_choice():
    from jiant.tasks.lib.copa import CopaTask

    mask = torch.zeros(2, 2, 9, dtype=torch.long)
    mask[0, 0, :3] = mask[1, 1, :5] = mask[0, 1, :2] = mask[1, 0, :1] = 1
    batch = CopaTask.Batch(mask * 4, mask, mask * 0, torch.tensor([0, 1]), [])
    trimmed = trim_batch(batch)
    assert trimmed.input_ids.shape == (2, 2, 5)
    assert trimmed.label_id.tolist() == [0, 1]


def test_label_vector_as_long_as_the_text_is_not_mistaken_for_a_sequence():
    mask = torch.tensor([[1, 1, 0]])
    batch = ColaTask.Batch(mask, mask, mask, label_id=torch.tensor([1, 0, 1]), tokens=[])
    assert trim_batch(batch).label_id.tolist() == [1, 0, 1]


SAFE_KINDS = ("classification", "regression", "tagging", "multiple_choice")
OTHERS = sorted(
    name
    for name, task in TASK_DICT.items()
    if isinstance(task.TASK_TYPE, TaskTypes) and task.TASK_TYPE.value not in SAFE_KINDS
)


@pytest.mark.parametrize("task_name", OTHERS)
def test_other_kinds_of_batches_are_left_alone(task_name):
    batch_class = TASK_DICT[task_name].Batch
    if not hasattr(batch_class, "get_annotations"):
        pytest.skip("jiant defines no batch for it")
    mask = torch.tensor([[1, 1, 0, 0]])
    batch = batch_class(**dict.fromkeys(batch_class.get_annotations(), mask))
    assert trim_batch(batch) is batch


# --- resuming -----------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for a kill: nothing in jiant catches it."""


def _kill_after(monkeypatch, steps):
    step = runner_module.JiantRunner.run_train_step
    taken = itertools.count(1)

    def run_train_step(self, *args, **kwargs):
        if next(taken) > steps:
            raise Killed
        return step(self, *args, **kwargs)

    monkeypatch.setattr(runner_module.JiantRunner, "run_train_step", run_train_step)


def _run_until_killed(setup, name, monkeypatch, steps, switches=None, **options):
    with monkeypatch.context() as patches:
        _kill_after(patches, steps)
        with pytest.raises(Killed):
            setup.run(name, switches, **options)


def _killed_and_resumed(setup, name, monkeypatch, *, kill_after, switches=None, **options):
    _run_until_killed(setup, name, monkeypatch, kill_after, switches, **options)
    # Another process would start from other random states.
    np.random.seed(99)
    torch.manual_seed(99)
    with mended(**{"seed": 3, **(switches or {})}):
        runscript.resume(str(setup.folder / name / "checkpoint.p"))
    return losses(setup.folder / name)


OPTIONS = {"save_checkpoint_every_steps": 5, "eval_every_steps": 5, "do_save_best": True}


@pytest.mark.parametrize("reshuffle", [True, False])
def test_resumed_run_equals_the_uninterrupted_one(dropout_setup, monkeypatch, reshuffle):
    # Checkpoints after steps 4, 9, 14, 19; 18 rows in batches of 4, so several epochs pass.
    switches = {"reshuffle_epochs": reshuffle}
    whole = dropout_setup.run(f"whole_{reshuffle}", switches, **OPTIONS)
    resumed = _killed_and_resumed(
        dropout_setup,
        f"killed_{reshuffle}",
        monkeypatch,
        kill_after=17,
        switches=switches,
        **OPTIONS,
    )
    assert len(whole) == 24
    assert resumed == [*whole[:17], *whole[14:]]  # steps 15 to 17 are taken twice
    files = [dropout_setup.folder / f"{run}_{reshuffle}" for run in ("whole", "killed")]
    evaluations = [read_log(path, "train_val") for path in files]
    assert evaluations[0][3:] == evaluations[1][3:]
    best = [torch.load(path / "best_model.p", weights_only=True) for path in files]
    assert all(torch.equal(best[0][key], best[1][key]) for key in best[0])


def test_resuming_counts_on_towards_early_stopping(dropout_setup, monkeypatch):
    options = {**OPTIONS, "learning_rate": 0.0, "no_improvements_for_n_evals": 3}
    whole = dropout_setup.run("stop_whole", **options)
    assert len(whole) == 19  # evaluations after 4, 9, 14, 19: the first is the best
    resumed = _killed_and_resumed(
        dropout_setup, "stop_killed", monkeypatch, kill_after=12, **options
    )
    assert resumed == [*whole[:12], *whole[9:]]


def test_host_alone_does_not_resume_where_it_was(dropout_setup, monkeypatch):
    switches = {**OFF, "seeded_sampler": True}
    whole = dropout_setup.run("plain_whole", switches, **OPTIONS)
    resumed = _killed_and_resumed(
        dropout_setup, "plain_killed", monkeypatch, kill_after=17, switches=switches, **OPTIONS
    )
    assert resumed[17:] != whole[14:]


def test_checkpoint_of_plain_jiant_is_refused_in_one_line(dropout_setup, monkeypatch):
    _run_until_killed(dropout_setup, "plain_checkpoint", monkeypatch, 6, OFF, **OPTIONS)
    path = dropout_setup.folder / "plain_checkpoint" / "checkpoint.p"
    with mended(seed=3), pytest.raises(HostError, match="written by plain jiant"):
        runscript.resume(str(path))
    with mended(seed=3, **OFF):
        runscript.resume(str(path))  # as jiant does


def test_checkpoint_of_another_seed_is_refused(dropout_setup, monkeypatch):
    _run_until_killed(dropout_setup, "other_seed", monkeypatch, 6, **OPTIONS)
    path = dropout_setup.folder / "other_seed" / "checkpoint.p"
    with mended(seed=4), pytest.raises(HostError, match=r"seed 3, now seed 4"):
        runscript.resume(str(path))


def test_exact_resume_changes_nothing_in_an_uninterrupted_run(dropout_setup):
    switches = {**OFF, "seeded_sampler": True}
    plain = dropout_setup.run("uninterrupted_plain", switches)
    assert plain == dropout_setup.run("uninterrupted", {**switches, "exact_resume": True})


# --- clipping, logs, and leaving no trace -------------------------------------------------------


def _gradients_after_each(gradients, *, clip_once):
    """Backpropagates micro-batches with these gradients, clipped at 1; returns the sums so far."""
    with mended(seed=0, **OFF, clip_once_per_step=clip_once):
        model = torch.nn.Linear(1, 1, bias=False)
        limits = runner_module.RunnerParameters(-1, 0, fp16=False, max_grad_norm=1.0)
        optimizer = types.SimpleNamespace(optimizer=None)
        runner = runner_module.JiantRunner(None, model, optimizer, None, limits, None)
        sums = []
        for gradient in gradients:
            runner.complex_backpropagate((model.weight * gradient).sum(), len(gradients))
            sums.append(model.weight.grad.item())
    assert runner.rparams == limits
    return pytest.approx(sums, abs=1e-5)


def test_clipping_once_per_step_clips_nothing_before_the_gradient_is_complete():
    # Each is divided by the number of micro-batches: 2, -1.75, 0.125, 0.125.
    gradients = (8.0, -7.0, 0.5, 0.5)
    assert _gradients_after_each(gradients, clip_once=False) == [1.0, -0.75, -0.625, -0.5]
    assert _gradients_after_each(gradients, clip_once=True) == [2.0, 0.25, 0.375, 0.5]


def test_clipping_once_per_step_clips_the_complete_gradient():
    assert _gradients_after_each((6.0, 6.0), clip_once=True) == [3.0, 1.0]


def test_two_starts_in_one_second_have_their_own_log_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(initialization.time, "time", lambda: 1234.5)
    with mended(seed=0, **OFF):
        writers = [initialization.init_log_writer(str(tmp_path)) for _ in range(3)]
    assert len({writer.fol_path for writer in writers}) == 3
    assert (tmp_path / "1234").is_dir()  # the first one is named as jiant names it


PATCHED = [
    (task_sampler, "create_task_sampler"),
    (initialization, "init_log_writer"),
    (torch_utils, "safe_save"),
    (runner_module, "wrap_jiant_forward"),
    *(
        (runner_module.JiantRunner, name)
        for name in (
            "get_train_dataloader_dict",
            "get_runner_state",
            "load_state",
            "complex_backpropagate",
        )
    ),
    *(
        (metarunner_module.JiantMetarunner, name)
        for name in (
            "get_state",
            "load_state",
            "should_save_checkpoint",
            "should_break_training",
            "yield_train_step",
        )
    ),
]


def test_everything_is_put_back_also_after_an_error():
    before = [vars(owner)[name] for owner, name in PATCHED]
    during = []

    def fail_inside():
        with mended(seed=0, clip_once_per_step=True):
            during.extend(vars(owner)[name] for owner, name in PATCHED)
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert all(was is not now for was, now in zip(before, during, strict=True))
    assert before == [vars(owner)[name] for owner, name in PATCHED]


def test_with_every_switch_off_only_the_log_folder_differs():
    before = [vars(owner)[name] for owner, name in PATCHED]
    with mended(seed=0, **OFF):
        during = [vars(owner)[name] for owner, name in PATCHED]
    changed = [PATCHED[i][1] for i in range(len(PATCHED)) if before[i] is not during[i]]
    assert changed == ["init_log_writer"]
