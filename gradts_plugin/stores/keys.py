"""What stored numbers depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gradts_plugin.stores.files import (
    check_folder_name,
)

FORMAT_VERSION = 1


@dataclass(frozen=True)
class ProbeKey:
    """Everything the importances of one probed task depend on.

    Attributes:
        encoder: fingerprint of the pretrained encoder.
        task_name: the task.
        task_data: fingerprint of the task's training data.
        fine_tuning: the fine-tuning settings, plain JSON values.
        probing: the probing settings, plain JSON values.
        seed: the fine-tuning seed.
    """

    encoder: str
    task_name: str
    task_data: str
    fine_tuning: Mapping[str, Any]
    probing: Mapping[str, Any]
    seed: int

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The key as plain JSON values."""
        values = {
            "encoder": self.encoder,
            "task_name": self.task_name,
            "task_data": self.task_data,
            "fine_tuning": dict(self.fine_tuning),
            "probing": dict(self.probing),
            "seed": self.seed,
        }
        # Through JSON, so that it compares equal to what is read back (tuples become lists).
        plain: dict[str, Any] = json.loads(canonical_json(values))
        return plain

    @property
    def digest(self) -> str:
        """sha256 (hex) of the fingerprint and the store's format version."""
        return digest_of({"format_version": FORMAT_VERSION, **self.fingerprint})

    @property
    def folder_name(self) -> str:
        """Name of the record's folder.

        Raises:
            ConfigError: the task's name would leave the store's folder.
        """
        return f"{check_folder_name(self.task_name)}-seed{self.seed}-{self.digest[:16]}"


def canonical_json(values: Any) -> str:
    """Writes plain JSON values so that equal values give equal text (keys sorted, no spaces).

    Raises:
        ValueError: a NaN or an infinity.
        TypeError: a value JSON does not have.
    """
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest_of(values: Any) -> str:
    """sha256 (hex) of the canonical JSON of plain values."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()
