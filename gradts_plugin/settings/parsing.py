"""Settings, checked: every mistake of a file at once, each with the nearest valid choice."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from gradts_plugin.errors import ConfigError, SettingsError, nearest

#: What a setting changes. `run`: an output folder belongs to one value of it. The others are kinds
#: of stored numbers, which are made anew for another value.
Numbers = Literal["run", "probes", "trainings", "computed"]

#: Of a path, on the usual systems.
_MOST_BYTES = 4096

#: Shows a value in a message: in short, however large or deep it is.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


@dataclass(frozen=True)
class Affects:
    """Says at a setting what it changes; `stores.keys` makes the keys of stored numbers from it.

    A setting without it only chooses among stored numbers.
    """

    numbers: tuple[Numbers, ...]


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after reading."""

    # JSON, in which settings are stored, has no infinity.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuses what would quietly be taken for something else, or break what is done with it."""
        kinds = set(_classes_in(cls.model_fields[info.field_name or ""].annotation))
        for item in _plain_values_in(value):
            if isinstance(item, bool) and kinds & {int, float} and bool not in kinds:
                raise ValueError("a number is needed")
            if isinstance(item, str | Path) and not _is_text(str(item)):
                raise ValueError("no name or path has such characters")
            if isinstance(item, str | Path) and Path in kinds and _is_too_long(str(item)):
                raise ValueError(f"a path has at most {_MOST_BYTES} bytes, a name in it 255")
        return value

    def check_with(self, run: Any) -> None:
        """Refuses what the other settings of the run (`GradTSSettings`) rule out.

        Raises:
            ValueError: says what does not go together.
        """

    @classmethod
    def names_that_affect(cls, numbers: Numbers) -> set[str]:
        """The keys that change a kind of stored numbers."""
        return {
            name
            for name, field in cls.model_fields.items()
            for found in field.metadata
            if isinstance(found, Affects) and numbers in found.numbers
        }


def _plain_values_in(value: Any) -> Iterator[Any]:
    """A value, or those of a list; what has keys is checked by whoever knows them."""
    for item in value if isinstance(value, list | tuple) else (value,):
        if not isinstance(item, list | tuple | Mapping):
            yield item


def _is_text(value: str) -> bool:
    """False for half characters, and for NUL, which no file system has."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _is_too_long(path: str) -> bool:
    parts = path.encode(errors="surrogatepass").split(b"/")
    return max(map(len, parts)) > 255 or sum(map(len, parts)) + len(parts) > _MOST_BYTES


class NoSettings(Settings):
    """What steers a method or ranker without settings of its own."""


#: Kind of problem, or its beginning (int_type, int_parsing, ...) -> what is needed.
_NEEDED = {
    "int": "a whole number is needed",
    "int_from": "a whole number is needed",
    "float": "a number is needed",
    "finite": "a finite number is needed",
    "bool": "true or false is needed",
    "string": "a text is needed",
    "path": "a path is needed",
    "list": "a list is needed",
    "tuple": "a list is needed",
    "dict": "a mapping of keys is needed",
    "mapping": "a mapping of keys is needed",
    "model": "a mapping of keys is needed",
    "model_attributes": "a mapping of keys is needed",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "at least {min_length} are needed",
}

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
        SettingsError: a line for each mistake: the key, what was found, the nearest valid choice.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a mapping of settings, found {type(values).__name__}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise SettingsError(where, list(_problems(model, error))) from error


def _problems(model: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """One line for each place; of a value that may be of several kinds the first kind's."""
    # Unknown keys first: a misspelt key often also shows up as a missing one.
    problems = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    told: set[str] = set()
    for problem in problems:
        place = ".".join(_keys(model, problem))
        if place not in told:
            told.add(place)
            yield _described(model, place, problem)


def _described(model: type[BaseModel], place: str, problem: Any) -> str:
    kind, given = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        *parents, name = place.split(".")
        return f"unknown key {place!r}; {nearest(name, _keys_at(model, parents))}"
    if kind.startswith("union_tag"):
        place += "." + given["discriminator"].strip("'")
    if kind in ("missing", "union_tag_not_found"):
        return f"key {place!r} is missing"
    if kind in ("literal_error", "union_tag_invalid"):
        expected = given.get("expected_tags") or given.get("expected", "")
        valid = [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]
        found = given.get("tag", problem["input"])
        return f"{place}: unknown value {_SHORT.repr(found)}; {nearest(str(found)[:80], valid)}"
    message = _needed(problem)
    if not place:
        return message
    found = (
        "" if isinstance(problem["input"], Mapping) else f", found {_SHORT.repr(problem['input'])}"
    )
    return f"{place}: {message[:1].lower()}{message[1:]}{found}"


def _needed(problem: Any) -> str:
    """What a value must be, in words of the settings."""
    form = _NEEDED.get(problem["type"]) or _NEEDED.get(problem["type"].rpartition("_")[0])
    if form is not None:
        return form.format(**problem.get("ctx", {}))
    return str(problem["msg"].removeprefix("Value error, "))


def _keys(model: type[BaseModel], problem: Any) -> Iterator[str]:
    """The keys of a problem's place, without the validation library's words for kinds of values."""
    current: list[type] = [model]
    location = problem["loc"]
    for number, part in enumerate(location, start=1):
        models = [found for found in current if issubclass(found, BaseModel)]
        fields = [found.model_fields[part] for found in models if part in found.model_fields]
        is_extra = problem["type"] == "extra_forbidden" and number == len(location)
        if fields:
            current = [kind for field in fields for kind in _classes_in(field.annotation)]
        elif dict in current:
            current.remove(dict)  # what follows the key of a mapping is in its value
        elif not is_extra and not isinstance(part, int):
            continue
        if part != "[key]":
            yield str(part)


def _keys_at(model: type[BaseModel], location: Iterable[str]) -> list[str]:
    """Field names valid at a nested location of a settings class."""
    current: list[type[BaseModel]] = [model]
    for part in location:
        fields = [found.model_fields[part] for found in current if part in found.model_fields]
        nested = [
            candidate
            for field in fields
            for candidate in _classes_in(field.annotation)
            if issubclass(candidate, BaseModel)
        ]
        current = nested or current
    return [info.alias or name for found in current for name, info in found.model_fields.items()]


def _classes_in(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    kinds: list[type] = [dict] if get_origin(annotation) in (dict, Mapping) else []
    return kinds + [found for argument in get_args(annotation) for found in _classes_in(argument)]
