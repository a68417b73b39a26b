"""Modules of jiant and of what it stands on, to be changed from outside."""

from __future__ import annotations

import importlib
from typing import Any


def module_named(name: str) -> Any:
    """A module of that name, imported now where it was not before."""
    # Any, not ModuleType: these are modules whose names are looked up or replaced below.
    return importlib.import_module(name)
