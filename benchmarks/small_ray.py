"""A small Ray on this machine; on a busy one it does not always start in the 30 s that it has."""

from __future__ import annotations

from typing import Any

#: So often it may fail to start.
_TRIES = 5


def start(num_cpus: int) -> Any:
    """Starts a Ray with little memory, and joins it."""
    import ray

    small = {"include_dashboard": False, "object_store_memory": 80 * 2**20}
    for tried in range(1, _TRIES + 1):
        try:
            return ray.init(address="local", num_cpus=num_cpus, log_to_driver=False, **small)
        except Exception:  # Ray raises no class of its own
            ray.shutdown()
            if tried == _TRIES:
                raise
    raise AssertionError


def stop() -> None:
    """Ends it."""
    import ray

    ray.shutdown()
