"""Whatever a ranker computed: plain values and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gradts_plugin.json_forms import JsonObject, to_json
from gradts_plugin.records import Cost
from gradts_plugin.stores.json_records import JsonRecords


@dataclass(frozen=True)
class Computed:
    """What a computation came to.

    Attributes:
        values: plain values, which only the ranker reads.
        cost: what they took when they were computed.
    """

    values: JsonObject
    cost: Cost


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
        """What is stored under a key; None where it was not computed.

        Raises:
            StoreError: the record is damaged, of another version, or belongs to another key.
        """
        return self._records.find(key, Computed)

    def record(self, key: JsonObject, computed: Computed) -> None:
        """Writes values down, whole or not at all.

        Raises:
            StoreError: the disk is full, read-only or not permitted.
        """
        self._records.record(key, {"values": computed.values, "cost": to_json(computed.cost)})
