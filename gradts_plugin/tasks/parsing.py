"""Checks rows of any format and turns them into examples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from gradts_plugin.errors import DataError, nearest
from gradts_plugin.tasks.examples import Example
from gradts_plugin.tasks.formats.rows import Values
from gradts_plugin.tasks.kinds import label_name
from gradts_plugin.tasks.task_configs import TaskConfig


@dataclass(frozen=True)
class RowParser:
    """Checks rows of one task and turns them into examples.

    Attributes:
        config: the task.
        names: role -> field name(s).
        labels: of the task; None: they are not known yet, any will do.
        unlabelled: rows may lack their labels.
    """

    config: TaskConfig
    names: Mapping[str, str | tuple[str, ...]]
    labels: tuple[str, ...] | None
    unlabelled: bool

    def example(self, index: int, place: str, row: Values) -> Example:
        """The example in a row; errors begin with its place."""
        if self.config.kind == "tagging":
            return self._tagging_example(index, place, row)
        text_b = self._text(row, "text_b", place) if "text_b" in self.names else None
        choices: tuple[str, ...] = ()
        if self.config.kind == "multiple_choice":
            choices = self._choices(row, place)
        value = self._value(row, "label", place, optional=self.unlabelled)
        return Example(
            index=index,
            text_a=self._text(row, "text_a", place),
            text_b=text_b,
            label=None if value is None else self._label(value, choices, place),
            choices=choices,
        )

    def _tagging_example(self, index: int, place: str, row: Values) -> Example:
        tokens = self._texts(row, "tokens", place)
        if not tokens:
            _fail(place, f"field {self.names['tokens']!r} has no words")
        value = self._value(row, "labels", place, optional=self.unlabelled)
        if value is None:
            return Example(index=index, tokens=tokens)
        if not isinstance(value, list):
            _fail(place, f"field {self.names['labels']!r} is no list but {value!r:.60}")
        if len(value) != len(tokens):
            _fail(place, f"{len(tokens)} words, but {len(value)} labels")
        labels = tuple(self._class_label(item, place) for item in value)
        return Example(index=index, tokens=tokens, labels=labels)

    def _value(self, row: Values, role: str, place: str, *, optional: bool = False) -> Any:
        name = self.names[role]
        if not isinstance(name, str):
            return [_lookup(row, one, place) for one in name]
        value = _lookup(row, name, place, optional=optional)
        missing = value is None or (role == "label" and self._is_no_label(value))
        if missing and not optional:
            _fail(place, f"field {name!r} is {'empty' if value == '' else 'null'}")
        return None if missing else value

    def _is_no_label(self, value: Any) -> bool:
        """True for what tables have where there is no label: an empty cell, or NaN."""
        empty = isinstance(value, str) and not value.strip() and value not in self.config.label_map
        return empty or (isinstance(value, float) and math.isnan(value))

    def _text(self, row: Values, role: str, place: str) -> str:
        value = self._value(row, role, place)
        if not isinstance(value, str):
            _fail(place, f"field {self.names[role]!r} is no text but {value!r:.60}")
        return _whole(value, place)

    def _texts(self, row: Values, role: str, place: str) -> tuple[str, ...]:
        value = self._value(row, role, place)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            _fail(place, f"field {self.names[role]!r} is no list of texts but {value!r:.60}")
        return tuple(_whole(item, place) for item in value)

    def _choices(self, row: Values, place: str) -> tuple[str, ...]:
        choices = self._texts(row, "choices", place)
        if len(choices) < 2:
            _fail(place, f"{len(choices)} choices, at least two are needed")
        if self.labels is not None and len(choices) != len(self.labels):
            _fail(place, f"{len(choices)} choices, the task has {len(self.labels)}")
        return choices

    def _label(self, value: Any, choices: tuple[str, ...], place: str) -> str | float | int:
        if self.config.kind == "regression":
            return self._score(value, place)
        if self.config.kind == "multiple_choice":
            return self._right_choice(value, choices, place)
        return self._class_label(value, place)

    def _class_label(self, value: Any, place: str) -> str:
        name = self._named(value, place)
        if self.labels is not None and name not in self.labels:
            origin = "the training split" if self.config.labels == "infer" else "the task config"
            _fail(place, f"label {name!r} is not in {origin}; {nearest(name, self.labels)}")
        return name

    def _named(self, value: Any, place: str) -> str:
        try:
            name = label_name(value)
        except ValueError as error:
            _fail(place, f"{error}: {value!r:.60}")
        _whole(name, place)
        return self.config.label_map.get(name, name)

    def _score(self, value: Any, place: str) -> float:
        try:
            score = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            _fail(place, f"field {self.names['label']!r} is no finite number but {value!r:.60}")
        return score

    def _right_choice(self, value: Any, choices: tuple[str, ...], place: str) -> int:
        """Position of the right choice, from its name, text, number or letter."""
        name = self._named(value, place)
        if not isinstance(self.config.labels, str):
            if name not in self.config.labels:
                _fail(place, f"unknown label {name!r}; {nearest(name, self.config.labels)}")
            return self.config.labels.index(name)
        letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)])
        readings = {
            names.index(name)
            for names in (choices, positions(len(choices)), letters)
            if name in names and (names is choices or self.config.labels == "infer")
        }
        if isinstance(value, int) and name in positions(len(choices)):
            # A JSON number counts the choices, even where a choice is a number.
            readings = {int(name)} if self.config.labels == "infer" else readings
        if not readings:
            _fail(place, f"label {name!r} is none of the choices, nor their number or letter")
        if len(readings) > 1:
            _fail(
                place,
                f"label {name!r} can mean more than one choice; set labels to 'text' or to the "
                "names of the choices in their order",
            )
        return readings.pop()


def positions(count: int) -> tuple[str, ...]:
    """The choices of a multiple-choice task as labels: "0", "1", ..."""
    return tuple(str(position) for position in range(count))


def _lookup(row: Values, name: str, place: str, *, optional: bool = False) -> Any:
    """A field's value; a dot leads into nested objects."""
    if name in row:
        return row[name]
    outer, dot, inner = name.partition(".")
    if dot and isinstance(row.get(outer), Mapping):
        return _lookup(row[outer], inner, place, optional=optional)
    if optional:
        return None
    return _fail(place, f"field {name!r} is missing; {nearest(name, row)}")


def _whole(text: str, place: str) -> str:
    """Refuses half characters (a surrogate alone), which JSON can spell and no tokenizer takes."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            _fail(place, f"{text[error.start]!r} is half a character (a surrogate without another)")
    return text


def _fail(place: str, problem: str) -> NoReturn:
    raise DataError(f"{place}: {problem}")
