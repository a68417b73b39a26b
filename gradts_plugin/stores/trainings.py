"""The trial ledger: finished training runs on disk, so that no run is ever made twice.

One JSON file for each run, named by the fingerprint of everything its score depends on. Runs are
recorded one by one as they finish, so work that is killed goes on after the last finished run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.records import TrainingResult
from gradts_plugin.scores import Score
from gradts_plugin.stores.json_records import JsonRecords

FORMAT = "gradts training run"


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
            StoreError: there is a file of that name, or the records are of another version.
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
            result: what it came to.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        self._records.record(key, self._plain_result(result))

    def _plain_result(self, result: TrainingResult) -> dict[str, Any]:
        folder = result.output_dir
        return {
            "score": result.score,
            "metrics": dict(result.metrics),
            "history": list(result.history),
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
            score=_score(values["score"]),
            metrics={name: _score(value) for name, value in values["metrics"].items()},
            history=tuple(_score(value) for value in values["history"]),
            num_steps=values["num_steps"],
            num_examples=values["num_examples"],
            seconds=values["seconds"],
            output_dir=folder if folder is not None and folder.is_dir() else None,
            scheduler_state=values.get("scheduler_state"),
        )


def _score(value: float | None) -> Score:
    return None if value is None else float(value)
