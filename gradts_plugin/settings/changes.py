"""Settings of a file changed on the command line: `--set training.max_steps=200`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from gradts_plugin.errors import ConfigError

#: Keys whose value may be a plain word, and the key that the word then belongs to.
_WORDS = {"model": "name_or_path"}


def changed(values: Any, changes: Sequence[str]) -> Any:
    """What a file says, with some keys changed.

    Args:
        values: what was read.
        changes: `key=value` each; the key of a section in a section with dots between, the value as
            YAML has it.

    Returns:
        The same, changed; checked like a file.

    Raises:
        ConfigError: a change has no key, or goes into what has no keys.
    """
    if not isinstance(values, Mapping):
        return values  # refused later, with the file's name
    for change in changes:
        key, equals, text = change.partition("=")
        places = key.strip().split(".")
        if not equals or not all(places):
            raise ConfigError(f"--set {change}: expected key=value, e.g. training.max_steps=200")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {change}: {text!r} is no YAML value") from error
        values = _with(values, places, value, change)
    return values


def _with(section: Any, places: Sequence[str], value: Any, change: str) -> dict[str, Any]:
    first, *further = places
    if not further:
        return {**section, first: value}
    below = section.get(first)
    if isinstance(below, str):
        below = {_WORDS.get(first, "name"): below}
    if not isinstance(below, Mapping | None):
        raise ConfigError(f"--set {change}: {first} is {below!r}, which has no keys")
    return {**section, first: _with(below or {}, further, value, change)}
