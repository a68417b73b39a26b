"""Whatever a ranker computed: plain values, arrays and what they cost."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradts_plugin.errors import StoreError
from gradts_plugin.json_forms import JsonObject, to_json
from gradts_plugin.offers import NamedValues
from gradts_plugin.records import Cost, FloatArray
from gradts_plugin.stores.files import disk_errors, write_bytes_atomic
from gradts_plugin.stores.json_records import JsonRecords


@dataclass(frozen=True)
class Computed:
    """What a computation came to.

    Attributes:
        values: plain values and arrays by name, which only the ranker reads.
        cost: what they took when they were computed.
    """

    values: NamedValues
    cost: Cost


@dataclass(frozen=True)
class _Record:
    """The JSON form; arrays are named here, and lie in NumPy files beside it."""

    values: JsonObject
    cost: Cost
    arrays: tuple[str, ...] = ()


class ComputedValues:
    """What rankers computed, found again by what it depends on."""

    def __init__(self, root: Path) -> None:
        """Opens a folder, which may not exist yet.

        Raises:
            StoreError: there is a file of that name.
        """
        self._records = JsonRecords(
            root,
            file_format="gradts computed values",
            kind="computed value",
            remedy="it is computed again",
        )
        self.digest = self._records.digest

    def find(self, key: JsonObject) -> Computed | None:
        """What is stored under a key, arrays memory-mapped.

        Returns:
            None where it was not computed, or an array's file was removed.

        Raises:
            StoreError: the record is damaged, of another version, or belongs to another key.
        """
        found = self._records.find(key, _Record)
        if found is None:
            return None
        arrays = {name: _mapped(self._array_path(key, name)) for name in found.arrays}
        present = {name: array for name, array in arrays.items() if array is not None}
        if len(present) < len(arrays):
            return None
        return Computed({**found.values, **present}, found.cost)

    def record(self, key: JsonObject, computed: Computed) -> None:
        """Writes values down, whole or not at all: the record comes after its arrays.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        values = computed.values.items()
        arrays = {name: value for name, value in values if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in values if not isinstance(value, np.ndarray)}
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array, allow_pickle=False)
            write_bytes_atomic(self._array_path(key, name), stream.getvalue())
        names = {"arrays": sorted(arrays)} if arrays else {}
        self._records.record(key, {"values": plain, "cost": to_json(computed.cost), **names})

    def _array_path(self, key: JsonObject, name: str) -> Path:
        return self._records.path_beside(key, f".{name}.npy")


def _mapped(path: Path) -> FloatArray | None:
    """An array whose file is read where it is looked at; None where there is no file."""
    if not path.exists():
        return None
    with disk_errors("read", path):
        try:
            array: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise StoreError(
                f"the array {path} is damaged; remove this file and it is computed again"
            ) from error
    return array
