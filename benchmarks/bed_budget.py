"""How much of what candidates can add is found with how many trainings, from stored ones.

The plainest search there is: the primary alone at both lengths, then one candidate after the other
in some order, each with one seed; the best of those tried is selected where it helps with enough
probability given all of them, else none. What it selects is worth its test gain with another seed.
Every seed chooses once and every other one scores.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bed
import numpy as np
from bed_replay import STATED, draw, mean_of, with_seeds
from provenance import markdown_table

from gradts_plugin.gains.gain import believed_error, gain_of
from gradts_plugin.gains.shrinkage import p_helps
from gradts_plugin.records import Trial

#: Selected where it helps with at least this probability.
CERTAINTY = 0.8

#: Random orders of the candidates.
ORDERS = 200

#: Name -> the committed ranking whose order is taken; None: random orders.
WAYS = {"heads": "heads", "embedding": "embedding", "size": "size", "random order": None}


def report(
    found: Mapping[str, Mapping[bed.Set, Trial]], order: str, folder: Path
) -> dict[str, Any]:
    """The curves, as a table and a picture.

    Args:
        found: primary -> its trials, all with the same seeds, two or more.
        order: of their steps.
        folder: the picture goes there.

    Returns:
        `results` for JSON, `text` in parts.
    """
    found = {name: trials for name, trials in found.items() if _num_seeds(trials) > 1}
    if not found:
        return {"results": {}, "text": []}
    each = {name: _Primary(name, trials) for name, trials in found.items()}
    oracle = float(np.mean([primary.oracle for primary in each.values()]))
    results: dict[str, Any] = {"oracle": oracle, "ways": {}}
    most = max(len(bed.candidates_of(name)) for name in found)
    for way, ranking in WAYS.items():
        curves = [primary.curve(primary.orders(ranking)) for primary in each.values()]
        results["ways"][way] = np.mean(curves, axis=0).tolist()
    budgets = [2 + number for number in range(1, most + 1)]
    results["budgets"] = budgets
    picture = f"low_resource_budget_{order}.svg"
    draw(budgets, results["ways"], oracle, folder / picture)
    rows = [(way, *(f"{gain:+.3f}" for gain in gains)) for way, gains in results["ways"].items()]
    text = [
        f"## Gain against the number of trainings, {order}",
        f"Mean test gain over {', '.join(found)} of what one candidate after the other finds, each "
        f"with one seed, the two lengths of alone counted; selected where P(helps) is {CERTAINTY} "
        f"or more. The oracle (best dev score of the scoring seeds) gains {oracle:+.3f}.",
        markdown_table(["order", *(f"{budget} trainings" for budget in budgets)], rows),
        f"![Gain against budget]({picture})",
    ]
    statements = _statements(list(each.values()), order)
    return {
        "results": {**results, "statements": statements["results"]},
        "text": [*text, *statements["text"]],
    }


def _statements(primaries: Sequence[_Primary], order: str) -> dict[str, Any]:
    """What P(helps) of one seed's dev gains comes true as, by test gains of the other seeds."""
    stated = [pair for primary in primaries for pair in primary.statements()]
    results = []
    for low, high in itertools.pairwise(STATED):
        among = [pair for pair in stated if low <= pair[0] < high]
        if among:
            means = np.mean(among, axis=0)
            results.append(
                {"from": low, "number": len(among), "stated": means[0], "came_true": means[1]}
            )
    mean_error = float(
        sum(one["number"] * abs(one["stated"] - one["came_true"]) for one in results) / len(stated)
    )
    rows = [
        (
            f"from {one['from']:.1f}",
            one["number"],
            f"{one['stated']:.2f}",
            f"{one['came_true']:.2f}",
        )
        for one in results
    ]
    text = [
        f"## Whether P(helps) comes true, {order}",
        "Of dev gains of single candidates with one seed, given all gains of that seed: how many "
        "are above 0 on test rows with the other seeds, which are noisy themselves. Off by "
        f"{mean_error:.2f} on average.",
        markdown_table(["P(helps)", "statements", "mean", "gains above 0"], rows),
    ]
    return {"results": {"bins": results, "mean_error": mean_error}, "text": text}


def _num_seeds(trials: Mapping[bed.Set, Trial]) -> int:
    return min(len(trial.scores) for trial in trials.values())


class _Primary:
    """What single candidates are worth, seed by seed."""

    def __init__(self, name: str, trials: Mapping[bed.Set, Trial]) -> None:
        self._name = name
        self._candidates = bed.candidates_of(name)
        self._seeds = range(_num_seeds(trials))
        singles = {one: trials[(one,), False] for one in self._candidates}
        # Seed -> candidate -> its gain, and that gain's error.
        self._gains: list[dict[str, tuple[float, float]]] = []
        self._worth: list[dict[str | None, float]] = []  # scoring seeds -> candidate -> test gain
        alone = bed.alone_of(trials)
        self._oracles = []
        for seed in self._seeds:
            baseline = bed.alone_of(
                {each: with_seeds(trial, [seed]) for each, trial in trials.items()}
            )
            self._gains.append(
                {
                    one: (float(gain.gain or 0.0), believed_error(gain))
                    for one, trial in singles.items()
                    for gain in [gain_of(with_seeds(trial, [seed]), baseline)]
                }
            )
            others = [each for each in self._seeds if each != seed]
            worth: dict[str | None, float] = {
                one: mean_of(trial.test_scores, others) - mean_of(alone.test_scores, others)
                for one, trial in singles.items()
            }
            self._worth.append({**worth, None: 0.0})
            on_dev = {
                one: mean_of(trial.scores, others) - mean_of(alone.scores, others)
                for one, trial in singles.items()
            }
            best = max(on_dev, key=on_dev.__getitem__)
            self._oracles.append(self._worth[-1][best if on_dev[best] > 0 else None])

    @property
    def oracle(self) -> float:
        """Mean test gain of the best dev score of the scoring seeds."""
        return float(np.mean(self._oracles))

    def statements(self) -> list[tuple[float, bool]]:
        """Of every seed and candidate: P(helps), and whether it does by the other seeds."""
        return [
            (probability, self._worth[seed][one] > 0)
            for seed in self._seeds
            for one, probability in zip(
                self._gains[seed],
                p_helps(*zip(*self._gains[seed].values(), strict=True)),
                strict=True,
            )
        ]

    def orders(self, ranking: str | None) -> list[Sequence[str]]:
        """That of a committed ranking, or random ones."""
        if ranking is None:
            rng = random.Random(0)
            return [rng.sample(self._candidates, len(self._candidates)) for _ in range(ORDERS)]
        return [bed.ranked(self._name, ranking)]

    def curve(self, orders: Sequence[Sequence[str]]) -> list[float]:
        """Mean test gain of what is selected, after 1, 2, ... candidates."""
        found = [
            [self._worth[seed][self._selected(seed, order[:number])] for seed in self._seeds]
            for order in orders
            for number in range(1, len(self._candidates) + 1)
        ]
        means = np.array(found).mean(axis=1).reshape(len(orders), -1)
        return [float(mean) for mean in means.mean(axis=0)]

    def _selected(self, seed: int, tried: Sequence[str]) -> str | None:
        """The best of those tried, where it is likely enough to help."""
        gains, errors = zip(*(self._gains[seed][one] for one in tried), strict=True)
        place = int(np.argmax(gains))
        return tried[place] if p_helps(gains, errors)[place] >= CERTAINTY else None
