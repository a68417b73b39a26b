"""Mends jiant's own faults for as long as a context lasts, each behind a switch.

Unlike the mends of `compat`, which only let jiant run, these change what a run computes. Outside
the context, and with every switch off, jiant's outputs are jiant's (only the name of the log folder
is made unique inside the context).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.records import IntArray

__all__ = ["epoch_order", "mended", "random_stream", "trim_batch"]

#: Rows that are read from the cache at a time; jiant's own number.
_BUFFER_SIZE = 10_000

#: Where our part lies in jiant's checkpoint; plain jiant ignores it.
_STATE_KEY = "gradts"


@contextlib.contextmanager
def mended(
    *,
    seed: int,
    seeded_sampler: bool = True,
    reshuffle_epochs: bool = True,
    trim_batches: bool = True,
    exact_resume: bool = True,
    clip_once_per_step: bool = False,
) -> Iterator[None]:
    """Mends jiant's faults until the context ends, then restores jiant exactly.

    Args:
        seed: of the task order and of the order of the training data.
        seeded_sampler: the task sampler draws from `seed`; jiant never seeds it.
        reshuffle_epochs: every epoch of a task has its own order, given by seed, task and epoch;
            jiant repeats the first epoch's batches for ever, and keeps them all in memory.
        trim_batches: batches are as long as their longest row; jiant pads to max_seq_length.
        exact_resume: a checkpoint also restores the learning rate, the task order, the position in
            the data, the early-stopping count and the random states, and is taken after the
            evaluation that is due at the same step, so that a resumed run computes what an
            uninterrupted one would.
        clip_once_per_step: gradients are clipped when they are complete; jiant clips the sum so far
            after every micro-batch.

    Raises:
        HostError: jiant is not installed or too new; or, while the context lasts, a checkpoint
            cannot be resumed exactly.
    """
    apply_mends()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_unique_log_folder())
        if seeded_sampler:
            stack.enter_context(_seeded_sampler(seed))
        if reshuffle_epochs:
            stack.enter_context(_reshuffled_epochs(seed))
        if trim_batches:
            stack.enter_context(_trimmed_batches())
        if exact_resume:
            stack.enter_context(_exact_resume(seed if reshuffle_epochs else None))
        if clip_once_per_step:
            stack.enter_context(_clipping_once_per_step())
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Sets an attribute of a module or class, and puts back what was there."""
    original = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def random_stream(seed: int, *names: str | int) -> np.random.RandomState:
    """A random stream of its own for every purpose.

    Args:
        seed: the run's seed.
        names: the purpose; other names give an unrelated stream.

    Returns:
        A generator that depends on nothing but the arguments.
    """
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest, dtype=np.uint32))


# --- the log folder -------------------------------------------------------------------------


@contextlib.contextmanager
def _unique_log_folder() -> Iterator[None]:
    """jiant names the folder by the second, so two starts within one second collide."""
    zlog = _module("jiant.utils.zlog")

    def init_log_writer(output_dir: str) -> Any:
        folder = Path(output_dir) / str(int(time.time()))
        while True:
            try:
                return zlog.ZLogger(str(folder), overwrite=True)
            except FileExistsError:
                folder = folder.with_name(folder.name + "-1")

    initialization = _module("jiant.shared.initialization")
    with _replaced(initialization, "init_log_writer", init_log_writer):
        yield


# --- the task sampler -----------------------------------------------------------------------


@contextlib.contextmanager
def _seeded_sampler(seed: int) -> Iterator[None]:
    module = _module("jiant.proj.main.components.task_sampler")
    create = module.create_task_sampler

    @functools.wraps(create)
    def create_task_sampler(*args: Any, rng: Any = None, **kwargs: Any) -> Any:
        stream = random_stream(seed, "task order") if rng is None else rng
        return create(*args, rng=stream, **kwargs)

    with _replaced(module, "create_task_sampler", create_task_sampler):
        yield


# --- the order of the training data ---------------------------------------------------------


def epoch_order(seed: int, task_name: str, epoch: int, num_rows: int) -> IntArray:
    """The order in which an epoch goes through a task's training rows.

    Args:
        seed: the run's seed.
        task_name: other tasks have no influence on this one's order.
        epoch: counts from 0.
        num_rows: rows in the training cache.

    Returns:
        A permutation, int64 array of shape (num_rows,).
    """
    order = random_stream(seed, "data order", task_name, epoch).permutation(num_rows)
    return order.astype(np.int64)


