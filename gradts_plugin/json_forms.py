"""The one JSON form of every record: its fields, and what it says can be derived from them.

A field with `metadata={"json": "other"}` has another name there, and with `{"json": None}` it is
left out. Properties named in the class variable `derived` are written, and never read.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

RecordT = TypeVar("RecordT")


def to_json(value: Any, *, only: Iterable[str] | None = None) -> Any:
    """A record, or anything made of records and plain values, as JSON values.

    Args:
        value: the record. Undefined numbers (NaN, infinities) become None.
        only: of a record, the names that are wanted; None: all.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        form = {name: getattr(value, field) for field, name in _names(type(value)).items()}
        form |= {name: getattr(value, name) for name in getattr(type(value), "derived", ())}
        return {k: to_json(item) for k, item in form.items() if only is None or k in only}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, list | tuple | range):
        return [to_json(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def from_json(record: type[RecordT], values: Any) -> RecordT:
    """Reads a record back from its JSON form; fields that were left out have their defaults.

    Args:
        record: its class.
        values: what `to_json` gave; further keys are ignored.

    Raises:
        KeyError, TypeError, ValueError: it is not the form of such a record.
    """
    return typing.cast("RecordT", _read(record, values))


def _read(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return _read(kind, value)
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return tuple(_read(arguments[0], item) for item in value)
        return tuple(_read(each, item) for each, item in zip(arguments, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _read(arguments[1], item) for key, item in dict(value).items()}
    if origin is np.ndarray:
        return np.array(value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        read = {
            field: _read(hints[field], value[name])
            for field, name in _names(kind).items()
            if name in value
        }
        return kind(**read)
    if kind is Path:
        return Path(value)
    return float(value) if kind is float else value


@functools.cache
def _names(record: type) -> dict[str, str]:
    """Field -> its name in JSON, of the fields that are written."""
    names = {
        field.name: field.metadata.get("json", field.name)
        for field in dataclasses.fields(record)  # type: ignore[arg-type]  # records only
    }
    return {field: name for field, name in names.items() if name is not None}


@functools.cache
def _hints(record: type) -> dict[str, Any]:
    return typing.get_type_hints(record)
