"""GradTS: gradient-based auxiliary task selection for Transformers, as a jiant plugin."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

__all__ = ["GradTS", "GradTSError", "__version__"]

#: Public names and where they lie: importing this package imports none of them.
_LAZY = {"GradTS": "gradts_plugin.api", "GradTSError": "gradts_plugin.errors"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for (PEP 562)."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
