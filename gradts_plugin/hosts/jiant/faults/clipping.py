"""jiant clips the sum of the gradients so far after every micro-batch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named


@contextlib.contextmanager
def clipping_once() -> Iterator[None]:
    """Gradients are clipped when they are complete."""
    runner = module_named("jiant.proj.main.runner")
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

    with replaced(runner.JiantRunner, "complex_backpropagate", complex_backpropagate):
        yield
