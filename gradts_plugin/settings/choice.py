"""Something chosen by name, with settings of its own: `trial`, or `{name: trial, patience: 3}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, model_serializer, model_validator

from gradts_plugin.json_forms import JsonObject
from gradts_plugin.settings.parsing import Settings, SettingsT, parse_settings


class Choice(Settings):
    """A name, and settings that whoever offers the name checks (`settings_of`).

    Attributes:
        name: what is chosen.
    """

    model_config = ConfigDict(extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        if isinstance(given, str):
            return {"name": given}
        if not isinstance(given, Mapping | Choice):
            raise ValueError("a name, or a mapping with a name and settings, is needed")
        return given

    @property
    def own(self) -> JsonObject:
        """The settings that were given with the name, unchecked."""
        return self.model_extra or {}

    @model_serializer
    def _plain(self) -> str | JsonObject:
        return {"name": self.name, **self.own} if self.own else self.name


def settings_of(
    choice: Choice, model: type[SettingsT], defaults: JsonObject, *, where: str
) -> SettingsT:
    """The checked settings of what was chosen.

    Args:
        choice: the name and its settings.
        model: the settings class of what has that name.
        defaults: used where nothing is given.
        where: the key, for the message.

    Raises:
        ConfigError: a key or value is wrong.
    """
    return parse_settings(model, {**defaults, **choice.own}, where=where)
