"""Files that appear whole or not at all, and disk errors said in one line.

Everything is written beside its destination first and then renamed, so that a reader never sees
half a file and a killed writer leaves only a temporary one. Temporary names say which process
writes: what a killed one left behind is recognised by that.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gradts_plugin.errors import ConfigError, GradTSError, StoreError
from gradts_plugin.stores.processes import Process

#: How temporary names begin.
TEMPORARY_PREFIX = ".writing-"

# A file name may have 255 bytes on the usual file systems; seeds and digests are added to a name.
_MAX_NAME_BYTES = 150

_DISK_PROBLEMS: Mapping[int, str] = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this system or user may write",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "no permission",
    errno.EPERM: "no permission",
    errno.ENOTDIR: "a part of the path is a file, a folder is needed",
    errno.EEXIST: "a file is in the way",
    errno.EISDIR: "is a folder, a file is needed",
    errno.ENAMETOOLONG: "the name is too long",
}


@contextmanager
def disk_errors(
    doing: str, path: Path, *, error_class: type[GradTSError] = StoreError
) -> Iterator[None]:
    """Turns what the disk refuses inside the block into one line for the user.

    Wrap only what touches the disk: an `OSError` of anything else would be blamed on it.

    Args:
        doing: what is attempted, e.g. "write"; the message starts with "cannot" and this word.
        path: what it is attempted on.
        error_class: which kind of error it is to the user.

    Raises:
        StoreError: (or `error_class`) the disk is full, read-only, not permitted or broken.
    """
    try:
        yield
    except OSError as error:
        raise error_class(f"cannot {doing} {path}: {disk_problem(error)}") from error


def disk_problem(error: OSError) -> str:
    """What the disk refused, in words."""
    return _DISK_PROBLEMS.get(error.errno or 0) or error.strerror or str(error)


@contextmanager
def file_in_the_making(
    path: Path, *, error_class: type[GradTSError] = StoreError
) -> Iterator[Path]:
    """Lends the path of a file to write; in the end it gets its name, or is removed after an error.

    Args:
        path: where it goes; missing folders are made, an older file of that name is replaced.
        error_class: which kind of error a refusing disk is to the user.

    Yields:
        Where to write it.

    Raises:
        StoreError: (or `error_class`) the disk is full, read-only or not permitted; the older file
            is still there.
    """
    with disk_errors("write", path, error_class=error_class):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_path(path.parent)
        try:
            yield temporary
            with temporary.open("rb") as stream:
                flush_to_disk(stream.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def write_bytes_atomic(
    path: Path, data: bytes, *, error_class: type[GradTSError] = StoreError
) -> None:
    """Writes a file whole or not at all; an older file of that name is replaced.

    Args:
        path: where it goes; missing folders are made.
        data: the content.
        error_class: which kind of error a refusing disk is to the user.

    Raises:
        StoreError: (or `error_class`) the disk is full, read-only or not permitted; the older file
            is still there.
    """
    with file_in_the_making(path, error_class=error_class) as temporary:
        temporary.write_bytes(data)


def write_json_atomic(
    path: Path, data: Any, *, error_class: type[GradTSError] = StoreError
) -> None:
    """Writes plain values as indented JSON, whole or not at all.

    Args:
        path: where it goes; missing folders are made.
        data: plain JSON values; paths are written as strings.
        error_class: which kind of error a refusing disk is to the user.

    Raises:
        StoreError: (or `error_class`) the disk is full, read-only or not permitted.
        ValueError: a NaN or an infinity, which JSON does not have.
        TypeError: a value JSON does not have.
    """
    write_bytes_atomic(path, json_bytes(data), error_class=error_class)


def json_bytes(data: Any) -> bytes:
    """Plain values as `write_json_atomic` writes them.

    Raises:
        ValueError, TypeError: a value JSON does not have.
    """
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False, default=_as_plain)
    return (text + "\n").encode()


@contextmanager
def folder_in_the_making(parent: Path) -> Iterator[Path]:
    """Lends a temporary folder in `parent`; removes it at the end if it is still there.

    The caller fills it and renames it to its final name (`publish_folder`).

    Args:
        parent: the folder the final one will lie in; made if missing.

    Yields:
        The empty folder.

    Raises:
        StoreError: the disk is full, read-only or not permitted.
    """
    with disk_errors("write in", parent):
        folder = temporary_path(parent)
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def publish_folder(folder: Path, destination: Path) -> bool:
    """Gives a finished folder its final name.

    Args:
        folder: from `folder_in_the_making`.
        destination: the final name, in the same parent.

    Returns:
        False where somebody else published under that name first; theirs stays.

    Raises:
        StoreError: the disk refused.
    """
    with disk_errors("write", destination):
        try:
            folder.rename(destination)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise
        return True


def remove_abandoned(parent: Path) -> None:
    """Removes what killed writers left in `parent` and below: temporary files and folders.

    Args:
        parent: the folder to clean; may be missing. What a process writes that still runs, or runs
            on another machine, stays.
    """
    for path in list(parent.rglob(f"{TEMPORARY_PREFIX}*")):
        writer = Process.read(path.name.removeprefix(TEMPORARY_PREFIX).rpartition("-")[0])
        if writer is None or not writer.is_gone:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()


def linked_or_copied(source: Path, destination: Path) -> None:
    """Gives a file another name that stays when the first one goes; where it cannot be, a copy.

    Args:
        source: the file.
        destination: its other name; missing folders are made, an older file is replaced.

    Raises:
        FileNotFoundError: there is no such file.
        OSError, StoreError: the disk refused.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(destination.parent)
    try:
        try:
            os.link(source, temporary)
        except FileNotFoundError:
            raise
        except OSError:  # on another disk, or one without links
            shutil.copyfile(source, temporary)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)


