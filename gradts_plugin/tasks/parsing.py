"""Checks rows of any format and turns them into examples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

from gradts_plugin.errors import DataError, nearest
from gradts_plugin.tasks.examples import Example
from gradts_plugin.tasks.formats.rows import Sentence, Values
from gradts_plugin.tasks.kinds import IGNORED, NO_LABELS, label_name
from gradts_plugin.tasks.sources import FieldName
from gradts_plugin.tasks.task_configs import TaskConfig

#: The largest number of the encoders' own arithmetic.
_LARGEST = 3.4028234e38


@dataclass(frozen=True)
class RowParser:
    """Checks rows of one task and turns them into examples.

    Attributes:
        config: the task.
        names: role -> field name(s).
        labels: of the task; None: they are not known yet, any will do.
        unlabelled: labels may be empty or missing, as in a test split.
    """

    config: TaskConfig
    names: Mapping[str, FieldName | tuple[FieldName, ...]]
    labels: tuple[str, ...] | None
    unlabelled: bool

    def example(self, index: int, place: str, row: Values) -> Example:
        """The example in a row, without a label where it has none; errors begin with its place."""
        if self.config.kind == "tagging":
            return self._tagging_example(index, place, row)
        choices: tuple[str, ...] = ()
        if self.config.kind == "multiple_choice":
            choices = self._choices(row, place)
        text_b = self._text(row, "text_b", place) if "text_b" in self.names else None
        return Example(
            index=index,
            text_a=self._text(row, "text_a", place),
            text_b=text_b,
            label=self._label(row, choices, place),
            choices=choices,
        )

    def _tagging_example(self, index: int, place: str, row: Values) -> Example:
        tokens = self._texts(row, "tokens", place)
        if not tokens:
            _fail(place, f"field {self.names['tokens']!r} has no words")
        value = self._given(row, "labels", place)
        if value is None:
            return Example(index=index, tokens=tokens)
        if not isinstance(value, list):
            _fail(place, f"field {self.names['labels']!r} is no list but {value!r:.60}")
        if len(value) != len(tokens):
            _fail(place, f"{len(tokens)} words, but {len(value)} labels")
        labels = tuple(
            self._known[tag]
            if isinstance(tag, str) and tag in self._known
            else self._tag(tag, _place_of_word(row, place, number, tokens[number]))
            for number, tag in enumerate(value)
        )
        known = any(label is not None for label in labels)
        return Example(index=index, tokens=tokens, labels=labels if known else ())

    # --- labels ----------------------------------------------------------------------------------

    def _tag(self, value: Any, place: str) -> str | None:
        if self._is_empty(value):
            # An empty cell among tags is more often a shifted column than a word without a tag.
            if not self.unlabelled and "" not in (self.config.no_label or ()):
                _fail(
                    place,
                    f"there is no label but {value!r}; 'no_label': [\"\"] leaves such words out",
                )
            return None
        label = None if self._is_no_label(value) else self._class_label(value, place)
        return self._remembered(value, label)

    @cached_property
    def _known(self) -> dict[str, str | None]:
        """Classes and tags that were read before: millions of rows have few of them."""
        return {}

    def _remembered(self, value: Any, label: str | None) -> str | None:
        if isinstance(value, str):
            self._known[value] = label
        return label

    def _given(self, row: Values, role: str, place: str) -> Any:
        """The value of a label field; None where there is none and may be none."""
        value = self._value(row, role, place, optional=self.unlabelled)
        if not self._is_empty(value):
            return value
        if not self.unlabelled and "" not in (self.config.no_label or ("",)):
            what = "empty" if isinstance(value, str | list) else "null"
            _fail(
                place,
                f"field {self.names[role]!r} is {what}; 'no_label': [\"\"] leaves such rows out",
            )
        return None

    def _is_empty(self, value: Any) -> bool:
        """True for what data have where nothing was written: null, NaN, an empty text or list."""
        if isinstance(value, str):
            return not value.strip() and value not in self.config.label_map
        return value is None or value == [] or (isinstance(value, float) and math.isnan(value))

    def _is_no_label(self, value: Any, choices: tuple[str, ...] = ()) -> bool:
        """True for a value that stands for no label.

        What the config does not name is one only where it is no label of the task.
        """
        if isinstance(value, (bool, list, dict)):
            return False
        name = label_name(value)
        return name in self._no_labels and name not in {label_name(choice) for choice in choices}

    @cached_property
    def _no_labels(self) -> frozenset[str]:
        config = self.config
        given = frozenset(config.no_label or ())
        if config.kind == "regression":
            return given
        usual = {IGNORED}
        if config.no_label is None and self.labels is not None:
            usual |= {*NO_LABELS[config.kind]}
        return given | (usual - {*(self.labels or ()), *config.label_map})

    def _label(self, row: Values, choices: tuple[str, ...], place: str) -> str | float | int | None:
        value = self._given(row, "label", place)
        if isinstance(value, str) and value in self._known and not choices:
            return self._known[value]
        if value is None or self._is_no_label(value, choices):
            return None
        if self.config.kind == "regression":
            return self._score(value, place)
        if self.config.kind == "multiple_choice":
            return self._right_choice(value, choices, place)
        return self._remembered(value, self._class_label(value, place))

    def _class_label(self, value: Any, place: str) -> str:
        name = self._named(value, place)
        if self.labels is not None and name not in self.labels:
            origin = {
                "infer": "the training split",
                "infer_all": "any split",
            }.get(str(self.config.labels), "the task config")
            hint = ""
            if self.config.labels == "infer":
                hint = ", and 'labels': 'infer_all' takes those of all splits"
            near = nearest(name[:80], self.labels)
            _fail(place, f"label {name!r:.80} is not in {origin}; {near}{hint}")
        return name

    def _named(self, value: Any, place: str) -> str:
        try:
            name = label_name(value)
        except ValueError as error:
            _fail(place, f"{error}: {value!r:.60}")
        _whole(name, place)
        renamed = self.config.label_map
        return renamed.get(str(value), renamed.get(name, name))

    def _score(self, value: Any, place: str) -> float:
        # Python's float takes 1_5 for 15, and 400 digits are an error of another kind.
        readable = not isinstance(value, bool) and "_" not in str(value)
        try:
            score = float(value) if readable else math.nan
        except (TypeError, ValueError, OverflowError):
            score = math.nan
        if not math.isfinite(score):
            _fail(
                place, f"field {self.names['label']!r} is no finite number but {str(value)!r:.60}"
            )
        if abs(score) > _LARGEST:
            _fail(place, f"field {self.names['label']!r} is {score:.3g}, beyond float32")
        return score

    def _right_choice(self, value: Any, choices: tuple[str, ...], place: str) -> int:
        """Position of the right choice, from its name, text, number or letter."""
        name = self._named(value, place)
        if isinstance(self.config.labels, tuple):
            if name not in self.config.labels:
                _fail(place, f"unknown label {name!r}; {nearest(name, self.config.labels)}")
            return self.config.labels.index(name)
        letters = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(choices)])
        texts = tuple(choice.strip() for choice in choices)
        if isinstance(value, str) and value.strip() in texts:
            name = value.strip()  # where a choice is 1.0, that is not the number 1
        any_form = self.config.labels != "text"
        readings = {
            names.index(name)
            for names in (texts, positions(len(choices)), letters)
            if name in names and (names is texts or any_form)
        }
        if isinstance(value, int) and name in positions(len(choices)):
            # A JSON number counts the choices, even where a choice is a number.
            readings = {int(name)} if any_form else readings
        if not readings:
            _fail(place, f"label {name!r:.80} is none of the choices, nor their number or letter")
        if len(readings) > 1:
            _fail(
                place,
                f"label {name!r} can mean more than one choice; set labels to 'text' or to the "
                "names of the choices in their order",
            )
        return readings.pop()

    # --- texts -----------------------------------------------------------------------------------

    def _value(self, row: Values, role: str, place: str, *, optional: bool = False) -> Any:
        name = self.names[role]
        if isinstance(name, tuple):
            return [_lookup(row, one, place) for one in name]
        return _lookup(row, name, place, optional=optional)

    def _text(self, row: Values, role: str, place: str) -> str:
        value = self._value(row, role, place)
        if value is None:
            _fail(place, f"field {self.names[role]!r} is null")
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


def positions(count: int) -> tuple[str, ...]:
    """The choices of a multiple-choice task as labels: "0", "1", ..."""
    return tuple(str(position) for position in range(count))


def _place_of_word(row: Values, place: str, number: int, word: str) -> str:
    """Where a word stands, counted from 0."""
    if isinstance(row, Sentence):
        return f"{row.file}, line {row.lines[number]} ({word!r:.40})"
    return f"{place}, word {number + 1} ({word!r:.40})"


def _lookup(row: Values, name: FieldName, place: str, *, optional: bool = False) -> Any:
    """A field's value; a dot leads into nested objects."""
    if name in row:
        return row[name]
    if isinstance(name, int):
        return None if optional else _fail(place, f"column {name} is missing")
    if name.strip() in row:  # tables lose the white space around their columns' names
        return row[name.strip()]
    outer, dot, inner = name.partition(".")
    if dot and isinstance(row.get(outer), Mapping):
        return _lookup(row[outer], inner, place, optional=optional)
    if optional:
        return None
    return _fail(place, f"field {name!r} is missing; {nearest(name, map(str, row))}")


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
