"""The checkpoint of a scheduled run: arrays and JSON in one safetensors file, no pickle.

Values are written with their types, so that they come back as they were: tensors beside the JSON
text, which stands in the file's header; the names below say what else JSON does not have.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from gradts_plugin.errors import HostError
from gradts_plugin.stores.files import disk_errors, write_bytes_atomic

#: Written into every file; other files are refused.
FORMAT = "gradts scheduled run, version 1"


def write_checkpoint(path: Path, values: Any) -> None:
    """Writes values whole or not at all.

    Args:
        path: where they go.
        values: tensors, arrays, tuples, lists, mappings and plain values, nested in each other.

    Raises:
        StoreError: the disk is full, read-only or not permitted.
        TypeError: a value of any other type.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_packed(values, tensors), allow_nan=False)
    header = {"format": FORMAT, "values": text, "sha256": _digest(text, tensors)}
    write_bytes_atomic(path, save(tensors, header))


def read_checkpoint(path: Path) -> Any:
    """The values that were written, tensors on the CPU.

    Raises:
        HostError: the file is damaged, or of another kind.
    """
    try:
        with disk_errors("read", path), safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = header["values"]
        if header["format"] == FORMAT and header["sha256"] == _digest(text, tensors):
            return _unpacked(json.loads(text), tensors)
    except (SafetensorError, KeyError):
        pass
    raise HostError(f"the checkpoint {path} is damaged; remove it and the run starts anew")


def _digest(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors, key=int):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _packed(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Values as JSON has them; tensors are put into `tensors`."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, torch.Tensor):
        kept = value.detach().cpu().contiguous()
        memory = kept.untyped_storage().data_ptr()
        if any(memory == other.untyped_storage().data_ptr() for other in tensors.values()):
            kept = kept.clone()  # the format has no tensors that share their memory
        name = str(len(tensors))
        tensors[name] = kept
        return {"tensor": name}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_packed(item, tensors) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[key, _packed(item, tensors)] for key, item in value.items()]}
    raise TypeError(f"{type(value).__name__} cannot be written to a checkpoint")


def _unpacked(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    match next(iter(value.items())):
        case "tensor", name:
            return tensors[name]
        case "array", items:
            return np.array(items, dtype=value["dtype"])
        case "tuple", items:
            return tuple(_unpacked(item, tensors) for item in items)
        case "list", items:
            return [_unpacked(item, tensors) for item in items]
        case _, items:
            return {key: _unpacked(item, tensors) for key, item in items}
