"""Every error a user can cause, as one tree.

The command line prints the message of a `GradTSError` on one line, that of a `SettingsError` on a
line for each mistake, and exits with code 2; any other exception is a defect and keeps its
traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class GradTSError(Exception):
    """Base of all errors that are explained to the user in one line."""


class ConfigError(GradTSError):
    """A setting, run file, container config or task config is wrong."""


class SettingsError(ConfigError):
    """Settings are wrong, in one place or in several.

    Attributes:
        where: file or place.
        mistakes: a line for each.
    """

    def __init__(self, where: str, mistakes: Sequence[str]) -> None:
        self.where, self.mistakes = where, tuple(mistakes)
        counted = [f"{len(mistakes)} mistakes"] if len(mistakes) > 1 else []
        super().__init__(f"{where}: " + "\n  ".join([*counted, *mistakes]))


class DataError(GradTSError):
    """A data file is missing, empty, malformed or contradicts its task config."""


class LeftOutWarning(UserWarning):
    """Rows or words of a task's data are left out of training and scoring."""


class WaitingWarning(UserWarning):
    """Another process makes what is needed, or may be at work where this one wants to be."""


class HostError(GradTSError):
    """The host (jiant) is missing, too old, or cannot run what was asked of it."""


class UnsupportedEncoderError(HostError):
    """The encoder architecture cannot be run or probed."""


class TrainingError(GradTSError):
    """Training produced a NaN or infinite loss, or could not go on."""


class DegenerateImportanceError(GradTSError):
    """An importance matrix leaves nothing to rank (all zero, constant, one head per layer)."""


class StoreError(GradTSError):
    """A stored gradient record is damaged, of another version, or belongs to other settings."""


class SelectionError(GradTSError):
    """A selection method was given something it cannot work with."""


class PluginError(GradTSError):
    """An installed plugin is broken: unknown hook, clashing name, wrong answer."""


def nearest(found: str, valid: Iterable[str]) -> str:
    """Says which valid choice is nearest to what was found.

    Args:
        found: what the user wrote.
        valid: what could have been written.

    Returns:
        A half sentence that ends an error message: a guess where one is close, the list otherwise.
    """
    choices = sorted(set(valid))
    close = difflib.get_close_matches(found, choices, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"valid: {', '.join(choices)}" if choices else "there is no valid choice"
