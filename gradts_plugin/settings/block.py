"""The `gradts` block of a host's configuration, and what is said over it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.reading import read_yaml
from gradts_plugin.settings.selection import GradTSSettings


def merge_settings(
    block: JsonObject,
    gradts_config: Path | None,
    flags: JsonObject,
    *,
    where: str,
) -> GradTSSettings:
    """Settings from the block, a YAML file over it, and flags over both.

    Raises:
        ConfigError: a key or value is wrong.
    """
    values = dict(block)
    if gradts_config is not None:
        given = read_yaml(gradts_config)
        if not isinstance(given, Mapping):
            raise ConfigError(f"{gradts_config}: expected a mapping of settings")
        where = str(gradts_config)
        values |= given.get("gradts", given) if set(given) == {"gradts"} else given
    values |= {key: value for key, value in flags.items() if value is not None}
    return parse_settings(GradTSSettings, values, where=where)
