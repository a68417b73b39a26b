"""jiant's own command-line arguments that a run starts from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class HostArguments:
    """jiant's own command-line arguments that a run starts from.

    Attributes:
        hf_pretrained_model_name_or_path: hub name or folder of architecture and tokenizer.
        model_path: weights that jiant exported (`model.p`).
        model_config_path: architecture that jiant exported; jiant 2.2.0 itself ignores it.
        model_load_mode: how jiant loads `model_path`.
        learning_rate: used where the settings give none.
        max_grad_norm: used where the settings give none.
        no_cuda: train on the CPU even where CUDA is available.
    """

    hf_pretrained_model_name_or_path: str
    model_path: str
    model_config_path: str | None = None
    model_load_mode: str = "from_transformers"
    learning_rate: float = 1e-5
    max_grad_norm: float = 1.0
    no_cuda: bool = False

    def with_paths(self, shown: Callable[[Path], str]) -> HostArguments:
        """The same arguments with every path written as `shown` writes it."""
        paths: dict[str, Any] = {
            name: shown(Path(value))
            for name in ("hf_pretrained_model_name_or_path", "model_path", "model_config_path")
            if (value := getattr(self, name)) and Path(value).exists()
        }
        return replace(self, **paths)
