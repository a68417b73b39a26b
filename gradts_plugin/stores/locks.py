"""One run in a folder at a time: a file that names the process, taken over when that is gone.

Nothing but hard links and renames is asked of the file system, so that it serves folders that
machines share, whose file systems often lack locks. Where the process of another machine died, its
file has to be removed by hand: nobody else can know.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gradts_plugin.errors import StoreError
from gradts_plugin.stores.files import disk_errors, temporary_path
from gradts_plugin.stores.processes import Process

#: The lock of a folder; there only while something is in progress in it.
LOCK: Final = "in-progress.json"

#: Locks of this very process, which may open a folder again while it has it.
_OWN: Final[Counter[tuple[int, Path]]] = Counter()


@dataclass(frozen=True)
class _Holder:
    """What stands in a lock.

    Attributes:
        process: who has it.
        host: where, for people.
        since: when it was taken (UTC, ISO 8601).
    """

    process: str = field(default_factory=lambda: str(Process.current()))
    host: str = field(default_factory=socket.gethostname)
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def is_gone(self) -> bool:
        found = Process.read(self.process)
        return found is not None and found.is_gone

    @property
    def is_this_process(self) -> bool:
        return self.process == str(Process.current())


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

    Raises:
        StoreError: something is in progress in it.
    """
    path = folder.resolve() / LOCK
    holder = _holder_of(path)
    if holder is not None and not holder.is_gone and not holder.is_this_process:
        raise _held(path, holder)


def _take(path: Path) -> None:
    """Makes the file, or takes it over from a process that is gone."""
    if _OWN[os.getpid(), path] == 0 and not _made(path):
        found = _holder_of(path)
        if found is None or not found.is_gone:
            raise _held(path, found)
        # Who takes over holds a lock for just that, so that nobody removes another one's new lock.
        takeover = path.with_name(f"{path.name}.taken-over")
        _take(takeover)
        try:
            if _holder_of(path) == found:
                path.unlink()
            if not _made(path):
                raise _held(path, _holder_of(path))
        finally:
            _give_back(takeover, os.getpid())
    _OWN[os.getpid(), path] += 1


def _made(path: Path) -> bool:
    """Makes the file with its content at once; False where there is one."""
    temporary = temporary_path(path.parent)
    content = json.dumps(asdict(_Holder())).encode()
    try:
        temporary.write_bytes(content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # no links on this file system: for a moment the file is empty
            try:
                with path.open("xb") as stream:
                    stream.write(content)
            except FileExistsError:
                return False
        return True
    finally:
        temporary.unlink(missing_ok=True)


def _holder_of(path: Path) -> _Holder | None:
    """What stands in a lock; None where there is none, or it is being written."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        if path.is_file():
            return _Holder(**json.loads(path.read_bytes()))
    return None


def _give_back(path: Path, owner: int, *, remove_empty: bool = False) -> None:
    if os.getpid() != owner:  # a copy of the process, made while it had the lock
        return
    _OWN[owner, path] -= 1
    if _OWN[owner, path] == 0:
        del _OWN[owner, path]
        with contextlib.suppress(OSError):
            path.unlink()
            if remove_empty:
                path.parent.rmdir()


def _held(path: Path, holder: _Holder | None) -> StoreError:
    """The error to raise where something is in progress."""
    process = None if holder is None else Process.read(holder.process)
    if holder is None or process is None:
        who = "by another process"
    else:
        who = f"since {holder.since}, by process {process.number} on {holder.host}"
    is_near = process is not None and process.machine == Process.current().machine
    remedy = "" if is_near else f"; if that process is gone, remove {path.name} in it"
    return StoreError(
        f"{path.parent}: a run is in progress here {who}; wait for it, or give another "
        f"output_dir{remedy}"
    )
