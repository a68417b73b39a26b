"""Who makes what, where several processes share a folder: a file with an owner, and its heartbeat.

Nothing but hard links, renames and the times of files is asked of the file system, so that it
serves folders that machines share, whose file systems often lack locks. Clocks are never compared,
as those of machines differ: an owner on another machine is dead once its file was looked at
`MISSED` times, `BEAT` seconds apart, and had not changed. One on this machine is dead when its
process is gone, however long it was silent.

A process that was taken for dead, and is not, finishes what it makes: it is made twice then, which
costs time and changes nothing, as whatever is stored appears whole and under all it depends on.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from gradts_plugin.errors import StoreError
from gradts_plugin.stores.files import disk_errors, temporary_path
from gradts_plugin.stores.processes import Process

#: Seconds between two heartbeats of an owner, and at least between two looks that count.
BEAT = 10.0

#: So many looks in a row show no heartbeat of an owner that is dead. A server of files that hangs
#: is one look, however long it takes.
MISSED = 6

#: Seconds between two looks whether something is made by now: the first ones, and later ones.
_PAUSES = 0.05, 2.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Owner:
    """What stands in a claim.

    Attributes:
        process: who has it.
        host: where, for people.
        since: when it was taken (UTC, ISO 8601).
        token: no other claim has it.
    """

    process: str
    host: str
    since: str
    token: str = ""  # claims of before had none

    @classmethod
    def here(cls) -> Owner:
        """This process, from now on."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(str(Process.current()), socket.gethostname(), since, secrets.token_hex(8))

    @property
    def shown(self) -> str:
        """Who and since when, in a few words."""
        process = Process.read(self.process)
        number = "" if process is None else f" {process.number}"
        return f"since {self.since}, by process{number} on {self.host}"


@dataclass(frozen=True)
class Seen:
    """A claim as it was found.

    Attributes:
        owner: who has it; None where that cannot be read, or is just being written.
        beat: the time of its file, in nanoseconds of whichever clock.
    """

    owner: Owner | None
    beat: int

    @property
    def process(self) -> Process | None:
        """Who has it, where that can be read."""
        return None if self.owner is None else Process.read(self.owner.process)

    @property
    def is_here(self) -> bool:
        """True where the owner is a process of this machine, so that its end is noticed."""
        return self.process is not None and self.process.is_here


@dataclass
class _Watched:
    """A claim of another machine, in the eyes of this process."""

    seen: Seen
    last_look: float
    missed: int = 0


_WATCHED: dict[Path, _Watched] = {}


class Claim:
    """Something that this process has for itself, until `release`, or until it ends."""

    def __init__(self, path: Path, owner: Owner) -> None:
        """Keeps a claim that was just made alive."""
        ended = threading.Event()
        # It must not know the claim, which else would live as long as its heart beats.
        threading.Thread(target=_beat, args=(path, owner, ended), daemon=True).start()
        self._release = weakref.finalize(self, _give_back, path, owner, os.getpid(), ended)

    def release(self) -> None:
        """Gives it back; once is enough."""
        self._release()


def take(path: Path) -> Claim | None:
    """Claims what a file stands for, at once or not at all; of many processes one gets it.

    Args:
        path: the file; its folder is there.

    Returns:
        None where another process has it, or it is not known yet whether that still lives.

    Raises:
        StoreError: the disk is full, read-only or not permitted.
    """
    with disk_errors("write", path):
        owner = _made(path)
        if owner is None and (found := look(path)) is not None and is_dead(path, found):
            # Who takes over has a claim for just that, so that nobody removes another one's new
            # claim. It may be taken over itself.
            takeover = take(path.with_name(f"{path.name}.taken-over"))
            if takeover is not None:
                try:
                    if look(path) == found:
                        path.unlink()
                    owner = _made(path)
                finally:
                    takeover.release()
    if owner is None:
        return None
    _WATCHED.pop(path, None)
    return Claim(path, owner)


