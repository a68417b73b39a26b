"""A small Ray on this machine, of one node or of several; a busy machine may need several tries."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: Bytes that each node has for objects.
_OBJECT_STORE = 80 * 2**20

#: So often a node may fail to start in the 30 s that Ray gives it.
_TRIES = 5


@contextlib.contextmanager
def started(*cpus: int) -> Iterator[str]:
    """The address of a Ray, which this process has joined.

    Args:
        cpus: of each of its nodes; the first one is ours.
    """
    import ray

    first, *others = cpus
    small = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE}
    for tried in range(1, _TRIES + 1):
        try:
            joined = ray.init(address="local", num_cpus=first, log_to_driver=False, **small)
            break
        except Exception:  # Ray raises no class of its own
            ray.shutdown()
            if tried == _TRIES:
                raise
    address = joined.address_info["gcs_address"]
    try:
        for each in others:
            add_node(address, each)
        yield address
    finally:
        ray.shutdown()
        for number, title in titles():
            if f"--gcs-address={address}" in title:  # nodes, and the agents of killed ones
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)


def add_node(address: str, cpus: int) -> None:
    """Lets another node join."""
    ray = Path(sys.executable).with_name("ray")
    small = ["--num-cpus", str(cpus), "--object-store-memory", str(_OBJECT_STORE)]
    for _ in range(_TRIES):
        command = [str(ray), "start", "--address", address, *small]
        done = subprocess.run(command, check=False, capture_output=True)
        if not done.returncode:
            return
    raise RuntimeError(done.stderr.decode())


def titles() -> Iterator[tuple[int, str]]:
    """The processes of this machine, each with what it is called."""
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):
                yield int(path.name), (path / "cmdline").read_text(errors="replace")