class _Batches(Protocol):
    """What the runner pops training batches of one task from, for ever."""

    def pop(self) -> Any: ...

    def position(self) -> dict[str, Any]: ...

    def move_to(self, position: dict[str, Any]) -> None: ...


class _ReshuffledBatches:
    """The batches of one task, every epoch in an order of its own."""

    def __init__(self, cache: Any, task: Any, batch_size: int, seed: int) -> None:
        self._cache = cache
        self._task = task
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = 0
        self._popped = 0
        self._batches: Iterator[Any] = self._read(0)

    def pop(self) -> Any:
        """The next batch and its metadata."""
        for batch in self._batches:
            self._popped += 1
            return batch
        if self._popped == 0:
            raise HostError(f"task {self._task.name!r} has no training rows")
        self.move_to({"epoch": self._epoch + 1, "popped": 0})
        return self.pop()

    def position(self) -> dict[str, Any]:
        """Where the next `pop` reads."""
        return {"epoch": self._epoch, "popped": self._popped}

    def move_to(self, position: dict[str, Any]) -> None:
        """Goes on from a position."""
        self._epoch = position["epoch"]
        self._popped = position["popped"]
        self._batches = self._read(self._popped * self._batch_size)

    def _read(self, first: int) -> Iterator[Any]:
        # As jiant reads: a buffer of rows at a time, so that chunks are not read again for every
        # batch. Buffers start at `first`, which only moves their borders, never the batches'.
        order = epoch_order(self._seed, self._task.name, self._epoch, len(self._cache))
        rows = self._cache.get_iterable_dataset(
            buffer_size=_BUFFER_SIZE, shuffle=False, explicit_subset=order[first:]
        )
        loader = torch.utils.data.DataLoader(
            rows,
            batch_size=self._batch_size,
            collate_fn=self._task.collate_fn,
            # A generator of its own: a loader otherwise draws from the stream that dropout uses.
            generator=torch.Generator(),
        )
        yield from loader


