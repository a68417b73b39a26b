"""What MT-DNN starts from: a hub name, or a checkpoint in its own form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from gradts_plugin.errors import ConfigError
from gradts_plugin.export.finished import FinishedSelection

#: MT-DNN's numbers of the encoder architectures both it and jiant have (its EncoderModelType).
ENCODER_TYPES: Final = {"bert": 1, "roberta": 2, "xlm-roberta": 5}


def encoder_type_of(run: FinishedSelection) -> int:
    """MT-DNN's number of the encoder's architecture.

    Raises:
        ConfigError: it has none.
    """
    architecture = run.architecture
    if architecture not in ENCODER_TYPES:
        raise ConfigError(
            f"MT-DNN has no encoder type for {architecture!r}; it has {', '.join(ENCODER_TYPES)}"
        )
    return ENCODER_TYPES[architecture]


def starting_point(run: FinishedSelection, folder: Path) -> str | None:
    """The hub name that MT-DNN starts from; None where a checkpoint of its own was written."""
    name, architecture = run.encoder, run.architecture
    if not Path(name).is_absolute() and not Path(name).is_dir():
        return str(name)
    if architecture != "bert":
        raise ConfigError(
            f"MT-DNN cannot start from the folder {name}: of {architecture} it reads hub names and "
            "fairseq's files; name one with --init_checkpoint"
        )
    write_checkpoint(Path(name), folder / "encoder.pt")
    return None


def write_checkpoint(encoder: Path, path: Path) -> None:
    """A BERT as MT-DNN loads it: {"state": weights under "bert.", "config": the architecture}."""
    import torch
    from transformers import AutoModel

    from gradts_plugin.hosts.jiant.pretrained import load_pretrained
    from gradts_plugin.hosts.jiant.quiet import silence_transformers

    restore = silence_transformers()
    try:
        model = load_pretrained(AutoModel, str(encoder))
    finally:
        restore()
    state = {f"bert.{name}": weights for name, weights in model.state_dict().items()}
    # By way of JSON: MT-DNN writes the config out again, and loads without trust in pickles.
    config = json.loads(model.config.to_json_string(use_diff=False))
    torch.save({"state": state, "config": config}, str(path))
