"""One run in a folder at a time: a claim of the folder, taken over when its process is gone."""

from __future__ import annotations

import contextlib
import os
import warnings
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gradts_plugin.errors import StoreError, WaitingWarning
from gradts_plugin.stores.claims import BEAT, MISSED, Claim, Seen, living, look, take
from gradts_plugin.stores.files import disk_errors

#: The lock of a folder; there only while something is in progress in it.
LOCK: Final = "in-progress.json"


@dataclass
class _Own:
    """A folder of this very process, which may open it again while it has it."""

    claim: Claim
    times: int = 0


_OWN: Final[dict[tuple[int, Path], _Own]] = {}


class FolderLock:
    """A folder that this process has for itself, until `release`, or until the process ends."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which is made if need be.

        Raises:
            StoreError: something is in progress in it, or the disk refuses.
        """
        path = folder.resolve() / LOCK
        with disk_errors("write in", folder):
            is_new = not path.parent.exists()
            path.parent.mkdir(parents=True, exist_ok=True)
        _take(path)
        self._release = weakref.finalize(self, _give_back, path, os.getpid(), remove_empty=is_new)

    def release(self) -> None:
        """Gives the folder back; once is enough. A folder that was made for this is not left."""
        self._release()

    @contextlib.contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Gives the folder back where the block fails."""
        try:
            yield
        except BaseException:
            self.release()
            raise


def refuse_if_held(folder: Path) -> None:
    """Looks whether another process has a folder; writes nothing.

    A process of another machine is watched for a minute: it may be gone.

    Raises:
        StoreError: something is in progress in it.
    """
    path = folder.resolve() / LOCK

    def waiting(seen: Seen) -> None:
        who = "by another process" if seen.owner is None else seen.owner.shown
        message = f"{path.parent}: a run was begun here {who}; looking whether it still goes on"
        warnings.warn(WaitingWarning(f"{message} ({BEAT * MISSED:.0f} s at most)"), stacklevel=2)

    if (os.getpid(), path) not in _OWN and (found := living(path, waiting)) is not None:
        raise _held(path, found)


def _take(path: Path) -> None:
    own = os.getpid(), path
    if own not in _OWN:
        refuse_if_held(path.parent)
        claim = take(path)
        if claim is None:
            raise _held(path, look(path))
        _OWN[own] = _Own(claim)
    _OWN[own].times += 1


def _give_back(path: Path, owner: int, *, remove_empty: bool = False) -> None:
    if os.getpid() != owner:  # a copy of the process, made while it had the lock
        return
    own = _OWN[owner, path]
    own.times -= 1
    if own.times == 0:
        del _OWN[owner, path]
        own.claim.release()
        if remove_empty:
            with contextlib.suppress(OSError):
                path.parent.rmdir()


def _held(path: Path, found: Seen | None) -> StoreError:
    """The error to raise where something is in progress."""
    who = "by another process" if found is None or found.owner is None else found.owner.shown
    return StoreError(
        f"{path.parent}: a run is in progress here {who}; wait for it, or give another output_dir"
    )
