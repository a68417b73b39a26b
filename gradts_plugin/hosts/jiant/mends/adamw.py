"""jiant's default optimizer, transformers.AdamW, no longer exists."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch.optim.adam import adam

from gradts_plugin.hosts.jiant.lookup import module_named
from gradts_plugin.hosts.jiant.mends.mend import Mend, transformers_package


class AdamW(torch.optim.Optimizer):
    """Adam with decoupled weight decay, by the update rule of transformers before 4.50.

    It differs from `torch.optim.AdamW` in two places: epsilon is added to the root of the second
    moment before the bias correction, and the decay is applied after the update.
    """

    def __init__(
        self,
        params: Any,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        correct_bias: bool = True,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "correct_bias": correct_bias,
        }
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Updates every parameter that has a gradient.

        Args:
            closure: recomputes the loss, with gradients.

        Returns:
            The closure's loss, None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_step: dict[int, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_step.setdefault(self._count_step(parameter), []).append(parameter)
            for step, parameters in by_step.items():
                self._update(parameters, group, step)
        return loss

    def _count_step(self, parameter: torch.Tensor) -> int:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        return int(state["step"])

    def _update(self, parameters: list[torch.Tensor], group: dict[str, Any], step: int) -> None:
        """One fused pass over the parameters, 3-4 times as fast as one operation at a time.

        torch adds epsilon after the bias correction of the second moment; epsilon divided by that
        correction's root gives the older rule exactly.
        """
        beta1, beta2 = group["betas"]
        root = math.sqrt(1.0 - beta2**step)
        learning_rate = group["lr"]
        epsilon = group["eps"] / root
        if not group["correct_bias"]:
            learning_rate *= (1.0 - beta1**step) / root
        adam(
            parameters,
            [parameter.grad for parameter in parameters],  # type: ignore[misc]
            [self.state[parameter]["exp_avg"] for parameter in parameters],
            [self.state[parameter]["exp_avg_sq"] for parameter in parameters],
            [],
            [torch.tensor(step - 1.0, device=parameter.device) for parameter in parameters],
            foreach=False,
            fused=all(parameter.device.type in ("cpu", "cuda") for parameter in parameters),
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=learning_rate,
            weight_decay=0.0,
            eps=epsilon,
            maximize=False,
        )
        if group["weight_decay"] > 0.0:
            for parameter in parameters:
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"])


class _TransformersWithAdamW(ModuleType):
    """Stands in for the name `transformers` inside one jiant module.

    An attribute set on the package itself would get lost: importing some of its submodules
    replaces the package in `sys.modules`.
    """

    AdamW = AdamW

    def __getattr__(self, name: str) -> Any:
        return getattr(transformers_package(), name)


def _adamw_is_gone() -> bool:
    return not hasattr(transformers_package(), "AdamW")


def _give_back_adamw() -> None:
    model_setup = module_named("jiant.shared.model_setup")
    model_setup.transformers = _TransformersWithAdamW("transformers")


MEND = Mend(
    name="adamw",
    mends="jiant's default optimizer, transformers.AdamW, no longer exists",
    versions="transformers >= 4.50",
    needed=_adamw_is_gone,
    apply=_give_back_adamw,
)
