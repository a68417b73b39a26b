"""Heads of tasks that are not in the batch go on with their momentum, as before torch 2.0."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch

from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.mends.mend import Mend


def keep_zero_gradients(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Makes `zero_grad()` fill gradients with zeros, as torch did before 2.0.

    jiant trains one task a step and counts on zeros: with None the optimizers skip the heads of all
    other tasks, while with zeros these go on with their momentum and weight decay.

    Args:
        optimizer: changed in place.

    Returns:
        The same optimizer.
    """
    zero_grad = optimizer.zero_grad

    def zero_grad_with_zeros(set_to_none: bool = False) -> None:
        zero_grad(set_to_none=set_to_none)

    optimizer.zero_grad = zero_grad_with_zeros  # type: ignore[method-assign]
    return optimizer


def _zero_grad_drops_gradients() -> bool:
    parameters = inspect.signature(torch.optim.Optimizer.zero_grad).parameters
    return parameters["set_to_none"].default is True


def _keep_zero_gradients_of_host() -> None:
    model_setup = module_named("jiant.shared.model_setup")
    create = model_setup.create_optimizer_from_params

    @functools.wraps(create)
    def create_optimizer_from_params(*args: Any, **kwargs: Any) -> Any:
        optimizer_scheduler = create(*args, **kwargs)
        keep_zero_gradients(optimizer_scheduler.optimizer)
        return optimizer_scheduler

    model_setup.create_optimizer_from_params = create_optimizer_from_params


MEND = Mend(
    name="zero_gradients",
    mends="the heads of tasks that are not in the batch silently miss their update",
    versions="torch >= 2.0",
    needed=_zero_grad_drops_gradients,
    apply=_keep_zero_gradients_of_host,
)
