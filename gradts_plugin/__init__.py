"""GradTS: gradient-based auxiliary task selection for Transformers, as a jiant plugin."""

from __future__ import annotations

__version__ = "0.1.0"
