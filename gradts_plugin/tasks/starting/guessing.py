"""What kind of task columns are: a guess, and why."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gradts_plugin.errors import DataError
from gradts_plugin.tasks.kinds import IGNORED, Kind, Metric, label_name
from gradts_plugin.tasks.sources import FieldName
from gradts_plugin.tasks.spans import span_tags
from gradts_plugin.tasks.starting.columns import (
    CHOICE_NAMES,
    LABEL_NAMES,
    PAIRS,
    SCORE_NAMES,
    TAG_NAMES,
    TEXT_NAMES,
    TOKEN_NAMES,
    Column,
)

#: Whole numbers are scores where there are more of them.
_CLASSES: Final = 12

#: A class that so many rows have makes accuracy easy to reach, by number of classes.
_LARGE: Final = {2: 0.7}
_LARGE_OF_MORE: Final = 0.5

#: Choices that have a column each: ending0, option_b, ...; a single letter.
_NUMBERED_CHOICE = re.compile(
    r"(?:(?:ending|choice|option|answer|alternative|opt|op|sol|hyp)_?([0-9]|[a-e])|([a-e]))"
)


@dataclass(frozen=True)
class Guess:
    """What a task is taken for.

    Attributes:
        kind: of the task.
        fields: role -> field name, or names of the choices.
        metric: of the task.
        reasons: why, a line each; what else it could be.
    """

    kind: Kind
    fields: dict[str, FieldName | tuple[FieldName, ...]]
    metric: Metric
    reasons: tuple[str, ...]


def guess(columns: Sequence[Column]) -> Guess:
    """Takes columns for a task.

    Args:
        columns: from `columns_of`.

    Raises:
        DataError: no column can be its text, or none its label; says what there is.
    """
    columns = [column for column in columns if column.values]
    return _tagging(columns) or _multiple_choice(columns) or _of_texts(columns)


# --- words and tags -------------------------------------------------------------------------------


def _tagging(columns: Sequence[Column]) -> Guess | None:
    """Words, and as many tags in each row."""
    lists = [column for column in columns if column.is_list]
    words = [column for column in lists if isinstance(column.values[0][0], str)]
    for tokens in sorted(words, key=lambda column: _rank(column, TOKEN_NAMES)):
        tags = [each for each in lists if each is not tokens and _same_lengths(each, tokens)]
        if not tags:
            continue
        # A tag is one of few, a word one of many.
        if tokens.plain not in TOKEN_NAMES and _num_items(tokens) < _num_items(tags[0]):
            continue
        tag = min(tags, key=lambda column: _rank(column, TAG_NAMES))
        others = [str(each.name) for each in tags if each is not tag]
        return tagging_guess(tokens.name, tag.name, _items(tag), others)
    return None


def tagging_guess(
    tokens: FieldName, tags: FieldName, labels: set[str], others: Sequence[str] = ()
) -> Guess:
    """A tagging task.

    Args:
        tokens: the field of the words.
        tags: the field of their tags.
        labels: the tags that were seen.
        others: fields that could hold the tags, too.
    """
    known = span_tags(sorted(labels - {IGNORED, "_"}))
    spans = bool(known) and {*known} >= labels - {IGNORED, "_"}
    metric: Metric = "seqeval_f1" if spans else "accuracy"
    why = "its tags mark spans" if spans else "its tags mark no spans (B-x, I-x, O)"
    reasons = [
        f"tagging: {_shown(tags)} has a tag for each word of {_shown(tokens)}{_or_else(others)}",
        f"{metric}: {why}",
    ]
    return Guess("tagging", {"tokens": tokens, "labels": tags}, metric, tuple(reasons))


def _same_lengths(tags: Column, tokens: Column) -> bool:
    pairs = zip(tags.values, tokens.values, strict=False)
    return len(tags.values) == len(tokens.values) and all(len(a) == len(b) for a, b in pairs)


def _items(column: Column) -> set[str]:
    return {str(item) for value in column.values for item in value}


def _num_items(column: Column) -> int:
    return len(_items(column))


# --- choices --------------------------------------------------------------------------------------


def _multiple_choice(columns: Sequence[Column]) -> Guess | None:
    """Texts to choose from, and which one is right."""
    lists = [
        column
        for column in columns
        if column.is_list and min(map(len, column.values)) > 1 and column.words > 0
    ]
    named = [each for each in lists if _parts(each) & {*CHOICE_NAMES}]
    choices: FieldName | tuple[FieldName, ...] | None = named[0].name if named else None
    count = len(named[0].values[0]) if named else 0
    taken = {named[0].name} if named else set()
    if choices is None:
        found = [column for column in columns if _NUMBERED_CHOICE.fullmatch(column.plain)]
        starts = Counter(re.sub(r"_?[0-9a-e]$", "", column.plain) for column in found)
        start = starts.most_common(1)[0][0] if found else ""
        found = [each for each in found if re.sub(r"_?[0-9a-e]$", "", each.plain) == start]
        if len(found) < 2:
            return None
        choices = tuple(column.name for column in found)
        count, taken = len(found), {*choices}
    rest = [column for column in columns if column.name not in taken]
    label = _right_choice(rest, count)
    texts = _texts([column for column in rest if column is not label])
    if label is None or not texts:
        return None
    reasons = (
        f"multiple_choice: {_shown(label.name)} says which of {_shown_choices(choices)} is right",
        "accuracy: the one metric of this kind",
    )
    # What precedes the choices is whole where there are parts of it, too.
    first = _best_text(texts)
    fields: dict[str, Any] = {"text_a": first.name, "choices": choices, "label": label.name}
    pair = _named_pair(texts)
    if pair is not None and first in pair and not first.plain.startswith("startphrase"):
        fields |= {"text_a": pair[0].name, "text_b": pair[1].name}
    return Guess("multiple_choice", fields, "accuracy", reasons)


def _parts(column: Column) -> set[str]:
    return {*str(column.name).lower().split(".")}


def _right_choice(columns: Sequence[Column], count: int) -> Column | None:
    """The column whose values count the choices, from 0 or from A."""
    valid = {str(number) for number in range(count)} | {*"ABCDEFGHIJ"[:count]}
    fitting = [
        column
        for column in columns
        if column.is_scalar
        and not column.is_other
        and {label_name(value) for value in column.values} <= valid
    ]
    return min(fitting, key=lambda column: _rank(column, LABEL_NAMES), default=None)


# --- texts and a label ----------------------------------------------------------------------------


def _of_texts(columns: Sequence[Column]) -> Guess:
    scalars = [column for column in columns if column.is_scalar]
    label = _label(scalars)
    texts = _texts([column for column in scalars if column is not label])
    if label is None or not texts:
        missing = "its text" if not texts else "its label"
        names = ", ".join(_shown(column.name) for column in columns) or "none"
        raise DataError(
            f"no column looks like {missing}; its columns: {names}. Write a task config that says "
            "'fields' (docs: task configs)"
        )
    others = _other_labels(scalars, label)
    pair = _pair(texts)
    fields: dict[str, FieldName | tuple[FieldName, ...]] = {"text_a": _best_text(texts).name}
    if pair is not None:
        fields = {"text_a": pair[0].name, "text_b": pair[1].name}
    fields["label"] = label.name
    is_score, why = _score(label)
    kind: Kind = "regression" if is_score else "single" if pair is None else "pair"
    shown = " and ".join(_shown(column.name) for column in pair or (_best_text(texts),))
    what = "a score" if is_score else "a class"
    read = {column.name for column in pair or (_best_text(texts),)}
    unread = [
        _shown(column.name) for column in texts if column.name not in read and column.words > 2
    ]
    reasons = [f"{kind}: {_shown(label.name)} ({why}) is {what} of {shown}{_or_else(others)}"]
    reasons += [f"not read, though they are texts: {', '.join(unread)}"] if unread else []
    metric, reason = ("pearson", "scores are to be ordered and spaced alike")
    if not is_score:
        metric, reason = _metric(label)
    return Guess(kind, fields, metric, (*reasons, f"{metric}: {reason}"))  # type: ignore[arg-type]


def _label(columns: Sequence[Column]) -> Column | None:
    """The column that is most like a label."""
    scored = [
        (_label_score(column, place, columns), column) for place, column in enumerate(columns)
    ]
    best = max(scored, key=lambda item: item[0], default=None)
    return best[1] if best and best[0] > 0 else None


def _label_score(column: Column, place: int, columns: Sequence[Column]) -> float:
    if column.distinct < 2:
        return -1
    rank = column.rank_in(LABEL_NAMES)
    score = 0.0 if rank is None else 8 - rank * 5 / len(LABEL_NAMES)
    if rank is None and {*column.plain.split("_")} & {"label", "class"}:
        score += 2
    if column.is_other:
        score -= 20
    if column.words > 4:
        score -= 6
    repeated = 1 - column.distinct / len(column.values)
    if rank is not None:
        score += 3 if repeated > 0.5 else -3 if _is_text_like(column) else 0
    elif column.known_labels:
        score += 3 + repeated
    elif _has_fractions(column):
        score += 2
    elif len(column.values) > 8 or repeated:
        score += 6 * (repeated - 0.5)
    else:
        score += 0 if column.is_numeric else -0.5
    # Labels stand at either end, texts between.
    if rank is None and place in (0, len(columns) - 1):
        score += 1.0 if column.words <= 1.5 else 0.25
    return score + (0.1 if place else 0)


def _is_text_like(column: Column) -> bool:
    return len(column.values) > 8 and not column.is_numeric and column.distinct > 50


def _has_fractions(column: Column) -> bool:
    return column.is_numeric and not all(float(value).is_integer() for value in column.values)


def _other_labels(columns: Sequence[Column], label: Column) -> list[str]:
    """Columns that could be the label, too."""
    return [
        str(column.name)
        for column in columns
        if column is not label
        and not column.is_other
        and column.rank_in(LABEL_NAMES) is not None
        and column.distinct > 1
        and (column.distinct <= len(column.values) / 2 or column.is_numeric)
    ]


def _score(label: Column) -> tuple[bool, str]:
    """Whether a label is a score, and why."""
    if not label.is_numeric:
        return False, f"{label.distinct} different values"
    if _has_fractions(label):
        return True, "numbers with fractions"
    named = label.plain in SCORE_NAMES
    if named and label.distinct > _CLASSES:
        return True, f"{label.distinct} different numbers"
    return False, f"{label.distinct} different whole numbers"


def _metric(label: Column) -> tuple[Metric, str]:
    counts = Counter(label_name(value) for value in label.values)
    ((most, count),) = counts.most_common(1)
    share = count / len(label.values)
    if len(label.values) >= 20 and share > _LARGE.get(len(counts), _LARGE_OF_MORE):
        return "macro_f1", f"{100 * share:.0f} % of the rows looked at have the label {most!r}"
    return "accuracy", "no class is much larger than the others"


def _texts(columns: Sequence[Column]) -> list[Column]:
    """Columns that may be read, in their order."""
    return [
        column
        for column in columns
        if column.is_scalar
        and not (column.is_numeric and column.plain not in TEXT_NAMES)
        and isinstance(column.values[0], str)
        and not column.is_other
    ]


def _best_text(texts: Sequence[Column]) -> Column:
    """What is named as a text, else what has most words."""
    named = [column for column in texts if column.rank_in(TEXT_NAMES) is not None]
    if named:
        return min(named, key=lambda column: (_rank(column, TEXT_NAMES), -column.words))
    # Of unnamed ones the longest; the last of equals, since texts follow ids and names.
    return max(enumerate(texts), key=lambda item: (item[1].words, item[0]))[1]


def _named_pair(texts: Sequence[Column]) -> tuple[Column, Column] | None:
    by_name = {column.plain: column for column in texts}
    alike = [
        (name, f"{name[:-1]}{other}")
        for name in by_name
        for one, other in (("1", "2"), ("a", "b"))
        if re.search(rf"(^|_){one}$", name)
    ]
    for first, second in (*PAIRS, *alike):
        if first in by_name and second in by_name:
            return by_name[first], by_name[second]
    return None


def _pair(texts: Sequence[Column]) -> tuple[Column, Column] | None:
    """The two texts of a row, by their names; of unnamed columns where both are sentences."""
    found = _named_pair(texts)
    if found is not None:
        return found
    texts = [column for column in texts if column.distinct > 1]
    unnamed = [column for column in texts if column.rank_in(TEXT_NAMES) is None]
    varied = [column for column in unnamed if column.distinct > len(column.values) / 2]
    if len(varied) < 2 or len(varied) != len(texts) or isinstance(varied[0].name, str):
        varied = [column for column in varied if column.words >= 3]
    if len(unnamed) < len(texts):
        return None  # one is the text by its name
    if len({column.words > 1 for column in varied}) > 1:
        return None  # a name beside a text
    if len(varied) == 2 and min(column.words for column in varied) * 8 > max(
        column.words for column in varied
    ):
        return varied[0], varied[1]
    return None


# --- both -----------------------------------------------------------------------------------------


def _rank(column: Column, names: Sequence[str]) -> int:
    rank = column.rank_in(names)
    return len(names) if rank is None else rank


def _shown(name: FieldName) -> str:
    return f"column {name}" if isinstance(name, int) else repr(name)


def _shown_choices(choices: FieldName | tuple[FieldName, ...]) -> str:
    return ", ".join(map(_shown, choices)) if isinstance(choices, tuple) else _shown(choices)


def _or_else(others: Sequence[str]) -> str:
    named = ", ".join(repr(name) for name in others[:3])
    return f"; it could also be {named}: say it in 'fields'" if others else ""
