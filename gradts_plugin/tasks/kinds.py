"""The kinds of tasks: the fields, metrics and formats each has, and how labels are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Kind = Literal["single", "pair", "regression", "tagging", "multiple_choice"]
Format = Literal["jsonl", "csv", "tsv", "conll"]
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
    ".csv": "csv",
    ".tsv": "tsv",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".iob2": "conll",
}


def label_name(value: object) -> str:
    """A label as it is written in task configs.

    Numbers and truth values become text: data often carry 0, 1.0 (a column with gaps) or true where
    a config says "0", "1" or "true".

    Raises:
        ValueError: the value is neither text nor a number.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise ValueError(f"a label is text or a number, not {type(value).__name__}")
