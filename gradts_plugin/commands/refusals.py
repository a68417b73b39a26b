"""What the command line says of errors that the user can mend; all others are defects."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from gradts_plugin.errors import GradTSError, LeftOutWarning, SettingsError

PROGRAM = "gradts-select"

#: What a disk refuses; every other OSError is a defect.
_DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
}

#: All that torch.save says of a file it could not write to its end.
_TORCH_SAVE_ERRORS = ("inline_container", "PytorchStreamWriter", "iostream error")


def say(first: str, *more: str) -> None:
    """Prints lines on stderr, the first with the program's name."""
    click.echo("\n  ".join([f"{PROGRAM}: {first}", *more]), err=True)


def refusal(error: Exception) -> Sequence[str] | None:
    """What to say of an error, a line for each mistake; None where it is a defect."""
    if isinstance(error, click.ClickException):
        command = getattr(error, "ctx", None)
        path = PROGRAM if command is None else command.command_path
        return [f"{error.format_message().rstrip('.')} (see {path} --help)"]
    if isinstance(error, SettingsError) and len(error.mistakes) > 1:
        return [f"{error.where}: {len(error.mistakes)} mistakes", *error.mistakes]
    if isinstance(error, GradTSError):
        return [" ".join(str(error).split())]
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return [f"cannot write {error.filename or 'a file'}: {error.strerror}"]
    if isinstance(error, OSError | RuntimeError) and any(
        words in str(error) for words in _TORCH_SAVE_ERRORS
    ):
        return ["cannot write a file of weights or cached rows: the disk is full"]
    return None


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Says what the user should know - a key of an earlier version, rows left out - once each."""
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        # By their names: nothing of the settings is imported for help.
        if category.__name__ not in ("OldKeyWarning", "LeftOutWarning"):
            others(message, category, *rest, **more)
        elif str(message) not in told:
            told.add(str(message))
            say(str(message))

    with warnings.catch_warnings():
        others, warnings.showwarning = warnings.showwarning, show
        warnings.filterwarnings("always", message="the key .* is of version 0.1")
        warnings.simplefilter("always", LeftOutWarning)
        yield
