"""The oracle: the best of the subsets that are trained whatever any method selects."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from gradts_plugin.records import Ranking, Trial

#: Every subset is trained for the oracle up to so many candidates.
MAX_CANDIDATES_FOR_ALL_SUBSETS = 4


def best_subset(trials: Iterable[Trial]) -> Trial:
    """The trial with the best mean score, of equal ones the first; an undefined one never is."""
    return max(trials, key=Trial.comparable)


def oracle_order(candidates: Sequence[str], rankings: Sequence[Ranking]) -> tuple[str, ...]:
    """The ranking whose prefixes the oracle looks at.

    Args:
        candidates: all of them.
        rankings: of the compared methods, in their order.

    Returns:
        The first ranking by GradTS of exactly these candidates; without one the first other
        ranking; without any the order in which the candidates were given.
    """
    fitting = [found for found in rankings if set(found.task_order) == set(candidates)]
    fitting.sort(key=lambda found: found.ranker != "heads")
    return fitting[0].task_order if fitting else tuple(candidates)


def oracle_subsets(candidates: Sequence[str], order: Sequence[str]) -> list[tuple[str, ...]]:
    """The subsets an oracle looks at.

    Args:
        candidates: all of them.
        order: the same, best first.

    Returns:
        Every non-empty subset of up to 4 candidates; of more, every single one and every prefix of
        the order.
    """
    if len(candidates) <= MAX_CANDIDATES_FOR_ALL_SUBSETS:
        sizes = range(1, len(candidates) + 1)
        return [subset for size in sizes for subset in itertools.combinations(candidates, size)]
    singles = [(name,) for name in candidates]
    return [*singles, *(tuple(order[:size]) for size in range(2, len(order) + 1))]
