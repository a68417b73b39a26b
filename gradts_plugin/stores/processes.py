"""Which process wrote a file, and whether it is gone: what locks and temporary names carry."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_WRITTEN = re.compile(r"([0-9a-f]{8})-(\d+)-(\d+)")


@dataclass(frozen=True)
class Process:
    """A process, so that another one with its number is not taken for it.

    Attributes:
        machine: digest (8 hex digits) of what process ids are counted in: machine and namespace.
        number: the process id.
        start: when it began, in the system's ticks; 0 where the system does not say.
    """

    machine: str
    number: int
    start: int

    @classmethod
    def current(cls) -> Process:
        """This process."""
        return cls(_machine(), os.getpid(), _start_of(os.getpid()))

    @classmethod
    def read(cls, text: str) -> Process | None:
        """Reads what `str` wrote; None where it is something else."""
        found = _WRITTEN.fullmatch(text)
        return found and cls(found[1], int(found[2]), int(found[3]))

    def __str__(self) -> str:
        return f"{self.machine}-{self.number}-{self.start}"

    @property
    def is_here(self) -> bool:
        """True where it is one of this machine's."""
        return self.machine == _machine()

    @property
    def is_gone(self) -> bool:
        """True where it surely runs no more: what another machine runs cannot be seen from here."""
        if not self.is_here:
            return False
        with suppress(PermissionError):  # it is there, and somebody else's
            try:
                os.kill(self.number, 0)
            except (ProcessLookupError, OverflowError):
                return True
        return self.start != _start_of(self.number)


def _machine() -> str:
    words = [socket.gethostname()]
    with suppress(OSError):  # of containers that share a host's name
        words.append(os.readlink("/proc/self/ns/pid"))  # noqa: PTH115 (no file, a name)
    with suppress(OSError):  # of machines that were given one name
        words.append(Path("/etc/machine-id").read_text(encoding="utf-8"))
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:8]


def _start_of(number: int) -> int:
    try:
        text = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    # The command, in brackets, may hold anything; its state and start follow.
    state, *words = text.rpartition(")")[2].split()
    return -1 if state in "ZX" else int(words[18])  # -1: it ended, and nobody asked for its code
