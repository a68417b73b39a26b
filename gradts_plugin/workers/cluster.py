"""Workers that are tasks of a Ray cluster, or of a Ray on this machine alone.

Plain tasks: Ray finds a place for each, starts more where nodes join, and reuses the processes of
those without a GPU. One with a GPU gets a process of its own, at whose end the GPU's memory is free
(Ray's default for GPU tasks, `max_calls=1`).
"""

from __future__ import annotations

import copy
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradts_plugin.engine.jobs import Job
from gradts_plugin.errors import ConfigError, HostError
from gradts_plugin.settings.executor import ExecutorSettings
from gradts_plugin.workers.dispatching import WorkerLostError
from gradts_plugin.workers.worker import Answer, Start, make

#: Bytes for objects of a Ray of our own: nothing large goes through it.
_OBJECT_STORE = 80 * 2**20

#: Seconds to wait for a cluster's answer; Ray itself waits for minutes.
_PATIENCE = 5.0


@dataclass(frozen=True)
class _Joined:
    """A cluster, and what was agreed on with it.

    Attributes:
        ray: the package.
        is_own: it was joined here, and not by who uses this package.
        num_workers: jobs at a time.
        start: what each worker begins with, in the cluster.
        task: makes a job.
        needed: what a job takes of a node.
    """

    ray: Any
    is_own: bool
    num_workers: int
    start: Any
    task: Any
    needed: Mapping[str, float]


class Cluster:
    """A `dispatching.Crew` of Ray tasks; the cluster is joined when it is first needed.

    Ray retries nothing: who gave a job gives it again where its worker was lost.
    """

    def __init__(self, start: Start, settings: ExecutorSettings) -> None:
        """Joins nothing yet.

        Args:
            start: what each worker begins with.
            settings: where the cluster is, and what a job takes of it.
        """
        self._own_start = start
        self._settings = settings
        self._cluster: _Joined | None = None
        self._running: set[Any] = set()

    @property
    def num_workers(self) -> int:
        """How many jobs are made at a time.

        Raises:
            ConfigError: see `_join`.
        """
        return self._joined.num_workers

    @property
    def shown(self) -> str:
        """What a job has, in words."""
        takes = [_counted(amount, kind) for kind, amount in self._joined.needed.items() if amount]
        return f"of a Ray cluster, each with {' and '.join(takes)}"

    def give(self, job: Job, log_file: Path) -> Any:
        """Gives a job to the cluster."""
        cluster = self._joined
        handle = cluster.task.remote(cluster.start, job, log_file)
        self._running.add(handle)
        return handle

    def wait(self, handles: Sequence[Any]) -> Any:
        """Waits until one of these has an answer, or its worker was lost."""
        (ready,), _ = self._joined.ray.wait(list(handles), num_returns=1)
        return ready

    def answer(self, handle: Any) -> Answer:
        """What became of a job.

        Raises:
            WorkerLostError: its worker or node is gone, or Ray ended it for want of memory.
            HostError: it could not begin, since the plugin is missing on its node, say.
        """
        self._running.discard(handle)
        ray = self._joined.ray
        errors = ray.exceptions
        lost = (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        )
        try:
            answer: Answer = ray.get(handle)
        except lost as error:
            raise WorkerLostError(
                f"with their node, or for want of memory perhaps: Ray says {_last_line(error)!r}"
            ) from error
        except errors.RayError as error:
            raise HostError(
                f"executor: a node of the cluster could not begin a job: {_last_line(error)} "
                "(every node needs this plugin and what it needs, in the same versions)"
            ) from error
        return answer

    def close(self) -> None:
        """Ends what runs in the cluster for this run, and leaves it."""
        cluster, self._cluster = self._cluster, None
        running, self._running = self._running, set()
        if cluster is None:
            return
        for handle in running:
            cluster.ray.cancel(handle, force=True)
        if cluster.is_own:
            cluster.ray.shutdown()

    @property
    def _joined(self) -> _Joined:
        if self._cluster is None:
            self._cluster = _join(self._settings, self._own_start)
        return self._cluster


def _join(settings: ExecutorSettings, start: Start) -> _Joined:
    """Joins the cluster, unless this process is in one already.

    Raises:
        ConfigError: Ray is missing, no cluster answers, or none of its nodes has what a job needs.
    """
    ray = _import_ray()
    is_own = not ray.is_initialized()
    if is_own:
        _connect(ray, settings.address)
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = settings.gpus_per_job
    if gpus is None:
        gpus = float(any(node.get("GPU", 0) for node in nodes))
    needed = {"CPU": float(settings.cpus_per_job), "GPU": gpus}
    room = sum(_room(node, needed) for node in nodes)
    if not room:
        if is_own:
            ray.shutdown()
        most = {kind: max((node.get(kind, 0.0) for node in nodes), default=0.0) for kind in needed}
        raise ConfigError(
            "executor: no node of the Ray cluster has "
            f"{' and '.join(_counted(amount, kind) for kind, amount in needed.items() if amount)} "
            "for a job; at most a node has "
            f"{' and '.join(_counted(amount, kind) for kind, amount in most.items())}"
        )
    task = ray.remote(num_cpus=settings.cpus_per_job, num_gpus=gpus, max_retries=0)(_work)
    return _Joined(ray, is_own, settings.jobs or room, ray.put(start), task, needed)


def _room(node: Mapping[str, float], needed: Mapping[str, float]) -> int:
    """How many jobs a node has room for."""
    return min(int(node.get(kind, 0.0) / amount) for kind, amount in needed.items() if amount)


def _counted(amount: float, kind: str) -> str:
    return f"{amount:g} {kind}{'' if amount == 1 else 's'}"


def _connect(ray: Any, address: str) -> None:
    """Joins a cluster, or starts a Ray on this machine.

    Raises:
        ConfigError: nobody answers there, or another version does.
    """
    hint = "start one (`ray start --head`), or set address: local for this machine alone"
    given = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = given.rpartition(":")
    if host and port.isdecimal():  # Ray itself would wait for minutes
        try:
            socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
        except OSError as error:
            raise ConfigError(
                f"executor.address: no Ray cluster answers at {given!r} ({error}); {hint}"
            ) from error
    logging.getLogger("ray").setLevel(logging.ERROR)  # quiet is quiet
    own = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            **(own if address == "local" else {}),
        )
    except Exception as error:  # a start that takes too long has no class of its own
        ray.shutdown()
        raise ConfigError(
            f"executor.address: no Ray cluster can be joined at {given!r}: {_last_line(error)}; "
            f"{hint}"
        ) from error


def _last_line(error: Exception) -> str:
    """What an error says in the end: Ray's begin with tracebacks."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def _work(start: Start, job: Job, log_file: Path) -> Answer:
    """A task of the cluster."""
    import ray

    # Whatever the environment says of GPUs: on SLURM every worker may be sent to the first one.
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(str(number) for number in ray.get_gpu_ids())
    # Ray hands arrays out read-only, and AUTOSEM's bandit writes into its own.
    return make(start, copy.deepcopy(job), log_file)


def _import_ray() -> Any:
    # Read when Ray is imported. What it says of lost workers would go to standard output.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # `_work` hides GPUs
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ConfigError(
            "executor: kind ray needs the package ray; type: pip install 'gradts-plugin[ray]'"
        ) from error
    return ray
