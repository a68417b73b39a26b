"""Exports an encoder with jiant's own exporter."""

from __future__ import annotations

from pathlib import Path

import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.quiet import silenced
from gradts_plugin.hosts.jiant.saving import refusals_told
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.stores.checksums import MARKER, made_from, publish_made, sha256_of_files
from gradts_plugin.stores.files import folder_in_the_making

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main import export_model

#: Learning rate of run files that give none (Ma et al. 2021, section 4).
DEFAULT_LEARNING_RATE = 5e-5


def export_encoder(name: str, folder: Path, log_file: Path) -> HostArguments:
    """Exports an encoder with jiant's own exporter, unless that was done before and is whole.

    Args:
        name: from `check_encoder`.
        folder: where jiant's `model/` and `tokenizer/` go.
        log_file: where jiant's output goes.

    Raises:
        HostError: the encoder cannot be read, or is another one than was exported here before.
    """
    identity = {"encoder": name, "files": _folder_digest(Path(name))}
    found = made_from(folder)
    if found is None:
        _export(name, folder, identity, log_file)
    elif found != identity:
        raise HostError(
            f"encoder {name!r} has changed since {folder} was prepared from it; choose another "
            "output_dir"
        )
    return HostArguments(
        hf_pretrained_model_name_or_path=name,
        model_path=str(folder / "model" / "model.p"),
        model_config_path=str(folder / "model" / "config.json"),
        learning_rate=DEFAULT_LEARNING_RATE,
    )


def encoder_folder(output_dir: Path) -> Path:
    """Where an encoder is exported to in an output folder."""
    return output_dir.absolute() / "encoder"


def is_exported(output_dir: Path) -> bool:
    """Whether an encoder was exported there; `export_encoder` says whether it is whole."""
    return (encoder_folder(output_dir) / MARKER).exists()


def _export(name: str, folder: Path, identity: JsonObject, log_file: Path) -> None:
    with folder_in_the_making(folder.parent) as partial:
        with silenced(log_file), torch.random.fork_rng(), refusals_told(folder.parent):
            torch.manual_seed(0)  # heads that the checkpoint lacks are made at random
            export_model.export_model(
                hf_pretrained_model_name_or_path=name, output_base_path=str(partial)
            )
        publish_made(partial, folder, identity)


def _folder_digest(folder: Path) -> str:
    """sha256 over the files of a local encoder; empty for a hub name."""
    if not folder.is_dir():
        return ""
    return sha256_of_files(folder, (path for path in folder.iterdir() if path.is_file()))
