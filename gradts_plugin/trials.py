"""The trial ledger: finished training runs on disk, so that no run is ever made twice.

One JSON file for each run, named by the fingerprint of everything its score depends on. Runs are
recorded one by one as they finish, so work that is killed goes on after the last finished run.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradts_plugin.errors import StoreError
from gradts_plugin.files import disk_errors, write_json_atomic
from gradts_plugin.records import TrainingResult
from gradts_plugin.store import canonical_json, digest_of

FORMAT = "gradts training run"
FORMAT_VERSION = 1


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
            StoreError: there is a file of that name.
        """
        self.root = root
        self._format = file_format
        self._kind = kind
        self._remedy = remedy
        if root.exists() and not root.is_dir():
            raise StoreError(f"the folder of {kind}s {root} is a file; give a folder")

    def digest(self, key: Mapping[str, Any]) -> str:
        """sha256 (hex) of a key and the format version."""
        return digest_of({"format_version": FORMAT_VERSION, "key": key})

    def find(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The values stored under a key; None where there are none.

        Raises:
            StoreError: the record is damaged, of another version, or belongs to another key.
        """
        path = self._path(key)
        if not path.exists():
            return None
        with disk_errors("read", path):
            content = path.read_bytes()
        try:
            record = json.loads(content)
            if record["format"] != self._format:
                raise self.refused(key, f"is no {self._format}")
            if record["format_version"] != FORMAT_VERSION:
                raise self.refused(
                    key,
                    f"has format version {record['format_version']}, "
                    f"this is version {FORMAT_VERSION}",
                )
            if record["key"] != json.loads(canonical_json(key)):
                raise self.refused(key, "belongs to other settings")
            checksum, result = record["sha256"], record["result"]
            if checksum != digest_of(result):
                raise self.refused(key, "is damaged: its result does not match its checksum")
            values: dict[str, Any] = dict(result)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.refused(key, "is damaged: no valid JSON record") from error
        return values

    def record(self, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Writes values down, whole or not at all.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        write_json_atomic(
            self._path(key),
            {
                "format": self._format,
                "format_version": FORMAT_VERSION,
                "key": json.loads(canonical_json(key)),
                "result": dict(values),
                "sha256": digest_of(values),
                "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def refused(self, key: Mapping[str, Any], problem: str) -> StoreError:
        """The error to raise for a record that cannot be used."""
        return StoreError(
            f"the {self._kind} {self._path(key)} {problem}; remove this file and {self._remedy}"
        )

    def _path(self, key: Mapping[str, Any]) -> Path:
        return self.root / f"{self.digest(key)[:32]}.json"


class ComputedValues(JsonRecords):
    """Whatever a ranker computed: plain values and what they cost."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            root,
            file_format="gradts computed values",
            kind="computed value",
            remedy="it is computed again",
        )


class TrialLedger:
    """Training runs that were made, found again by what they depend on.

    Keys are mappings of plain JSON values: the encoder's and the data's fingerprints, the tasks,
    the seed, the recipe, the kept instances. Two runs whose keys are equal as JSON are the same.

    Attributes:
        root: the ledger's folder; made by the first record.
    """

    def __init__(self, root: Path) -> None:
        """Opens a ledger, which may not exist yet.

        Raises:
            StoreError: there is a file of that name.
        """
        self.root = root
        self._records = JsonRecords(
            root, file_format=FORMAT, kind="training run", remedy="it is trained again"
        )

    def digest(self, key: Mapping[str, Any]) -> str:
        """sha256 (hex) of a key and the ledger's format version."""
        return self._records.digest(key)

    def find(self, key: Mapping[str, Any]) -> TrainingResult | None:
        """Looks a run up.

        Args:
            key: everything the run's numbers depend on.

        Returns:
            Its result, or None where it was not made. The output folder is None where it is gone.

        Raises:
            StoreError: the record is damaged, of another version, or belongs to another key.
        """
        values = self._records.find(key)
        if values is None:
            return None
        try:
            return self._read_result(values)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._records.refused(key, "is damaged: no valid JSON record") from error

    def record(self, key: Mapping[str, Any], result: TrainingResult) -> None:
        """Writes a finished run down, whole or not at all.

        Args:
            key: everything the run's numbers depend on.
            result: what it came to; NaN metrics are kept as such.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        self._records.record(key, self._plain_result(result))

    def _plain_result(self, result: TrainingResult) -> dict[str, Any]:
        folder = result.output_dir
        return {
            "score": _plain_number(result.score),
            "metrics": {name: _plain_number(value) for name, value in result.metrics.items()},
            "history": [_plain_number(value) for value in result.history],
            "num_steps": int(result.num_steps),
            "num_examples": int(result.num_examples),
            "seconds": float(result.seconds),
            # Relative, so that an output folder can be moved as a whole.
            "output_dir": None if folder is None else os.path.relpath(folder, self.root),
            **({"scheduler_state": result.scheduler_state} if result.scheduler_state else {}),
        }

    def _read_result(self, values: Mapping[str, Any]) -> TrainingResult:
        relative = values["output_dir"]
        folder = None if relative is None else Path(os.path.normpath(self.root / relative))
        return TrainingResult(
            score=_number(values["score"]),
            metrics={name: _number(value) for name, value in values["metrics"].items()},
            history=tuple(_number(value) for value in values["history"]),
            num_steps=values["num_steps"],
            num_examples=values["num_examples"],
            seconds=values["seconds"],
            output_dir=folder if folder is not None and folder.is_dir() else None,
            scheduler_state=values.get("scheduler_state"),
        )


def _plain_number(value: float) -> float | str:
    """JSON has no NaN and no infinity: they are written as words."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _number(value: float | str) -> float:
    return float(value)
