"""What the command line says of errors that the user can mend; all others are defects."""

from __future__ import annotations

import contextlib
import errno
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import click

from gradts_plugin.errors import GradTSError, LeftOutWarning, SettingsError, WaitingWarning

PROGRAM = "gradts-select"

#: What a disk refuses to write.
_NOT_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}

#: What it refuses to read or write; every other OSError is a defect.
_NOT_OPENED = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EIO, errno.ELOOP}

#: Characters of a message, and mistakes told at once.
_MOST_CHARACTERS, _MOST_MISTAKES = 500, 20

#: All that torch.save says of a file it could not write to its end.
_TORCH_SAVE_ERRORS = ("inline_container", "PytorchStreamWriter", "iostream error")


def say(first: str, *more: str) -> None:
    """Prints lines on stderr, the first with the program's name."""
    lines = [f"{PROGRAM}: {first}", *more]
    click.echo("\n  ".join(_shown(line) for line in lines), err=True)


def _shown(line: str) -> str:
    """A line that a terminal shows as it is, and that can be read."""
    escaped = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in " ".join(line.split())
    )
    if len(escaped) <= _MOST_CHARACTERS:
        return escaped
    ending = _MOST_CHARACTERS // 3  # it says what to do
    return f"{escaped[: _MOST_CHARACTERS - ending - 5]} ... {escaped[-ending:]}"


def refusal(error: Exception) -> Sequence[str] | None:
    """What to say of an error, a line for each mistake; None where it is a defect."""
    if isinstance(error, click.ClickException):
        command = getattr(error, "ctx", None)
        path = PROGRAM if command is None else command.command_path
        return [f"{error.format_message().rstrip('.')} (see {path} --help)"]
    if isinstance(error, SettingsError) and len(error.mistakes) > 1:
        told = error.mistakes[:_MOST_MISTAKES]
        left = len(error.mistakes) - len(told)
        more = [f"and {left} more"] if left else []
        return [f"{error.where}: {len(error.mistakes)} mistakes", *told, *more]
    if isinstance(error, GradTSError):
        return [str(error)]
    if isinstance(error, OSError) and error.errno in _NOT_WRITTEN | _NOT_OPENED:
        from gradts_plugin.stores.files import disk_problem

        doing = "write" if error.errno in _NOT_WRITTEN else "open"
        return [f"cannot {doing} {error.filename or 'a file'}: {disk_problem(error)}"]
    if isinstance(error, OSError | RuntimeError) and any(
        words in str(error) for words in _TORCH_SAVE_ERRORS
    ):
        return [
            "cannot write a file of weights or cached rows: the disk is full, or the quota or the "
            "largest size of a file is reached"
        ]
    return None


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Says what the user should know - an old key, rows left out, a wait - once each."""
    told: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        # By their names: nothing of the settings is imported for help.
        if category.__name__ not in ("OldKeyWarning", "LeftOutWarning", "WaitingWarning"):
            others(message, category, *rest, **more)
        elif str(message) not in told:
            told.add(str(message))
            say(str(message))

    with warnings.catch_warnings():
        others, warnings.showwarning = warnings.showwarning, show
        warnings.filterwarnings("always", message="the key .* is of version 0.1")
        for told_each_time in (LeftOutWarning, WaitingWarning):
            warnings.simplefilter("always", told_each_time)
        yield
