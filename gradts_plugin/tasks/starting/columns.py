"""Columns of data, and what their names and values say of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from gradts_plugin.tasks.kinds import label_name
from gradts_plugin.tasks.sources import FieldName

#: Names of label columns, the likeliest first.
LABEL_NAMES: Final = (
    *("gold_label", "label", "labels", "class", "classes", "target", "gold", "answer_key"),
    *("is_duplicate", "quality", "category", "categories", "emotion", "sentiment", "intent"),
    *("stance", "polarity", "topic", "queue", "genre", "correct", "right", "answer", "rating"),
    *("stars", "score", "similarity", "similarity_score", "relatedness_score", "relatedness"),
    *("valence", "v", "gold_score", "grade", "relation", "type", "tag", "y", "spam", "toxic"),
)

#: Names of score columns.
SCORE_NAMES: Final = frozenset(
    (
        *("score", "similarity", "similarity_score", "relatedness", "relatedness_score"),
        *("rating", "valence", "v", "gold_score", "grade", "stars"),
    )
)

#: Names of text columns, the likeliest first.
TEXT_NAMES: Final = (
    *("text", "sentence", "text_a", "sentence_1", "question_1", "premise", "text_1", "tweet"),
    *("utterance", "review", "review_text", "body", "content", "comment", "comment_text"),
    *("message", "startphrase", "stem", "prompt", "query", "question", "context", "document"),
    *("passage", "description", "abstract", "article", "post", "string", "headline", "title"),
    *("input", "goal", "v_2"),
)

#: First and second text of pairs.
PAIRS: Final = (
    *(("premise", "hypothesis"), ("sentence_1", "sentence_2"), ("question_1", "question_2")),
    *(("text_a", "text_b"), ("text_1", "text_2"), ("1_string", "2_string"), ("sent_1", "sent_2")),
    *(("sentence_a", "sentence_b"), ("question", "passage"), ("question", "sentence")),
    *(("query", "passage"), ("query", "document"), ("query", "product_title")),
    *(("question", "context"), ("context", "response"), ("question", "answer")),
    *(("claim", "evidence"), ("title", "body"), ("title", "text"), ("title", "description")),
    *(("title", "content"), ("headline", "body"), ("subject", "body"), ("source", "target")),
)

TOKEN_NAMES: Final = ("tokens", "words", "token", "word", "form", "sentence", "text")
TAG_NAMES: Final = (
    *("labels", "ner_tags", "ner", "tags", "tag", "label", "pos_tags", "upos", "pos"),
    *("chunk_tags", "bio", "iob"),
)
CHOICE_NAMES: Final = ("choices", "options", "answers", "endings", "candidates")

#: Words of names whose columns hold no text and no label.
_NO_DATA: Final = frozenset(
    (
        *("id", "ids", "idx", "index", "guid", "uid", "qid", "pid", "row", "rows", "no", "nr"),
        *("number", "date", "time", "timestamp", "url", "link", "user", "username", "speaker"),
        *("author", "annotator", "annotators", "worker", "workers", "count", "counts", "parse"),
        *("file", "filename", "split", "fold", "version", "year", "season", "episode", "lang"),
        *("language", "unnamed"),
    )
)

#: Labels that are known as such, whatever their column is called.
_KNOWN_LABELS: Final = frozenset(
    (
        *("0", "1", "2", "3", "4", "5", "true", "false", "yes", "no", "y", "n", "positive"),
        *("negative", "neutral", "pos", "neg", "entailment", "contradiction", "not_entailment"),
        *("entails", "ham", "spam", "good", "bad", "same", "different"),
    )
)

_DATE = re.compile(
    r"(mon|tue|wed|thu|fri|sat|sun)\w*\b.*|\d{4}-\d\d-\d\d.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}.*", re.I
)
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def plain_name(name: FieldName) -> str:
    """A column's name in small letters, its words and numbers apart by `_`."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(name))
    text = re.sub(r"(?<=[a-z])(?=\d)|(?<=\d)(?=[a-z])", "_", text.lower())
    return re.sub(r"[^a-z0-9]+", "_", text).strip("_")


