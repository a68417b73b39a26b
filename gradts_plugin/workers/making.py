"""The executor that a run file asks for."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gradts_plugin.engine.jobs import Executor
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.workers.cluster import Cluster
from gradts_plugin.workers.dispatching import Dispatcher
from gradts_plugin.workers.processes import Processes, num_cores
from gradts_plugin.workers.worker import Start


def executor_of(run_file: RunFile, plugins: Sequence[object] = ()) -> Executor | None:
    """The executor of a run; None where this process makes everything.

    It then computes with no more threads than it was given or has cores: by itself torch takes all
    of a machine, also where a container has a part of it.

    Args:
        run_file: the run, with absolute paths.
        plugins: beside the installed ones.
    """
    settings, plugins = run_file.executor, tuple(plugins)
    if settings.kind == "ray":
        start = Start(run_file, plugins, settings.threads or settings.cpus_per_job)
        return Dispatcher(Cluster(start, settings), start)
    devices = _devices() if settings.kind == "processes" else []
    number = settings.jobs or len(devices) or num_cores()
    if settings.kind == "local" or number == 1:
        _limit_threads(settings.threads or num_cores())
        return None
    start = Start(run_file, plugins, settings.threads or max(1, num_cores() // number))
    return Dispatcher(Processes(start, number, devices=devices), start)


def _limit_threads(most: int) -> None:
    import torch

    if torch.get_num_threads() > most:
        torch.set_num_threads(most)


def _devices() -> list[str]:
    """The CUDA devices that may be used."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        named = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
        return [name.strip() for name in named if name.strip() not in ("", "-1")]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
