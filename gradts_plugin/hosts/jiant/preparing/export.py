"""Exports an encoder with jiant's own exporter."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.quiet import silenced
from gradts_plugin.settings.reading import read_json
from gradts_plugin.stores.files import write_json_atomic

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main import export_model

#: Learning rate of run files that give none (Ma et al. 2021, section 4).
DEFAULT_LEARNING_RATE = 5e-5


def export_encoder(name: str, folder: Path, log_file: Path) -> HostArguments:
    """Exports an encoder with jiant's own exporter, unless that was done before.

    Args:
        name: from `check_encoder`.
        folder: where jiant's `model/` and `tokenizer/` go.
        log_file: where jiant's output goes.

    Raises:
        HostError: the encoder cannot be read, or is another one than was exported here before.
    """
    weights = folder / "model" / "model.p"
    origin = folder / "origin.json"
    identity = {"encoder": name, "files": _folder_digest(Path(name))}
    if weights.exists():
        if origin.exists() and read_json(origin) != identity:
            raise HostError(
                f"encoder {name!r} has changed since {folder} was prepared from it; choose "
                "another output_dir"
            )
    else:
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with silenced(log_file), torch.random.fork_rng():
            torch.manual_seed(0)  # heads that the checkpoint lacks are made at random
            export_model.export_model(
                hf_pretrained_model_name_or_path=name, output_base_path=str(partial)
            )
        write_json_atomic(partial / origin.name, identity)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return HostArguments(
        hf_pretrained_model_name_or_path=name,
        model_path=str(weights),
        model_config_path=str(folder / "model" / "config.json"),
        learning_rate=DEFAULT_LEARNING_RATE,
    )


def _folder_digest(folder: Path) -> str:
    """sha256 over the files of a local encoder; empty for a hub name."""
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
