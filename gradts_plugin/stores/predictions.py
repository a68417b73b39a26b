"""What a training predicted, in a compressed NumPy file beside its record; never pickled."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gradts_plugin.errors import StoreError
from gradts_plugin.records import Predictions
from gradts_plugin.stores.files import disk_errors

_PARTS = ("metric", "example_ids", "values")

#: What NumPy, zip and zlib say of files that are not theirs, or not whole.
_DAMAGES = (
    *(OSError, ValueError, KeyError, AttributeError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)


def predictions_bytes(predictions: Mapping[str, Predictions]) -> bytes:
    """The content of a file of predictions.

    Args:
        predictions: split -> what its score follows from.
    """
    arrays = {
        f"{split}.{part}": np.asarray(getattr(found, part))
        for split, found in predictions.items()
        for part in _PARTS
    }
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def read_predictions(path: Path) -> dict[str, Predictions]:
    """Reads predictions back.

    Raises:
        StoreError: the file is damaged, or cannot be read.
    """
    with disk_errors("read", path):
        content = path.read_bytes()
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            splits = sorted({name.partition(".")[0] for name in arrays.files})
            found = {
                split: _checked(*(arrays[f"{split}.{part}"] for part in _PARTS)) for split in splits
            }
    except _DAMAGES as error:
        raise StoreError(
            f"the predictions {path} are damaged; remove this file and "
            f"{path.name.partition('.')[0]}.json, and the training run is made again"
        ) from error
    return found


def _checked(metric: np.ndarray, example_ids: np.ndarray, values: np.ndarray) -> Predictions:
    """Raises: ValueError: the arrays do not belong together."""
    if values.ndim != 2 or example_ids.shape != values.shape[:1] or values.dtype != np.float64:
        raise ValueError("the shapes differ")
    return Predictions(str(metric), example_ids.astype(np.int64), values)
