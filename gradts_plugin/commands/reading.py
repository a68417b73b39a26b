"""A run file read for a command: all its mistakes at once, before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from gradts_plugin import plugins
from gradts_plugin.errors import SettingsError
from gradts_plugin.settings.changes import changed
from gradts_plugin.settings.reading import read_yaml
from gradts_plugin.settings.run_file import RunFile, read_run_file
from gradts_plugin.settings.selection import GradTSSettings


def read_checked(path: Path, changes: Sequence[str] = ()) -> RunFile:
    """Reads a run file, and looks whether what it names is offered.

    Args:
        path: the file.
        changes: `key=value` each.

    Raises:
        ConfigError: it is missing, broken or wrong; a line for each mistake.
    """
    try:
        run_file = read_run_file(path, changes)
    except SettingsError as error:
        raise SettingsError(
            error.where, [*error.mistakes, *_further(path, changes, error)]
        ) from error
    mistakes = _registry().mistakes(run_file)
    if mistakes:
        raise SettingsError(str(path), mistakes)
    return run_file


def _registry() -> plugins.Registry:
    return plugins.collect_registry(plugins.make_plugin_manager())


def _further(path: Path, changes: Sequence[str], error: SettingsError) -> list[str]:
    """Mistakes in what could be read, in spite of the others."""
    values, found = changed(read_yaml(path), changes), error.__cause__
    wrong = (
        {each["loc"][:1] for each in found.errors()} if isinstance(found, ValidationError) else ()
    )
    kept = {
        key: value
        for key, value in values.items()
        if key in GradTSSettings.model_fields and (key,) not in wrong
    }
    try:
        read = GradTSSettings.model_validate(kept)
    except ValidationError:
        return []
    return _registry().mistakes(read, together=False)
