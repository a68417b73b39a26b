"""The pretrained encoder that runs start from: checked and fingerprinted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.architectures import require_supported_encoder
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.settings.run_file import ModelSettings

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.modeling import model_setup as jiant_model_setup
from transformers import AutoConfig, AutoModel, AutoTokenizer

#: A tokenizer lies in a model folder under one of these names.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)


def require_tokenizer(name_or_path: str) -> None:
    """Refuses a local encoder folder without a tokenizer; transformers would make an empty one.

    Raises:
        HostError: there is none.
    """
    folder = Path(name_or_path)
    if folder.is_dir() and not any((folder / file).exists() for file in TOKENIZER_FILES):
        raise HostError(
            f"encoder folder {name_or_path} has no tokenizer; "
            "save it there with tokenizer.save_pretrained"
        )


def read_model_type(name_or_path: str) -> str:
    """The architecture of a hub name or local folder.

    Raises:
        HostError: it cannot be read.
    """
    folder = Path(name_or_path)
    if (folder.is_absolute() or name_or_path.startswith(".")) and not folder.is_dir():
        raise HostError(f"encoder folder {name_or_path}: no such folder")
    try:
        return str(AutoConfig.from_pretrained(name_or_path).model_type)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise HostError(f"encoder {name_or_path!r} cannot be read: {first_line}") from error


def fingerprint_encoder(arguments: HostArguments) -> str:
    """sha256 (hex) of the encoder that jiant starts from.

    The encoder is loaded as jiant loads it: the exported file also holds heads that the checkpoint
    lacked and that were made at random, so the file's own hash says nothing.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)  # a pooler that the checkpoint lacks is made at random, too
        encoder = AutoModel.from_pretrained(arguments.hf_pretrained_model_name_or_path)
    try:
        weights = torch.load(arguments.model_path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        first_sentence = str(error).split(". ", maxsplit=1)[0]
        raise HostError(f"{arguments.model_path} holds no weights: {first_sentence}") from error
    digest = hashlib.sha256(arguments.model_load_mode.encode())
    digest.update(type(encoder).__name__.encode())
    if arguments.model_load_mode.startswith("from_transformers"):
        jiant_model_setup.load_encoder_from_transformers_weights(encoder, weights)
        weights = encoder.state_dict()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().float().numpy().tobytes())
    return digest.hexdigest()


def check_encoder(model: ModelSettings) -> str:
    """Checks that an encoder and its tokenizer are there and supported; writes nothing.

    Args:
        model: hub name or local folder.

    Returns:
        The hub name, or the absolute path of the folder.

    Raises:
        HostError: the encoder cannot be read, has no tokenizer, or is of an unsupported kind.
    """
    name = model.name_or_path
    local = Path(name).expanduser()
    if local.is_dir():
        name = str(local.absolute())
        require_tokenizer(name)
        if not any((*local.glob("*.safetensors"), *local.glob("*.bin"))):
            raise HostError(
                f"encoder folder {model.name_or_path} has no weights (*.safetensors or *.bin); "
                f"save them there with model.save_pretrained"
            )
    require_supported_encoder(read_model_type(name))
    try:
        AutoTokenizer.from_pretrained(name, use_fast=False)
    except (OSError, ValueError, ImportError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise HostError(
            f"the tokenizer of encoder {model.name_or_path!r} cannot be read: {first_line}"
        ) from error
    return name
