"""The record that rows of every format and kind become, and samples of them."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One instance of a task; what its kind does not have stays empty.

    Attributes:
        index: position in its split, counted before sampling.
        text_a: the text.
        text_b: the second text, or None.
        label: a label's name, a regression score, the position of the right choice; None where an
            unlabelled test split has none.
        tokens: words of a tagging example.
        labels: one label per word, None for a word that has none; empty where no word has one.
        choices: texts of the choices of a multiple-choice example.
    """

    index: int
    text_a: str = ""
    text_b: str | None = None
    label: str | float | int | None = None
    tokens: tuple[str, ...] = ()
    labels: tuple[str | None, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def is_labelled(self) -> bool:
        """Whether there is anything to learn from it, or to score it by."""
        return self.label is not None or bool(self.labels)

    @property
    def class_labels(self) -> set[str]:
        """Names of its labels; of a score or choice nothing that matters."""
        labels = {label for label in self.labels if label is not None}
        return labels if self.label is None else {str(self.label)}


def sample_positions(number: int, limit: int | None, seed: int) -> frozenset[int] | range:
    """A seeded sample of so many positions; all where there are no more than the limit."""
    if limit is None or limit >= number:
        return range(number)
    return frozenset(random.Random(seed).sample(range(number), limit))  # noqa: S311
