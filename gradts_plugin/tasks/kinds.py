"""The kinds of tasks: the fields, metrics and formats each has, and how labels are written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Kind = Literal["single", "pair", "regression", "tagging", "multiple_choice"]
Format = Literal["jsonl", "json", "csv", "tsv", "conll", "conllu", "lines", "parquet", "arrow"]
Metric = Literal["accuracy", "f1", "macro_f1", "mcc", "pearson", "spearman", "seqeval_f1"]
Split = Literal["train", "val", "test"]

#: Which roles the fields of a row play, by kind of task; those in brackets may be left out.
ROLES: Mapping[str, tuple[str, ...]] = {
    "single": ("text_a", "label"),
    "pair": ("text_a", "text_b", "label"),
    "regression": ("text_a", "[text_b]", "label"),
    "tagging": ("tokens", "labels"),
    "multiple_choice": ("text_a", "[text_b]", "choices", "label"),
}

METRICS: Mapping[str, tuple[Metric, ...]] = {
    "single": ("accuracy", "f1", "macro_f1", "mcc"),
    "pair": ("accuracy", "f1", "macro_f1", "mcc"),
    "regression": ("pearson", "spearman"),
    "tagging": ("accuracy", "macro_f1", "seqeval_f1"),
    "multiple_choice": ("accuracy",),
}

SUFFIXES: Mapping[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".conllu": "conllu",
    ".conllup": "conllu",
    ".txt": "lines",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}

#: Suffixes of compressed files, in front of which their format stands.
COMPRESSED = (".gz", ".bz2", ".xz")

#: Formats whose rows name their own fields, so that `columns` are none of theirs.
NAMED_FIELDS: tuple[Format, ...] = ("jsonl", "json", "parquet", "arrow")

#: Formats whose columns have numbers.
NUMBERED_COLUMNS: tuple[Format, ...] = ("csv", "tsv", "conll", "conllu")

#: What is no label in any set, as PyTorch's losses have it.
IGNORED = "-100"

#: What data write where there is no label, by kind of task; in some sets these are classes.
NO_LABELS: Mapping[str, tuple[str, ...]] = {
    "single": (IGNORED, "-1", "-", "nan", "NaN"),
    "pair": (IGNORED, "-1", "-", "nan", "NaN"),
    "regression": (),
    "tagging": (IGNORED, "-1", "_", "nan", "NaN"),
    "multiple_choice": (IGNORED, "-1"),
}

_WHOLE_NUMBER = re.compile(r"(-?[0-9]+)\.0+")


def label_name(value: object) -> str:
    """A label as it is written in task configs.

    Numbers and truth values become text: data often carry 0, 1.0 (a column with gaps) or true where
    a config says "0", "1" or "true". So does the text 1.0, which tables have for such a column.
    White space around a label is none of it.

    Raises:
        ValueError: the value is neither text nor a number.
    """
    if isinstance(value, str):
        name = value.strip()
        whole = _WHOLE_NUMBER.fullmatch(name) if name.endswith("0") else None
        return whole[1] if whole else name
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    raise ValueError(f"a label is text or a number, not {type(value).__name__}")
