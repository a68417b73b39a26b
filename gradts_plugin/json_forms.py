"""The one JSON form of every record: its fields by name, and what it says can be derived from them.

A record's class variable `derived` names properties that are written, and not read; `unwritten`
names fields that are left out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from gradts_plugin.errors import ConfigError

if TYPE_CHECKING:  # by shape, so that records of strings and numbers are such values
    JsonValue = str | int | float | bool | None | Sequence["JsonValue"] | Mapping[str, "JsonValue"]
else:
    from pydantic import JsonValue

#: What JSON calls an object. Nobody reads its keys but who wrote them.
JsonObject = Mapping[str, JsonValue]

#: Metadata of a field that is left out at its default: it came later than records, and keys of
#: what is stored, that do not have it.
WRITTEN_IF_SET: Mapping[str, bool] = {"if_set": True}

RecordT = TypeVar("RecordT")

#: What reads a record; made once, which takes longer than reading a hundred of them.
_reader: Callable[[Any], TypeAdapter[Any]] = functools.cache(TypeAdapter)


def to_json(value: Any, *, only: Iterable[str] | None = None) -> Any:
    """A record, or anything made of records and plain values, as JSON values.

    Args:
        value: the record. Undefined numbers (NaN, infinities) become None.
        only: of a record, the names that are wanted; None: all.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [
            field.name
            for field in dataclasses.fields(value)
            if not (field.metadata.get("if_set") and getattr(value, field.name) == field.default)
        ]
        names += getattr(value, "derived", ())
        left_out = set(getattr(value, "unwritten", ()))
        wanted = set(names if only is None else only) - left_out
        return {name: to_json(getattr(value, name)) for name in names if name in wanted}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, list | tuple | range):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def from_json(record: type[RecordT], values: Any, *, where: str) -> RecordT:
    """Reads a record back from its JSON form; fields that were left out have their defaults.

    Args:
        record: its class.
        values: what `to_json` gave.
        where: file, for the message.

    Raises:
        ConfigError: it is not the form of such a record.
    """
    try:
        read: RecordT = _reader(record).validate_python(values)
        return read
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the whole file"
        message = problem["msg"][:1].lower() + problem["msg"][1:]
        raise ConfigError(f"{where} is damaged: {place}: {message}") from error