class _RepeatedBatches:
    """jiant's own batches of one task, with a position that can be returned to."""

    def __init__(self, batches: Any) -> None:
        self._batches = batches
        self._num_batches = len(batches.iterable)
        self._popped = 0
        self._start: dict[str, Any] | None = None

    def pop(self) -> Any:
        """The next batch and its metadata."""
        if self._start is None:
            self._start = _random_states()  # jiant draws the order at the first pop
        self._popped += 1
        return self._batches.pop()

    def position(self) -> dict[str, Any]:
        """Where the next `pop` reads."""
        return {"popped": self._popped, "start": self._start}

    def move_to(self, position: dict[str, Any]) -> None:
        """Goes on from a position; changes the random states."""
        if position["start"] is None:
            return
        _set_random_states(position["start"])
        # After the first epoch jiant repeats it, so only the remainder has to be gone through.
        popped = position["popped"]
        repeats = max(popped // self._num_batches - 1, 0) * self._num_batches
        for _ in range(popped - repeats):
            self.pop()
        self._popped = popped
        self._start = position["start"]


@contextlib.contextmanager
def _reshuffled_epochs(seed: int) -> Iterator[None]:
    runner_class = _module("jiant.proj.main.runner").JiantRunner

    def get_train_dataloader_dict(self: Any) -> dict[str, _Batches]:
        container = self.jiant_task_container
        return {
            name: _ReshuffledBatches(
                cache=container.task_cache_dict[name]["train"],
                task=container.task_dict[name],
                batch_size=container.task_specific_configs[name].train_batch_size,
                seed=seed,
            )
            for name in container.task_run_config.train_task_list
        }

    with _replaced(runner_class, "get_train_dataloader_dict", get_train_dataloader_dict):
        yield


# --- the length of batches ------------------------------------------------------------------

_SEQUENCE_FIELDS = ("input_ids", "input_mask", "segment_ids", "label_ids", "label_mask")
_LABEL_FIELDS = ("label_id", "label", "label_ids")


def trim_batch(batch: Any) -> Any:
    """Trims a batch to its longest row.

    Only where padding is known to have no influence: classification, regression, tagging and
    multiple choice. A batch with any other tensor (spans, question answering) or without labels
    (language modelling) is returned as it is.

    Args:
        batch: a jiant batch; its sequences have shape (B, T), for multiple choice (B, C, T), with
            padding on the right.

    Returns:
        A batch of the same class with sequences of shape (B, T') or (B, C, T'), T' the length of
        the longest row; the same object where nothing is trimmed.
    """
    fields = batch.to_dict()
    tensors = {name for name, value in fields.items() if isinstance(value, torch.Tensor)}
    known = tensors <= {*_SEQUENCE_FIELDS, *_LABEL_FIELDS} and "input_mask" in tensors
    if not known or tensors.isdisjoint(_LABEL_FIELDS):
        return batch
    mask = batch.input_mask
    full_length = mask.shape[-1]
    length = _longest(mask)
    if "label_mask" in tensors:
        length = max(length, _longest(batch.label_mask))
    if length in {0, full_length}:
        return batch
    trimmed = {
        name: fields[name][..., :length].contiguous()  # jiant takes views of it
        for name in tensors.intersection(_SEQUENCE_FIELDS)
        if fields[name].shape[-1] == full_length
    }
    return batch.new(**trimmed)


def _longest(mask: torch.Tensor) -> int:
    used = mask.reshape(-1, mask.shape[-1]).any(dim=0).nonzero()
    return int(used[-1]) + 1 if len(used) else 0


@contextlib.contextmanager
def _trimmed_batches() -> Iterator[None]:
    runner = _module("jiant.proj.main.runner")
    tagging = _module("jiant.tasks.core").TaskTypes.TAGGING
    forward = runner.wrap_jiant_forward

    @functools.wraps(forward)
    def wrap_jiant_forward(jiant_model: Any, batch: Any, task: Any, **kwargs: Any) -> Any:
        output = forward(jiant_model=jiant_model, batch=trim_batch(batch), task=task, **kwargs)
        if task.TASK_TYPE is tagging:
            # The evaluation stacks the logits of all batches: shape (B, T, number of labels).
            missing = batch.input_mask.shape[-1] - output.logits.shape[1]
            output.logits = torch.nn.functional.pad(output.logits, (0, 0, 0, missing))
        return output

    with _replaced(runner, "wrap_jiant_forward", wrap_jiant_forward):
        yield


# --- resuming -------------------------------------------------------------------------------


def _random_states() -> dict[str, Any]:
    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


def _sampler_state(sampler: Any) -> dict[str, Any]:
    if hasattr(sampler, "state"):
        own: dict[str, Any] = sampler.state()
        return own
    state = {name: value for name, value in vars(sampler).items() if name != "task_dict"}
    return copy.deepcopy(state)


@contextlib.contextmanager
def _exact_resume(order_seed: int | None) -> Iterator[None]:
    """Completes jiant's checkpoints.

    Args:
        order_seed: of the order of the data; None where the order is jiant's own.
    """
    with contextlib.ExitStack() as stack:
        _complete_runner_state(stack, order_seed)
        _complete_metarunner_state(stack)
        _save_checkpoints_after_evaluation(stack)
        stack.enter_context(_replaced(_module("jiant.utils.torch_utils"), "safe_save", _save))
        yield


def _save(obj: Any, path: str, temp_path: str | None = None) -> None:
    # jiant removes the old checkpoint before it renames the new one.
    temporary = temp_path or path + "._temp"
    torch.save(obj, temporary)
    os.replace(temporary, path)  # noqa: PTH105 (jiant's paths are text)


def _complete_runner_state(stack: contextlib.ExitStack, order_seed: int | None) -> None:
    runner_class = _module("jiant.proj.main.runner").JiantRunner
    get_batches = runner_class.get_train_dataloader_dict
    get_state = runner_class.get_runner_state
    load_state = runner_class.load_state

    def get_train_dataloader_dict(self: Any) -> dict[str, _Batches]:
        batches: dict[str, Any] = get_batches(self)
        if order_seed is None:
            batches = {name: _RepeatedBatches(found) for name, found in batches.items()}
        self._gradts_batches = batches
        resumed = self.__dict__.pop("_gradts_resumed", None)
        if resumed is not None:
            for name, position in resumed["positions"].items():
                batches[name].move_to(position)
            # Last: what comes next is the first training step.
            _set_random_states(resumed["random"])
        return batches

    def get_runner_state(self: Any) -> dict[str, Any]:
        batches: dict[str, _Batches] = self._gradts_batches
        state: dict[str, Any] = get_state(self)
        state[_STATE_KEY] = {
            "order_seed": order_seed,
            "scheduler": self.optimizer_scheduler.scheduler.state_dict(),
            "sampler": _sampler_state(self.jiant_task_container.task_sampler),
            "positions": {name: found.position() for name, found in batches.items()},
            "random": _random_states(),
        }
        return state

    def load_runner_state(self: Any, runner_state: dict[str, Any]) -> None:
        state = _our_part(runner_state)
        if state["order_seed"] != order_seed:
            raise HostError(
                "the checkpoint belongs to a run with another order of the data "
                f"({_order_name(state['order_seed'])}, now {_order_name(order_seed)}); "
                "resume with the settings of that run"
            )
        load_state(self, runner_state)
        _give_back_zero_gradients(self.optimizer_scheduler.optimizer)
        self.optimizer_scheduler.scheduler.load_state_dict(state["scheduler"])
        sampler = self.jiant_task_container.task_sampler
        if hasattr(sampler, "restore"):
            sampler.restore(state["sampler"])
        else:
            vars(sampler).update(state["sampler"])
        self._gradts_resumed = state

    for name, value in {
        "get_train_dataloader_dict": get_train_dataloader_dict,
        "get_runner_state": get_runner_state,
        "load_state": load_runner_state,
    }.items():
        stack.enter_context(_replaced(runner_class, name, value))


def _give_back_zero_gradients(optimizer: torch.optim.Optimizer) -> None:
    # A weight without a gradient is skipped. Weights that have been trained before have one, if
    # only zeros, and go on with their momentum while other tasks are trained.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if optimizer.state.get(parameter) and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


def _order_name(order_seed: int | None) -> str:
    return "jiant's own" if order_seed is None else f"seed {order_seed}"


def _our_part(state: dict[str, Any]) -> dict[str, Any]:
    if _STATE_KEY not in state:
        raise HostError(
            "the checkpoint was written by plain jiant: it holds no learning-rate schedule, task "
            "order and data position; set exact_resume to false to resume it as jiant does"
        )
    ours: dict[str, Any] = state[_STATE_KEY]
    return ours


def _complete_metarunner_state(stack: contextlib.ExitStack) -> None:
    metarunner_class = _module("jiant.proj.main.metarunner").JiantMetarunner
    get_state = metarunner_class.get_state
    load_state = metarunner_class.load_state
    forgotten = ("num_evals_since_improvement", "val_state_history")

    def get_metarunner_state(self: Any) -> dict[str, Any]:
        state: dict[str, Any] = get_state(self)
        state[_STATE_KEY] = {name: getattr(self, name) for name in forgotten}
        return state

    def load_metarunner_state(self: Any, metarunner_state: dict[str, Any]) -> None:
        load_state(self, metarunner_state)
        vars(self).update(_our_part(metarunner_state))

    stack.enter_context(_replaced(metarunner_class, "get_state", get_metarunner_state))
    stack.enter_context(_replaced(metarunner_class, "load_state", load_metarunner_state))


def _save_checkpoints_after_evaluation(stack: contextlib.ExitStack) -> None:
    # jiant's loop goes: checkpoint, evaluate, break? A run resumed from a checkpoint would miss the
    # evaluation that was due at the same step, so the checkpoint is taken when the break is asked.
    metarunner_class = _module("jiant.proj.main.metarunner").JiantMetarunner
    is_due = metarunner_class.should_save_checkpoint
    should_break = metarunner_class.should_break_training
    train_steps = metarunner_class.yield_train_step

    def should_save_checkpoint(self: Any) -> bool:  # noqa: ARG001
        return False

    def should_break_training(self: Any) -> bool:
        if is_due(self):
            self.save_checkpoint()
        return bool(should_break(self))

    def yield_train_step(self: Any) -> Iterator[None]:
        resumed = self.train_state is not None
        if resumed and should_break(self):
            return  # it was stopped after its last step
        yield from train_steps(self)

    for name, value in {
        "should_save_checkpoint": should_save_checkpoint,
        "should_break_training": should_break_training,
        "yield_train_step": yield_train_step,
    }.items():
        stack.enter_context(_replaced(metarunner_class, name, value))


# --- gradient clipping ----------------------------------------------------------------------


@contextlib.contextmanager
def _clipping_once_per_step() -> Iterator[None]:
    runner = _module("jiant.proj.main.runner")
    backpropagate: Callable[..., Any] = runner.JiantRunner.complex_backpropagate

    def complex_backpropagate(self: Any, loss: Any, gradient_accumulation_steps: int) -> Any:
        self._gradts_backwards = getattr(self, "_gradts_backwards", 0) + 1
        is_last = self._gradts_backwards % gradient_accumulation_steps == 0
        if is_last:
            self._gradts_backwards = 0
            return backpropagate(self, loss, gradient_accumulation_steps)
        limits = self.rparams
        self.rparams = limits.new(max_grad_norm=math.inf)
        try:
            return backpropagate(self, loss, gradient_accumulation_steps)
        finally:
            self.rparams = limits

    with _replaced(runner.JiantRunner, "complex_backpropagate", complex_backpropagate):
        yield
