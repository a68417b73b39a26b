"""glibc hands freed memory back to the system, and takes it again page by page."""

from __future__ import annotations

import ctypes

#: Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

#: Bytes that may be kept, and what is no longer mapped on its own.
_KEPT_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Lets the C library keep up to 1 GiB of freed memory for what is allocated next.

    Every training step on a CPU allocates and frees the gradients of all embeddings. By default
    glibc maps them anew each time, and the system clears every page of them: about a sixth of a
    step (benchmarks/freed_memory.py). No number changes.

    Returns:
        True where the C library is glibc, and took it.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return False
    return all([mallopt(_MMAP_THRESHOLD, _KEPT_BYTES), mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)])