def is_name(text: str) -> bool:
    """Whether a cell is likely the name of a column."""
    name = plain_name(text)
    pairs = {each for pair in PAIRS for each in pair}
    known = {*LABEL_NAMES, *TEXT_NAMES, *TOKEN_NAMES, *TAG_NAMES, *CHOICE_NAMES, *pairs}
    single = known - {"no", "v", "y", "right", "correct", "1_string"}
    generic = re.fullmatch(r"(v|x|col|column|field|attr|unnamed)_?\d+", name)
    return name in single or generic is not None or name in ("id", "idx", "index", "guid")


def is_number(value: object) -> bool:
    """Whether a value is a number, or text that spells one."""
    if isinstance(value, str):
        return _NUMBER.fullmatch(value.strip()) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Column:
    """A column, as far as rows were looked at.

    Attributes:
        name: its name, or its number where the data name none.
        values: what it holds, without nulls and empty cells.
        num_rows: rows that were looked at.
    """

    name: FieldName
    values: Sequence[Any]
    num_rows: int

    @cached_property
    def plain(self) -> str:
        """Its name, plainly; empty where it has none."""
        return "" if isinstance(self.name, int) else plain_name(self.name.rpartition(".")[2])

    @cached_property
    def distinct(self) -> int:
        """How many values differ."""
        return len({str(value) for value in self.values})

    @cached_property
    def is_scalar(self) -> bool:
        """Whether it holds texts, numbers or truth values."""
        kinds = str | int | float
        return bool(self.values) and all(isinstance(value, kinds) for value in self.values)

    @cached_property
    def is_numeric(self) -> bool:
        """Whether it holds numbers alone."""
        return bool(self.values) and all(is_number(value) for value in self.values)

    @cached_property
    def is_list(self) -> bool:
        """Whether it holds lists of texts or numbers."""
        return bool(self.values) and all(
            isinstance(value, list) and all(isinstance(item, str | int) for item in value)
            for value in self.values
        )

    @cached_property
    def words(self) -> float:
        """Mean number of words."""
        counts = [len(str(value).split()) for value in self.values]
        return sum(counts) / len(counts) if counts else 0.0

    @cached_property
    def is_other(self) -> bool:
        """Whether its name says that it is neither text nor label, or it holds dates."""
        if self.is_scalar and all(_DATE.fullmatch(str(value).strip()) for value in self.values):
            return True
        words = self.plain.split("_")
        unnamed = not self.plain and isinstance(self.name, str)
        return unnamed or bool({*words} & _NO_DATA)

    @cached_property
    def known_labels(self) -> bool:
        """Whether all its values are labels that many sets have."""
        found = {label_name(value).lower() for value in self.values if not isinstance(value, list)}
        return bool(found) and found <= _KNOWN_LABELS

    def rank_in(self, names: Sequence[str]) -> int | None:
        """Where its name stands among known ones; None: nowhere."""
        return names.index(self.plain) if self.plain in names else None


def columns_of(rows: Sequence[Mapping[Any, Any]]) -> list[Column]:
    """The columns of rows, nested objects by names with dots."""
    flat = [dict(_flattened(row)) for row in rows]
    names = list(dict.fromkeys(name for row in flat for name in row))
    return [
        Column(name, [row[name] for row in flat if _is_there(row.get(name))], len(rows))
        for name in names
    ]


def _is_there(value: object) -> bool:
    return value is not None and value != [] and (not isinstance(value, str) or bool(value.strip()))


def _flattened(row: Mapping[Any, Any], before: str = "") -> Iterable[tuple[FieldName, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{before}{name}.")
        else:
            yield (f"{before}{name}" if before else name), value
