"""The pretrained encoder that runs start from: checked and fingerprinted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.architectures import require_supported_encoder
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.pretrained import load_tokenizer, read_config
from gradts_plugin.settings.reading import read_json

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.modeling import model_setup as jiant_model_setup
from transformers import AutoModel

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

#: What transformers reads of a folder, where it is there; objects, all of them.
JSON_FILES = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "model.safetensors.index.json",
    "pytorch_model.bin.index.json",
)


def fingerprint_encoder(arguments: HostArguments) -> str:
    """sha256 (hex) of the encoder that jiant starts from.

    The encoder is loaded as jiant loads it: the exported file also holds heads that the checkpoint
    lacked and that were made at random, so the file's own hash says nothing.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)  # a pooler that the checkpoint lacks is made at random, too
        encoder = AutoModel.from_pretrained(arguments.hf_pretrained_model_name_or_path)
    weights = read_weights(arguments.model_path)
    digest = hashlib.sha256(arguments.model_load_mode.encode())
    digest.update(type(encoder).__name__.encode())
    if encoder.dtype != torch.float32:
        # Versions up to 0.2 probed such encoders in the precision in which they are stored.
        digest.update(b"computed in fp32")
        encoder.float()
    if arguments.model_load_mode.startswith("from_transformers"):
        jiant_model_setup.load_encoder_from_transformers_weights(encoder, weights)
        weights = encoder.state_dict()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().float().numpy().tobytes())
    return digest.hexdigest()


def read_weights(path: str) -> dict[str, torch.Tensor]:
    """The weights that jiant starts from, by their names.

    Raises:
        HostError: the file holds none.
    """
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        first_sentence = str(error).split(". ", maxsplit=1)[0]
        raise HostError(f"{path} holds no weights: {first_sentence}") from error
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise HostError(f"{path} holds no weights: a mapping of names to tensors is needed")
    return weights


def check_encoder(name_or_path: str) -> str:
    """Checks that an encoder and its tokenizer are there and supported; writes nothing.

    Args:
        name_or_path: hub name or local folder.

    Returns:
        The hub name, or the absolute path of the folder.

    Raises:
        ConfigError: a JSON file of it is broken.
        HostError: the encoder cannot be read, has no tokenizer, or is of an unsupported kind.
    """
    name = name_or_path
    local = Path(name).expanduser()
    if local.is_dir():
        name = str(local.absolute())
        _check_folder(local, name_or_path)
    elif local.is_absolute() or name.startswith("."):
        raise HostError(f"encoder folder {name_or_path}: no such folder")
    config = read_config(name)
    require_supported_encoder(config.model_type)
    if config.num_hidden_layers < 1:
        raise HostError(
            f"encoder {name_or_path!r}: num_hidden_layers is {config.num_hidden_layers}; at least "
            "one layer is needed"
        )
    load_tokenizer(name)
    return name


def _check_folder(folder: Path, name: str) -> None:
    """Refuses a folder with broken files, or without weights or a tokenizer.

    Without one, transformers would make an empty tokenizer.
    """
    if not any((folder / file).exists() for file in TOKENIZER_FILES):
        raise HostError(
            f"encoder folder {name} has no tokenizer; save it there with tokenizer.save_pretrained"
        )
    if not any((*folder.glob("*.safetensors"), *folder.glob("*.bin"))):
        raise HostError(
            f"encoder folder {name} has no weights (*.safetensors or *.bin); "
            f"save them there with model.save_pretrained"
        )
    for path in (folder / file for file in JSON_FILES if (folder / file).exists()):
        if not isinstance(read_json(path), dict):
            raise HostError(f"{path}: a JSON object is needed")
