"""jiant's log writer, with an ear for the hooks."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

from gradts_plugin.errors import TrainingError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.records import TrainStep

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.utils.zlog import BaseZLogger

#: Told of every optimiser step.
StepObserver = Callable[[TrainStep], None]


class ObservingLog(BaseZLogger):  # type: ignore[misc]
    """jiant's log writer, with an ear: refuses broken losses and tells of each step."""

    def __init__(self, inner: Any, num_steps: int, observe: StepObserver) -> None:
        self._inner = inner
        self._num_steps = num_steps
        self._observe = observe

    def log_context(self) -> Any:
        """As jiant's."""
        return self._inner.log_context()

    def write_entry(self, key: str, entry: Any, do_print: bool = False) -> None:  # noqa: ARG002
        """As jiant's."""
        if key == "loss_train":
            task_name = str(entry["task"])  # drawn from a numpy array
            if not math.isfinite(entry["loss_val"]):
                raise TrainingError(
                    f"task {task_name!r}: the loss is {entry['loss_val']} at step "
                    f"{entry['global_step']}; a lower learning rate or fp32 usually mends it"
                )
            self._observe(
                TrainStep(
                    task_name=task_name,
                    global_step=entry["global_step"],
                    num_steps=self._num_steps,
                    loss=float(entry["loss_val"]),
                )
            )
        self._inner.write_entry(key, entry)

    def write_obj(self, key: str, obj: Any, entry: Any) -> None:
        """As jiant's."""
        self._inner.write_obj(key, obj, entry)

    def flush(self, *arguments: Any) -> None:
        """As jiant's."""
        self._inner.flush(*arguments)


class QuietLog(BaseZLogger):  # type: ignore[misc]
    """Keeps nothing: the hooks are told of every step instead."""

    def log_context(self) -> Any:
        """As jiant's."""
        return contextlib.nullcontext(self)

    def write_entry(self, key: str, entry: Any, do_print: bool = False) -> None:
        """As jiant's."""

    def flush(self, *arguments: Any) -> None:
        """As jiant's."""