def look(path: Path) -> Seen | None:
    """Who has a claim; None where nobody has.

    Raises:
        StoreError: it is no file.
    """
    if not path.is_file():
        if path.exists():
            what = "folder" if path.is_dir() else "device, pipe or socket"
            raise StoreError(f"{path} is a {what}; remove it")
        return None
    try:
        # Opened, not only asked for its time: network file systems then ask the server anew.
        with path.open("rb") as stream:
            content, beat = stream.read(), os.fstat(stream.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    owner = None
    with contextlib.suppress(ValueError, TypeError):
        owner = Owner(**json.loads(content))
    return Seen(owner, beat)


def is_dead(path: Path, seen: Seen) -> bool:
    """Whether a claim's owner is gone, as far as this process has found out by now."""
    if seen.process is not None and seen.is_here:
        return seen.process.is_gone
    now = time.monotonic()
    watched = _WATCHED.get(path)
    if watched is None or watched.seen != seen:
        _WATCHED[path] = _Watched(seen, now)
        return False
    if now - watched.last_look >= BEAT:
        watched.missed += 1
        watched.last_look = now
    return watched.missed >= MISSED


def living(path: Path, waiting: Callable[[Seen], None] = lambda _: None) -> Seen | None:
    """Who has a claim and is alive; None where nobody is.

    That is known at once of a process of this machine; of another machine it takes a heartbeat, or
    as many as may be missed.

    Args:
        path: of the claim.
        waiting: told once where it is not known at once.
    """
    first = seen = look(path)
    while seen is not None and not is_dead(path, seen):
        if seen.is_here or seen != first:
            return seen
        if _WATCHED[path].missed == 0:
            waiting(seen)
        time.sleep(BEAT)
        seen = look(path)
    return None


class Claims:
    """What is being made for a store, by name, so that several processes make nothing twice.

    A process has one claim at a time and waits for none while it has it, so that no two wait for
    each other.
    """

    def __init__(self, root: Path) -> None:
        """Claims in a folder, which is made by the first."""
        self._root = root

    def is_free(self, name: str) -> bool:
        """False where another process is making something, as far as that is known."""
        path = self._path(name)
        seen = look(path)
        return seen is None or is_dead(path, seen)

    def attempt(
        self,
        name: str,
        find: Callable[[], _T | None],
        make: Callable[[], _T],
        *,
        watch: bool = False,
    ) -> tuple[_T, bool] | None:
        """Makes something, unless another process does.

        Args:
            name: of what is made; the name of a file.
            find: looks whether it was made in the meantime.
            make: makes it, and leaves it where it is found.
            watch: where a process of another machine has it, look until it is known whether that
                one lives.

        Returns:
            It, and whether it was made here; None where another process makes it.
        """
        path = self._path(name)
        with disk_errors("write in", self._root):
            self._root.mkdir(parents=True, exist_ok=True)
        claim = take(path)
        if claim is None and watch and living(path) is None:
            claim = take(path)
        if claim is None:
            return None
        try:
            found = find()
            return (make(), True) if found is None else (found, False)
        finally:
            claim.release()

    def once(
        self,
        name: str,
        find: Callable[[], _T | None],
        make: Callable[[], _T],
        waiting: Callable[[str], None] = lambda _: None,
    ) -> tuple[_T, bool]:
        """Makes something, or waits until another process has made it.

        Args:
            name: of what is made; the name of a file.
            find: looks whether it was made in the meantime.
            make: makes it, and leaves it where it is found.
            waiting: told who makes it where it is waited for.

        Returns:
            It, and whether it was made here.
        """
        pause, last = _PAUSES
        told = None
        while (answer := self.attempt(name, find, make)) is None:
            if (found := find()) is not None:
                return found, False
            seen = look(self._path(name))
            if seen is not None and seen.owner is not None and seen.owner != told:
                told = seen.owner
                waiting(told.shown)
            time.sleep(pause)
            pause = min(2 * pause, last)
        return answer

    def sweep(self) -> None:
        """Removes claims of processes that are gone."""
        for path in list(self._root.glob("*")):
            if (seen := look(path)) is not None and is_dead(path, seen):
                claim = take(path)
                if claim is not None:
                    claim.release()

    def _path(self, name: str) -> Path:
        return self._root / name[:32]


def _made(path: Path) -> Owner | None:
    """Makes a claim with its content at once; None where there is one."""
    owner = Owner.here()
    content = json.dumps(asdict(owner)).encode()
    temporary = temporary_path(path.parent)
    try:
        temporary.write_bytes(content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return None
        except OSError:  # no links on this file system: for a moment the file is empty
            try:
                with path.open("xb") as stream:
                    stream.write(content)
            except FileExistsError:
                return None
    finally:
        temporary.unlink(missing_ok=True)
    return owner


def _beat(path: Path, owner: Owner, ended: threading.Event) -> None:
    """Renews the time of a claim's file until it is given back or lost."""
    while not ended.wait(BEAT):
        with contextlib.suppress(OSError, StoreError):  # the next one may come through
            seen = look(path)
            if seen is None or seen.owner != owner:
                return
            os.utime(path)


def _give_back(path: Path, owner: Owner, number: int, ended: threading.Event) -> None:
    ended.set()
    if os.getpid() != number:  # a copy of the process, made while it had the claim
        return
    with contextlib.suppress(OSError, StoreError):
        seen = look(path)
        if seen is not None and seen.owner == owner:  # and not of one that took over
            path.unlink()
