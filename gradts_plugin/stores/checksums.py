"""Checksums of what is kept and read again: files, folders that are made once, and JSON records."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.stores.files import (
    disk_errors,
    publish_folder,
    write_bytes_atomic,
    write_json_atomic,
)
from gradts_plugin.stores.keys import digest_of

#: Marks a finished folder: what it was made from, and the checksum of every file in it.
MARKER: Final = "prepared.json"

#: The key of a JSON record under which its checksum stands.
SEAL: Final = "sha256_of_the_rest"

#: The checksums of a folder's files, as `sha256sum` writes and reads them.
SUMS: Final = "SHA256SUMS"


def sha256_of_file(path: Path) -> str:
    """sha256 (hex) of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file():  # a pipe would be waited for, and a device may have no end
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_of_files(folder: Path, paths: Iterable[Path]) -> str:
    """sha256 (hex) over the names, as seen from a folder, and contents of files in it.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(bytes.fromhex(sha256_of_file(path)))
    return digest.hexdigest()


def publish_made(folder: Path, destination: Path, made_from: JsonObject) -> None:
    """Marks a folder as whole and gives it its name; what had that name before is removed.

    Args:
        folder: from `files.folder_in_the_making`.
        destination: the final name, in the same parent.
        made_from: what decides the content.

    Raises:
        StoreError: the disk refused.
    """
    with disk_errors("read", folder):
        files = _files_in(folder)
    write_json_atomic(folder / MARKER, sealed({"made_from": made_from, "files": files}))
    shutil.rmtree(destination, ignore_errors=True)
    publish_folder(folder, destination)


def made_from(folder: Path) -> Any:
    """What a folder was made from, as JSON values; None where it is missing, damaged or not whole.

    Every file in it is read.
    """
    try:
        found = json.loads((folder / MARKER).read_bytes())
        if is_sealed(found) and found["files"] == _files_in(folder):
            return found["made_from"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def is_made_from(folder: Path, identity: JsonObject) -> bool:
    """Whether a folder is whole and was made from just this; every file in it is read."""
    return bool(made_from(folder) == json.loads(json.dumps(identity)))


def _files_in(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): sha256_of_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MARKER
    }


def sealed(values: JsonObject) -> JsonObject:
    """A JSON record with its checksum."""
    rest = json.loads(json.dumps(values, default=str))  # as it is read back
    return {**rest, SEAL: digest_of(rest)}


def is_sealed(values: Any) -> bool:
    """Whether a record that was read back is the one that was sealed."""
    if not isinstance(values, dict) or SEAL not in values:
        return False
    rest = {key: value for key, value in values.items() if key != SEAL}
    return bool(values[SEAL] == digest_of(rest))


# --- files that people read, too ------------------------------------------------------------------


def write_summed(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, and its checksum into the folder's list.

    Raises:
        StoreError: the disk refused.
    """
    new = hashlib.sha256(data).hexdigest()
    # Both until the file is there: killed in between, neither the old nor the new one is damaged.
    _note(path.parent, path.name, [*_noted(path.parent).get(path.name, ()), new])
    write_bytes_atomic(path, data)
    _note(path.parent, path.name, [new])


def note_sum(path: Path, folder: Path) -> None:
    """Writes the checksum of a file into the list of a folder that it lies in, however deep.

    Raises:
        StoreError: the disk refused.
    """
    with disk_errors("read", path):
        digest = sha256_of_file(path)
    _note(folder, path.relative_to(folder).as_posix(), [digest])


def check_sum(path: Path, remedy: str) -> None:
    """Compares a file with its checksum in the folder's list, where it stands there.

    Args:
        path: the file.
        remedy: what to do where it is damaged, for the message.

    Raises:
        ConfigError: it is another one than was written.
    """
    noted = _noted(path.parent).get(path.name)
    with disk_errors("read", path, error_class=ConfigError):
        if noted and sha256_of_file(path) not in noted:
            raise ConfigError(
                f"{path} is damaged, or was changed by hand: it is not what {SUMS} says; {remedy}, "
                f"or remove its line from {SUMS} to take it as it is"
            )


def _noted(folder: Path) -> dict[str, list[str]]:
    """The checksums in a folder's list, by name; lines that are none are left out."""
    path = folder / SUMS
    if not path.exists():
        return {}
    with disk_errors("read", path):
        lines = path.read_bytes().decode(errors="replace").splitlines()
    found: dict[str, list[str]] = {}
    for line in lines:
        digest, separator, name = line.partition("  ")
        if separator:
            found.setdefault(name, []).append(digest)
    return found


def _note(folder: Path, name: str, digests: Sequence[str]) -> None:
    noted = {**_noted(folder), name: digests}
    lines = [
        f"{digest}  {each}\n"
        for each in sorted(noted)
        if each == name or (folder / each).exists()
        for digest in dict.fromkeys(noted[each])
    ]
    write_bytes_atomic(folder / SUMS, "".join(lines).encode())
