"""JSON files found again by what they depend on, checked when read."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic

from gradts_plugin.errors import ConfigError, StoreError
from gradts_plugin.json_forms import JsonObject, RecordT, from_json
from gradts_plugin.stores.checksums import sha256_of_file
from gradts_plugin.stores.files import disk_errors, is_there, write_bytes_atomic, write_json_atomic
from gradts_plugin.stores.keys import FORMAT_VERSION, canonical_json, digest_of

#: The key of a result that says which files belong to it: ending -> sha256.
_BESIDE = "files_beside"


@dataclass(frozen=True)
class Found(Generic[RecordT]):
    """A record that was found.

    Attributes:
        record: what its file says.
        beside: ending -> the file that belongs to it, its checksum compared; None where the file
            was removed. Of a record of before, which names none, whatever has its name.
    """

    record: RecordT
    beside: Mapping[str, Path | None]


class JsonRecords:
    """JSON files found again by what they depend on, checked when read.

    Keys are mappings of plain JSON values; two keys that are equal as JSON are the same.

    Attributes:
        root: the folder; made by the first record.
    """

    def __init__(self, root: Path, *, file_format: str, kind: str, remedy: str) -> None:
        """Opens a folder, which may not exist yet.

        Args:
            root: the folder.
            file_format: written into every file; other files are refused.
            kind: what a file holds, for messages.
            remedy: what happens when a damaged file is removed, for messages.

        Raises:
            StoreError: there is a file of that name, or the records are of another version.
        """
        self.root = root
        self._format = file_format
        self._kind = kind
        self._remedy = remedy
        if root.exists() and not root.is_dir():
            raise StoreError(f"the folder of {kind}s {root} is a file; give a folder")
        found = _version_of_one_in(root)
        if found != FORMAT_VERSION:
            raise StoreError(
                f"the folder of {kind}s {root} has format version {found}, this is version "
                f"{FORMAT_VERSION}; remove it or give another folder as store"
            )

    def digest(self, key: JsonObject) -> str:
        """sha256 (hex) of a key and the format version."""
        return digest_of({"format_version": FORMAT_VERSION, "key": key})

    def find(self, key: JsonObject, record: type[RecordT]) -> Found[RecordT] | None:
        """What is stored under a key, read as a record; None where there is nothing.

        Raises:
            StoreError: the record is damaged, of another version, or belongs to another key.
        """
        path = self._path(key)
        if not is_there(path) or not path.is_file():
            return None
        with disk_errors("read", path):
            content = path.read_bytes()
        try:
            found = json.loads(content)
            if found["format"] != self._format:
                raise self._refused(key, f"is no {self._format}")
            if found["format_version"] != FORMAT_VERSION:
                raise self._refused(
                    key,
                    f"has format version {found['format_version']}, "
                    f"this is version {FORMAT_VERSION}",
                )
            if found["key"] != json.loads(canonical_json(key)):
                raise self._refused(key, "belongs to other settings")
            checksum, result = found["sha256"], found["result"]
            if checksum != digest_of(result):
                raise self._refused(key, "is damaged: its result does not match its checksum")
            read = from_json(record, result, where=path.name)
            checksums = result.get(_BESIDE)
            beside = None if checksums is None else dict(checksums)
        except (ValueError, KeyError, TypeError, ConfigError) as error:
            raise self._refused(key, "is damaged: no valid JSON record") from error
        if beside is None:
            own = self.root.glob(f"{path.stem}.*")
            others = {each.name.removeprefix(path.stem): each for each in own if each != path}
            return Found(read, dict(others))
        return Found(read, {ending: self._beside(key, ending, beside[ending]) for ending in beside})

    def record(
        self, key: JsonObject, values: JsonObject, beside: Mapping[str, bytes] | None = None
    ) -> None:
        """Writes values down, whole or not at all.

        Args:
            key: of the record.
            values: what it says.
            beside: ending -> content of files that belong to it. They are named by their content,
                so that the record of another process, made at the same time, has its own.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        checksums = {}
        for ending, content in (beside or {}).items():
            checksum = checksums[ending] = hashlib.sha256(content).hexdigest()
            write_bytes_atomic(self._path_beside(key, ending, checksum), content)
        values = {**values, _BESIDE: checksums}
        # Last: a record that is found has what belongs to it.
        write_json_atomic(
            self._path(key),
            {
                "format": self._format,
                "format_version": FORMAT_VERSION,
                "key": json.loads(canonical_json(key)),
                "result": values,
                "sha256": digest_of(values),
                "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def all_keys(self) -> Iterator[JsonObject]:
        """The keys of all records; what cannot be read is told where it is looked up."""
        for path in sorted(path for path in self.root.glob("*.json") if path.is_file()):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found = json.loads(path.read_bytes())
                if found["format"] == self._format:
                    yield found["key"]

    def _beside(self, key: JsonObject, ending: str, checksum: str) -> Path | None:
        path = self._path_beside(key, ending, checksum)
        if not path.is_file():
            return None
        with disk_errors("read", path):
            found = sha256_of_file(path)
        if found != checksum:
            raise StoreError(
                f"{path} is damaged; remove this file and {self._path(key).name}, and "
                f"{self._remedy}"
            )
        return path

    def _path_beside(self, key: JsonObject, ending: str, checksum: str) -> Path:
        return self._path(key).with_suffix(f".{checksum[:16]}{ending}")

    def _refused(self, key: JsonObject, problem: str) -> StoreError:
        """The error to raise for a record that cannot be used."""
        return StoreError(
            f"the {self._kind} {self._path(key)} {problem}; remove this file and {self._remedy}"
        )

    def _path(self, key: JsonObject) -> Path:
        return self.root / f"{self.digest(key)[:32]}.json"


def _version_of_one_in(root: Path) -> object:
    """The format version of some record, since one folder has one; ours where none can be read."""
    try:
        some = next(path for path in root.glob("*.json") if path.is_file())
        return json.loads(some.read_bytes())["format_version"]
    except (StopIteration, OSError, ValueError, KeyError, TypeError):
        return FORMAT_VERSION  # what is damaged is said when it is looked up
