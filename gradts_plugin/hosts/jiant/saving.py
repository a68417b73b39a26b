"""What torch writes: whole or not at all, and why the disk refused it, which torch does not say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from gradts_plugin.stores.files import disk_errors, file_in_the_making, temporary_path

#: What torch says of a file that it could not write to its end.
_REFUSED = ("inline_container", "PytorchStreamWriter", "iostream error")

#: A full disk, quota or limit shows after so many MiB at most, or is not what was in the way.
_MOST_TRIED = 64


def save_whole(value: Any, path: Path) -> None:
    """`torch.save`, whole or not at all; an older file of that name is replaced.

    Raises:
        StoreError: the disk is full, read-only or not permitted.
    """
    with file_in_the_making(path) as temporary, temporary.open("wb") as stream:
        try:
            torch.save(value, stream)
        except RuntimeError as error:
            for reason in _reasons(error):
                if isinstance(reason, OSError):
                    raise reason from error
            raise


@contextlib.contextmanager
def refusals_told(folder: Path) -> Iterator[None]:
    """Says why the disk refused what torch writes below a folder inside the block.

    Raises:
        StoreError: the disk, the quota or the size of a file is at its limit.
    """
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in _REFUSED):
            with disk_errors("write in", folder):
                _try_to_write(folder)
        raise


def _reasons(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__context__


def _try_to_write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = temporary_path(folder)
    try:
        with path.open("wb", buffering=0) as stream:
            for _ in range(_MOST_TRIED):
                stream.write(bytes(1 << 20))
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
