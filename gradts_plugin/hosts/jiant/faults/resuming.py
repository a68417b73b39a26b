"""jiant's checkpoints lack most of what a resumed run needs to go on exactly."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Iterator
from typing import Any

import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.faults.data_order import Batches, RepeatedBatches
from gradts_plugin.hosts.jiant.faults.random_streams import random_states, set_random_states
from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named

#: Where our part lies in jiant's checkpoint; plain jiant ignores it.
_STATE_KEY = "gradts"


@contextlib.contextmanager
def complete_checkpoints(order_seed: int | None) -> Iterator[None]:
    """Completes jiant's checkpoints.

    Args:
        order_seed: of the order of the data; None where the order is jiant's own.
    """
    with contextlib.ExitStack() as stack:
        _complete_runner_state(stack, order_seed)
        _complete_metarunner_state(stack)
        _save_checkpoints_after_evaluation(stack)
        stack.enter_context(replaced(module_named("jiant.utils.torch_utils"), "safe_save", _save))
        yield


def _save(obj: Any, path: str, temp_path: str | None = None) -> None:
    # jiant removes the old checkpoint before it renames the new one.
    temporary = temp_path or path + "._temp"
    torch.save(obj, temporary)
    os.replace(temporary, path)  # noqa: PTH105 (jiant's paths are text)


def _complete_runner_state(stack: contextlib.ExitStack, order_seed: int | None) -> None:
    runner_class = module_named("jiant.proj.main.runner").JiantRunner
    get_batches = runner_class.get_train_dataloader_dict
    get_state = runner_class.get_runner_state
    load_state = runner_class.load_state

    def get_train_dataloader_dict(self: Any) -> dict[str, Batches]:
        batches: dict[str, Any] = get_batches(self)
        if order_seed is None:
            batches = {name: RepeatedBatches(found) for name, found in batches.items()}
        self._gradts_batches = batches
        resumed = self.__dict__.pop("_gradts_resumed", None)
        if resumed is not None:
            for name, position in resumed["positions"].items():
                batches[name].move_to(position)
            # Last: what comes next is the first training step.
            set_random_states(resumed["random"])
        return batches

    def get_runner_state(self: Any) -> dict[str, Any]:
        batches: dict[str, Batches] = self._gradts_batches
        state: dict[str, Any] = get_state(self)
        state[_STATE_KEY] = {
            "order_seed": order_seed,
            "scheduler": self.optimizer_scheduler.scheduler.state_dict(),
            "sampler": _sampler_state(self.jiant_task_container.task_sampler),
            "positions": {name: found.position() for name, found in batches.items()},
            "random": random_states(),
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
        stack.enter_context(replaced(runner_class, name, value))


def _sampler_state(sampler: Any) -> dict[str, Any]:
    if hasattr(sampler, "state"):
        own: dict[str, Any] = sampler.state()
        return own
    state = {name: value for name, value in vars(sampler).items() if name != "task_dict"}
    return copy.deepcopy(state)


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
    metarunner_class = module_named("jiant.proj.main.metarunner").JiantMetarunner
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

    stack.enter_context(replaced(metarunner_class, "get_state", get_metarunner_state))
    stack.enter_context(replaced(metarunner_class, "load_state", load_metarunner_state))


def _save_checkpoints_after_evaluation(stack: contextlib.ExitStack) -> None:
    # jiant's loop goes: checkpoint, evaluate, break? A run resumed from a checkpoint would miss the
    # evaluation that was due at the same step, so the checkpoint is taken when the break is asked.
    metarunner_class = module_named("jiant.proj.main.metarunner").JiantMetarunner
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
        stack.enter_context(replaced(metarunner_class, name, value))
