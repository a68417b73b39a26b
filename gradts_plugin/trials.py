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
        if root.exists() and not root.is_dir():
            raise StoreError(f"the ledger of training runs {root} is a file; give a folder")

    def digest(self, key: Mapping[str, Any]) -> str:
        """sha256 (hex) of a key and the ledger's format version."""
        return digest_of({"format_version": FORMAT_VERSION, "key": key})

    def find(self, key: Mapping[str, Any]) -> TrainingResult | None:
        """Looks a run up.

        Args:
            key: everything the run's numbers depend on.

        Returns:
            Its result, or None where it was not made. The output folder is None where it is gone.

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
            if record["format"] != FORMAT:
                raise _refused(path, f"is no {FORMAT}")
            if record["format_version"] != FORMAT_VERSION:
                raise _refused(
                    path,
                    f"has format version {record['format_version']}, "
                    f"this is version {FORMAT_VERSION}",
                )
            if record["key"] != json.loads(canonical_json(key)):
                raise _refused(path, "belongs to other settings")
            checksum, result = record["sha256"], record["result"]
            if checksum != digest_of(result):
                raise _refused(path, "is damaged: its result does not match its checksum")
            return self._read_result(result)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _refused(path, "is damaged: no valid JSON record") from error

    def record(self, key: Mapping[str, Any], result: TrainingResult) -> None:
        """Writes a finished run down, whole or not at all.

        Args:
            key: everything the run's numbers depend on.
            result: what it came to; NaN metrics are kept as such.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        values = self._plain_result(result)
        write_json_atomic(
            self._path(key),
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "key": json.loads(canonical_json(key)),
                "result": values,
                "sha256": digest_of(values),
                "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )

    def _path(self, key: Mapping[str, Any]) -> Path:
        return self.root / f"{self.digest(key)[:32]}.json"

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
        )


def _plain_number(value: float) -> float | str:
    """JSON has no NaN and no infinity: they are written as words."""
    value = float(value)
    return value if math.isfinite(value) else str(value)


def _number(value: float | str) -> float:
    return float(value)


def _refused(path: Path, problem: str) -> StoreError:
    return StoreError(
        f"the training run {path} {problem}; remove this file and it is trained again"
    )
