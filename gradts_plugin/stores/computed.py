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
from gradts_plugin.stores.files import disk_errors
from gradts_plugin.stores.json_records import JsonRecords

#: Ending of the file of an array.
_ARRAY = ".npy"


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
    """The JSON form; arrays lie in NumPy files beside it."""

    values: JsonObject
    cost: Cost
    arrays: tuple[str, ...] = ()  # as records of before named them


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
        arrays = {
            ending.removeprefix(".").removesuffix(_ARRAY): _mapped(path)
            for ending, path in found.beside.items()
            if path is not None
        }
        if len(arrays) < max(len(found.beside), len(found.record.arrays)):
            return None
        return Computed({**found.record.values, **arrays}, found.record.cost)

    def record(self, key: JsonObject, computed: Computed) -> None:
        """Writes values down, whole or not at all: the record comes after its arrays.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        values = computed.values.items()
        arrays = {name: value for name, value in values if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in values if not isinstance(value, np.ndarray)}
        beside = {f".{name}{_ARRAY}": _bytes_of(array) for name, array in arrays.items()}
        self._records.record(key, {"values": plain, "cost": to_json(computed.cost)}, beside)


def _bytes_of(array: FloatArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _mapped(path: Path) -> FloatArray:
    """An array whose file is read where it is looked at."""
    with disk_errors("read", path):
        try:
            array: FloatArray = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise StoreError(
                f"the array {path} is damaged; remove this file and it is computed again"
            ) from error
    return array
