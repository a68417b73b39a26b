"""Whatever a ranker computed: plain values and what they cost."""

from __future__ import annotations

from pathlib import Path

from gradts_plugin.stores.json_records import JsonRecords


class ComputedValues(JsonRecords):
    """Whatever a ranker computed: plain values and what they cost."""

    def __init__(self, root: Path) -> None:
        super().__init__(
            root,
            file_format="gradts computed values",
            kind="computed value",
            remedy="it is computed again",
        )
