"""The executor that a run file asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gradts_plugin.engine.jobs import Executor
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.workers.processes import Processes, num_cores


def executor_of(run_file: RunFile, plugins: Sequence[object] = ()) -> Executor | None:
    """The executor of a run; None where one process makes everything.

    Args:
        run_file: the run, with absolute paths.
        plugins: beside the installed ones.
    """
    settings = run_file.executor
    if settings.kind == "local":
        return None
    devices = _devices()
    number = settings.jobs or len(devices) or num_cores()
    return Processes(run_file, number, threads=settings.threads, devices=devices, plugins=plugins)


def _devices() -> list[str]:
    """The CUDA devices that may be used."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        named = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
        return [name.strip() for name in named if name.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
