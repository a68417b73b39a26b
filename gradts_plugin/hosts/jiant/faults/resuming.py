"""jiant's checkpoints lack most of what a resumed run needs to go on exactly."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.faults.data_order import Batches, Position, RepeatedBatches
from gradts_plugin.hosts.jiant.faults.random_streams import RandomStates
from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.saving import save_whole

#: Where our part lies in jiant's checkpoint; plain jiant ignores it.
_STATE_KEY = "gradts"

#: The state of a part of jiant as its checkpoints hold it: jiant's own format.
HostState = dict[str, Any]


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


def _save(obj: Any, path: str, temp_path: str | None = None) -> None:  # noqa: ARG001
    # jiant removes the old checkpoint before it renames the new one.
    save_whole(obj, Path(path))


@dataclass(frozen=True)
class _RunnerState:
    """What jiant's own state of a runner lacks.

    Attributes:
        order_seed: of the order of the data; None: jiant's own.
        scheduler: the learning rate's.
        sampler: what `_sampler_state` says.
        positions: task -> where its batches go on.
        random: the attributes of `RandomStates`.
    """

    order_seed: int | None
    scheduler: Any
    sampler: Any
    positions: Mapping[str, Position]
    random: Any


def _complete_runner_state(stack: contextlib.ExitStack, order_seed: int | None) -> None:
    runner_class = module_named("jiant.proj.main.runner").JiantRunner
    for name, completed in {
        "get_train_dataloader_dict": _with_positions(
            runner_class.get_train_dataloader_dict, order_seed
        ),
        "get_runner_state": _with_our_part(runner_class.get_runner_state, order_seed),
        "load_state": _reading_our_part(runner_class.load_state, order_seed),
    }.items():
        stack.enter_context(replaced(runner_class, name, completed))


def _with_positions(get_batches: Callable[[Any], Any], order_seed: int | None) -> Any:
    def get_train_dataloader_dict(self: Any) -> Mapping[str, Batches]:
        batches = get_batches(self)
        if order_seed is None:
            batches = {name: RepeatedBatches(found) for name, found in batches.items()}
        self._gradts_batches = batches
        resumed: _RunnerState | None = self.__dict__.pop("_gradts_resumed", None)
        if resumed is not None:
            for name, position in resumed.positions.items():
                batches[name].move_to(position)
            # Last: what comes next is the first training step.
            RandomStates(**resumed.random).restore()
        return dict(batches)

    return get_train_dataloader_dict


def _with_our_part(get_state: Callable[[Any], HostState], order_seed: int | None) -> Any:
    def get_runner_state(self: Any) -> HostState:
        ours = _RunnerState(
            order_seed=order_seed,
            scheduler=self.optimizer_scheduler.scheduler.state_dict(),
            sampler=_sampler_state(self.jiant_task_container.task_sampler),
            positions={name: found.position() for name, found in self._gradts_batches.items()},
            random=vars(RandomStates.now()),
        )
        return {**get_state(self), _STATE_KEY: vars(ours)}

    return get_runner_state


def _reading_our_part(load_state: Callable[[Any, HostState], None], order_seed: int | None) -> Any:
    def load_runner_state(self: Any, runner_state: HostState) -> None:
        state = _RunnerState(**_our_part(runner_state))
        if state.order_seed != order_seed:
            raise HostError(
                "the checkpoint belongs to a run with another order of the data "
                f"({_order_name(state.order_seed)}, now {_order_name(order_seed)}); "
                "resume with the settings of that run"
            )
        load_state(self, runner_state)
        give_back_zero_gradients(self.optimizer_scheduler.optimizer)
        self.optimizer_scheduler.scheduler.load_state_dict(state.scheduler)
        sampler = self.jiant_task_container.task_sampler
        if hasattr(sampler, "restore"):
            sampler.restore(state.sampler)
        else:
            vars(sampler).update(state.sampler)
        self._gradts_resumed = state

    return load_runner_state


def _sampler_state(sampler: Any) -> Any:
    """What a sampler of ours says it knows; of jiant's the attributes."""
    if hasattr(sampler, "state"):
        return sampler.state()
    return copy.deepcopy(
        {name: value for name, value in vars(sampler).items() if name != "task_dict"}
    )


def give_back_zero_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Weights that were trained before get a gradient of zeros, as a run has that never stopped."""
    # A weight without a gradient is skipped. Weights that have been trained before have one, if
    # only zeros, and go on with their momentum while other tasks are trained.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if optimizer.state.get(parameter) and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)


def _order_name(order_seed: int | None) -> str:
    return "jiant's own" if order_seed is None else f"seed {order_seed}"


def _our_part(state: HostState) -> HostState:
    if _STATE_KEY not in state:
        raise HostError(
            "the checkpoint was written by plain jiant: it holds no learning-rate schedule, task "
            "order and data position; set exact_resume to false to resume it as jiant does"
        )
    ours: HostState = state[_STATE_KEY]
    return ours


def _complete_metarunner_state(stack: contextlib.ExitStack) -> None:
    metarunner_class = module_named("jiant.proj.main.metarunner").JiantMetarunner
    get_state = metarunner_class.get_state
    load_state = metarunner_class.load_state
    forgotten = ("num_evals_since_improvement", "val_state_history")

    def get_metarunner_state(self: Any) -> HostState:
        return {**get_state(self), _STATE_KEY: {name: getattr(self, name) for name in forgotten}}

    def load_metarunner_state(self: Any, metarunner_state: HostState) -> None:
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
