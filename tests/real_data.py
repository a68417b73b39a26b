"""Real task data, where a machine has some; the project itself holds none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_folder() -> Path:
    """The folder that GRADTS_DATA names, or the one beside the repository; skips without."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("GRADTS_DATA", beside))
    if not (folder / "MANIFEST.json").is_file():
        pytest.skip("no real task data: set GRADTS_DATA to a folder with a MANIFEST.json")
    return folder
