"""Settings, checked: an unknown key is told in one line with the nearest valid one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gradts_plugin.errors import ConfigError, nearest


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after reading."""

    # JSON, in which settings are stored, has no infinity.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


SettingsT = TypeVar("SettingsT", bound=BaseModel)


def parse_settings(model: type[SettingsT], values: Any, *, where: str) -> SettingsT:
    """Checks values against a settings class.

    Args:
        model: the class.
        values: what was read.
        where: file or place, for the message.

    Returns:
        The settings.

    Raises:
        ConfigError: one line with the key, what was found and the nearest valid choice.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a mapping of settings, found {type(values).__name__}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(model, error)}") from error


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    # Unknown keys first: a misspelt key often also shows up as a missing one.
    problems = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    problem = problems[0]
    location = [str(part) for part in problem["loc"]]
    place = ".".join(location)
    if problem["type"] == "extra_forbidden":
        keys = _keys_at(model, location[:-1])
        return f"unknown key {place!r}; {nearest(location[-1], keys)}"
    if problem["type"] == "missing":
        return f"key {place!r} is missing"
    if problem["type"] == "literal_error":
        expected = problem.get("ctx", {}).get("expected", "")
        valid = [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]
        found = problem["input"]
        return f"{place}: unknown value {found!r}; {nearest(str(found), valid)}"
    message = problem["msg"].removeprefix("Value error, ")
    if not place:
        return message
    found = "" if isinstance(problem["input"], Mapping) else f", found {problem['input']!r}"
    return f"{place}: {message[:1].lower()}{message[1:]}{found}"


def _keys_at(model: type[BaseModel], location: Iterable[str]) -> list[str]:
    """Field names valid at a nested location of a settings class."""
    current: type[BaseModel] = model
    for part in location:
        field = current.model_fields.get(part)
        nested = [
            candidate
            for candidate in _classes_in(field.annotation if field else None)
            if issubclass(candidate, BaseModel)
        ]
        if nested:
            current = nested[0]
    return [info.alias or name for name, info in current.model_fields.items()]


def _classes_in(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [
        found for argument in getattr(annotation, "__args__", ()) for found in _classes_in(argument)
    ]
