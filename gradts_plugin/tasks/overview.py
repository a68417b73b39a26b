"""What a task config reads: rows, labels and lengths of each split, and what was left out."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradts_plugin.errors import ConfigError, GradTSError
from gradts_plugin.tasks.examples import Example
from gradts_plugin.tasks.kinds import Split
from gradts_plugin.tasks.reading import read_split, sources_of, task_labels
from gradts_plugin.tasks.task_configs import SPLITS, TaskConfig

#: Rows whose length is measured, at most.
_MEASURED: Final = 2000


@dataclass(frozen=True)
class Lengths:
    """Lengths of a split's rows, special tokens included.

    Attributes:
        shortest: of all.
        median: of all.
        most: 95 of 100 rows are no longer.
        longest: of all.
        num_cut: rows beyond the maximum length, which are cut; None where no tokens were counted.
        num_rows: how many rows were measured.
    """

    shortest: int
    median: int
    most: int
    longest: int
    num_cut: int | None
    num_rows: int


@dataclass(frozen=True)
class SplitOverview:
    """One split.

    Attributes:
        split: train, val or test.
        source: its files, or its place in a dataset.
        problem: why it cannot be read; None: it can.
        num_rows: rows that are kept.
        num_trained: training rows after `max_train_examples`.
        left_out: what was left out or ignored, and why.
        labels: label -> how many rows (of tags: words) have it; rows without one under "".
        scores: lowest, mean and highest score of a regression task.
        lengths: of its rows.
        rows: the first rows as the encoder reads them, each with its label.
    """

    split: str
    source: str
    problem: str | None = None
    num_rows: int = 0
    num_trained: int = 0
    left_out: tuple[str, ...] = ()
    labels: Mapping[str, int] | None = None
    scores: tuple[float, float, float] | None = None
    lengths: Lengths | None = None
    rows: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskOverview:
    """A task as it was read.

    Attributes:
        name: the task.
        kind: its kind.
        metric: what it is scored by.
        labels: in the order of their ids.
        unit: of the lengths: `tokens` of the encoder, or `words` where none was named.
        splits: those that the config names.
    """

    name: str
    kind: str
    metric: str
    labels: tuple[str, ...]
    unit: str
    splits: tuple[SplitOverview, ...]


#: A row's texts, to how long it is and how it is read.
_Reading = Callable[[Example], tuple[int, str]]


def overview(
    config: TaskConfig,
    data_folder: Path,
    *,
    encoder: str | None = None,
    max_seq_length: int = 128,
    num_rows: int = 3,
) -> TaskOverview:
    """Reads all splits of a task, and says what was found.

    Args:
        config: the task.
        data_folder: where relative paths of the config start.
        encoder: name or folder of an encoder, whose tokens are counted; None: words are.
        max_seq_length: rows beyond are cut.
        num_rows: how many rows of each split are shown.

    Raises:
        ConfigError: the config does not fit its data, or there is no such encoder.
        DataError: the training split cannot be read.
    """
    labels = task_labels(config, data_folder)
    reading = _as_words if encoder is None else _as_tokens(encoder, max_seq_length)
    limit = None if encoder is None else max_seq_length
    return TaskOverview(
        name=config.name,
        kind=config.kind,
        metric=config.metric,
        labels=labels,
        unit="words" if encoder is None else "tokens",
        splits=tuple(
            _split(config, split, data_folder, labels, reading, limit, num_rows)
            for split in SPLITS
            if sources_of(config, split, data_folder)
        ),
    )


def _split(
    config: TaskConfig,
    split: Split,
    data_folder: Path,
    labels: tuple[str, ...],
    reading: _Reading,
    limit: int | None,
    num_rows: int,
) -> SplitOverview:
    source = ", ".join(sources_of(config, split, data_folder))
    found = read_split(config, split, data_folder, labels=labels)
    counts: Counter[str] = Counter()
    scores = _Scores()
    sample = _Sample()
    rows: list[str] = []
    try:
        for example in found:
            counts.update(_label_names(example, labels))
            if isinstance(example.label, float):
                scores.add(example.label)
            if sample.wants():
                sample.put(reading(example)[0])
            if len(rows) < num_rows:
                rows.append(f"{reading(example)[1]}  =>  {_shown_label(example, labels)}")
    except GradTSError as error:
        if split == "train":
            raise
        return SplitOverview(split, source, problem=str(error))
    cap = config.max_train_examples if split == "train" else None
    named = {label: counts[label] for label in labels} | ({"": counts[""]} if counts[""] else {})
    return SplitOverview(
        split=split,
        source=source,
        num_rows=sample.num_seen,
        num_trained=min(sample.num_seen, cap or sample.num_seen) if split == "train" else 0,
        left_out=tuple(found.left_out()),
        labels=None if config.kind == "regression" else named,
        scores=scores.found() if config.kind == "regression" else None,
        lengths=_lengths(sample.kept, limit),
        rows=tuple(rows),
    )


def _label_names(example: Example, labels: Sequence[str]) -> list[str]:
    """The labels of a row, or of its words; "" for a row or word without one."""
    if example.tokens:
        return [label or "" for label in example.labels] or [""] * len(example.tokens)
    if isinstance(example.label, int):  # of multiple choice: a position
        return [labels[example.label]]
    return ["" if example.label is None else str(example.label)]


@dataclass
class _Scores:
    """Lowest, sum, highest and number of scores."""

    low: float = math.inf
    total: float = 0.0
    high: float = -math.inf
    number: int = 0

    def add(self, score: float) -> None:
        self.low, self.high = min(self.low, score), max(self.high, score)
        self.total += score
        self.number += 1

    def found(self) -> tuple[float, float, float] | None:
        """Lowest, mean and highest; None where there is none."""
        return (self.low, self.total / self.number, self.high) if self.number else None


class _Sample:
    """Lengths of a seeded sample of rows, whose number is not known before.

    Attributes:
        kept: the lengths.
        num_seen: rows that came by.
    """

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.num_seen = 0
        self._chance = random.Random(0)  # noqa: S311
        self._place = 0

    def wants(self) -> bool:
        """Whether the next row is drawn."""
        self._place = self.num_seen
        self.num_seen += 1
        if self._place >= _MEASURED:
            self._place = self._chance.randrange(self.num_seen)
        return self._place < _MEASURED

    def put(self, length: int) -> None:
        """The length of the row that was drawn, in place of another."""
        self.kept[self._place : self._place + 1] = [length]


def _lengths(measured: Sequence[int], limit: int | None) -> Lengths:
    ordered = sorted(measured)
    last = len(ordered) - 1
    return Lengths(
        shortest=ordered[0],
        median=ordered[last // 2],
        most=ordered[round(0.95 * last)],
        longest=ordered[-1],
        num_cut=None if limit is None else sum(length > limit for length in ordered),
        num_rows=len(ordered),
    )


def _shown_label(example: Example, labels: Sequence[str]) -> str:
    if example.tokens:
        return " ".join(label or "-" for label in example.labels) or "no label"
    if isinstance(example.label, int):
        return f"{labels[example.label]} ({example.choices[example.label]})"
    return "no label" if example.label is None else str(example.label)


def _texts(example: Example) -> list[tuple[str, str | None]]:
    """What the encoder is given of a row: one text or pair, or one for each choice."""
    if example.choices:
        prompt = " ".join(text for text in (example.text_a, example.text_b) if text)
        return [(prompt, choice) for choice in example.choices]
    return [(" ".join(example.tokens) or example.text_a, example.text_b)]


def _as_words(example: Example) -> tuple[int, str]:
    """Words between white space, and the texts apart by bars."""
    texts = [" | ".join(text for text in pair if text is not None) for pair in _texts(example)]
    longest = max(sum(len((text or "").split()) for text in pair) for pair in _texts(example))
    return longest, " || ".join(texts)


def _as_tokens(encoder: str, max_seq_length: int) -> _Reading:
    """The tokens of an encoder, and what they spell once they are cut.

    Raises:
        ConfigError: there is no such encoder.
    """
    from transformers import AutoTokenizer  # takes seconds to import

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(encoder)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ConfigError(f"encoder {encoder!r}: {first_line}") from error

    def reading(example: Example) -> tuple[int, str]:
        ids = [tokenizer(*pair, verbose=False)["input_ids"] for pair in _texts(example)]
        cut = [
            tokenizer(*pair, truncation=True, max_length=max_seq_length)["input_ids"]
            for pair in _texts(example)
        ]
        return max(map(len, ids)), " || ".join(tokenizer.decode(each) for each in cut)

    return reading