def is_there(path: Path) -> bool:
    """Whether a path exists, also on a network file system.

    There, what another machine wrote may not be seen for a minute once it was looked for in vain.
    """
    if path.exists():
        return True
    with suppress(OSError):  # to open its folder asks the server anew
        os.close(os.open(path.parent, os.O_RDONLY))
    return path.exists()


def size_on_disk(folder: Path) -> int:
    """Bytes of the files below a folder; what links lead to is not counted."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def check_folder_name(name: str, *, what: str = "task name") -> str:
    """Refuses a name that would leave the folder it is used in.

    Args:
        name: becomes (part of) the name of a file or folder.
        what: what the name is, for the message.

    Returns:
        The name, unchanged.

    Raises:
        ConfigError: empty, too long, starts with a dot, has a slash, backslash or control
            character.
    """
    if not name:
        raise ConfigError(f"a {what} is empty; give it a name")
    if name.startswith("."):
        raise ConfigError(f"{what} {name!r} starts with a dot; it becomes a folder name")
    if any(letter in "/\\" or not letter.isprintable() for letter in name):
        raise ConfigError(
            f"{what} {name!r} cannot be a folder name; leave out slashes and control characters"
        )
    if len(name.encode(errors="surrogatepass")) > _MAX_NAME_BYTES:
        raise ConfigError(f"{what} {name[:20]!r}... is longer than {_MAX_NAME_BYTES} bytes")
    return name


def flush_to_disk(descriptor: int) -> None:
    """Forces an open file to the disk, where the file system can do that."""
    with suppress(OSError):
        os.fsync(descriptor)


def temporary_path(parent: Path) -> Path:
    """A name in `parent` that nobody else takes, and that says who writes there."""
    # Not from `tempfile`, which makes files nobody else may read: these become ordinary output.
    return parent / f"{TEMPORARY_PREFIX}{Process.current()}-{secrets.token_hex(8)}"


def _as_plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON value: {value!r}")
