"""Dev and test splits taken from the training data: seeded, stratified, no text in both."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from gradts_plugin.tasks.examples import Example
from gradts_plugin.tasks.kinds import Split
from gradts_plugin.tasks.sources import HeldOut

#: Strata of a task whose labels are scores.
_SCORE_STRATA: Final = 10

#: Rows that share a text, as positions among the examples.
_Group = tuple[int, ...]


def held_out_positions(
    examples: Iterable[Example], held_out: HeldOut, split: Split
) -> Sequence[bool]:
    """Which examples are those of one split, where others were taken from the training data.

    Rows that share a text (apart from case and white space) stay together, so that none is in two
    splits. In some sets of pairs that ties more than half of the rows together; there only rows
    whose texts are all the same do. Each class keeps its share of every split, as do high and low
    scores, and at least one group of rows for training.

    Args:
        examples: all of the training data, in the order of the data; of each only its label and
            digests of its texts are kept.
        held_out: how large the parts are.
        split: train, val or test.

    Returns:
        True for the examples of the part; nowhere true where there are too few rows.
    """
    labels: list[object] = []
    texts: list[tuple[bytes, ...]] = []
    for example in examples:
        labels.append(example.label)
        texts.append(tuple(map(_digest, _texts(example))))
    strata = _strata(labels, _groups(texts), random.Random(held_out.seed))  # noqa: S311
    sizes = [sum(map(len, groups)) for groups in strata]
    parts = [""] * len(labels)
    for name in (held_out.drawn_first, _other(held_out.drawn_first)):
        share = held_out.share(name)
        for position in _drawn(strata, sizes, share) if share else ():
            parts[position] = name
    return [part == (split if split != "train" else "") for part in parts]


def _other(split: Split) -> Split:
    return "val" if split == "test" else "test"


def _drawn(strata: Sequence[list[_Group]], sizes: Sequence[int], share: float) -> Iterable[int]:
    """Takes groups out of the strata; what one cannot give exactly, the next makes up for."""
    owed = 0.0
    for groups, size in zip(strata, sizes, strict=True):
        owed += share * size
        # Half a group too many is as far off as half a group too few.
        while len(groups) > 1 and owed >= len(groups[-1]) / 2:
            group = groups.pop()
            owed -= len(group)
            yield from group


def _strata(
    labels: Sequence[object], groups: Iterable[_Group], chance: random.Random
) -> list[list[_Group]]:
    """Groups by the label of their first row, shuffled."""
    scores = sorted(label for label in labels if isinstance(label, float))
    found: defaultdict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        label = labels[group[0]]
        if isinstance(label, float):
            label = _SCORE_STRATA * bisect_left(scores, label) // len(scores)
        found[str(label)].append(group)
    strata = [found[label] for label in sorted(found)]
    for stratum in strata:
        chance.shuffle(stratum)
    return strata


def _groups(texts: Sequence[tuple[bytes, ...]]) -> list[_Group]:
    """Rows that share a text, in the order of their first rows."""
    groups = _tied(texts)
    if max(map(len, groups), default=0) > len(texts) / 2:
        groups = _tied([(b"".join(each),) for each in texts])
    return groups


def _texts(example: Example) -> tuple[str, ...]:
    """What is read of a row, as it is compared; choices are often the same words everywhere."""
    texts = (" ".join(example.tokens) or example.text_a, example.text_b)
    return tuple(" ".join(text.casefold().split()) for text in texts if text is not None)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()


def _tied(texts: Sequence[tuple[bytes, ...]]) -> list[_Group]:
    """Positions that share a text with one another, directly or by way of others."""
    parents: dict[bytes, bytes] = {}

    def root(text: bytes) -> bytes:
        while (parent := parents.setdefault(text, text)) != text:
            parents[text] = parents[parent]
            text = parent
        return text

    for given in texts:
        for text in given[1:]:
            parents[root(text)] = root(given[0])
    members: defaultdict[bytes, list[int]] = defaultdict(list)
    for position, given in enumerate(texts):
        members[root(given[0])].append(position)
    return [tuple(group) for group in members.values()]
