"""The trial ledger: finished training runs on disk, so that no run is ever made twice.

One JSON file for each run, named by the fingerprint of everything its score depends on. Runs are
recorded one by one as they finish, so work that is killed goes on after the last finished run.
What a run predicted lies beside its record, in a compressed NumPy file (`predictions`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gradts_plugin.json_forms import JsonObject, to_json
from gradts_plugin.records import TrainingResult
from gradts_plugin.stores.json_records import JsonRecords
from gradts_plugin.stores.predictions import predictions_bytes, read_predictions

FORMAT = "gradts training run"

#: Ending of the file with a run's predictions.
_PREDICTIONS = ".npz"


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

    def digest(self, key: JsonObject) -> str:
        """sha256 (hex) of a key and the ledger's format version."""
        return self._records.digest(key)

    def find(self, key: JsonObject) -> TrainingResult | None:
        """Looks a run up.

        Args:
            key: everything the run's numbers depend on.

        Returns:
            Its result, or None where it was not made. The output folder is None where it is gone.

        Raises:
            StoreError: the record is damaged, of another version, or belongs to another key.
        """
        found = self._records.find(key, TrainingResult)
        if found is None:
            return None
        result, path = found.record, found.beside.get(_PREDICTIONS)
        folder = result.output_dir and Path(os.path.normpath(self.root / result.output_dir))
        return replace(
            result,
            output_dir=folder if folder and folder.is_dir() else None,
            predictions={} if path is None else read_predictions(path),
        )

    def all_keys(self) -> Iterator[JsonObject]:
        """The keys of all runs, as they were recorded."""
        return self._records.all_keys()

    def record(self, key: JsonObject, result: TrainingResult) -> None:
        """Writes a finished run down, whole or not at all.

        Args:
            key: everything the run's numbers depend on.
            result: what it came to.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        folder = result.output_dir
        # Relative, so that an output folder can be moved as a whole.
        relative = None if folder is None else os.path.relpath(folder, self.root)
        predicted = result.predictions
        beside = {_PREDICTIONS: predictions_bytes(predicted)} if predicted else {}
        self._records.record(key, {**to_json(result), "output_dir": relative}, beside)
