"""Which sets of auxiliaries to try, so that few trainings tell what each candidate adds.

Symbols: k candidates, m sets. A design is an int64 array of shape (m, k), 1 where a candidate is
trained with the primary; its first row is the primary alone.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from gradts_plugin.records import FloatArray, IntArray

#: Primes that leave 3 when divided by 4: each gives a full design of one row more.
_PRIMES = (7, 11, 19)

#: Up to so many candidates sets of half of them are tried; of more they would dilute each other.
MOST_UNDILUTED = 6

#: Keeps sets comparable that cannot tell all effects apart yet.
_RIDGE = 1e-6

#: How often the search for the best rows starts.
_NUM_STARTS = 8


def full_design(num_candidates: int) -> IntArray:
    """A Hadamard design: every candidate in half of the sets, any two of them in a quarter.

    Plackett and Burman 1946, by Paley's construction. Each effect then has a standard error of
    2 / sqrt(m) spreads of a score, 0.71 for m = 8; one set against the primary alone has 1.41.

    Args:
        num_candidates: k, at most 19.

    Returns:
        The design of 8, 12 or 20 rows, the fewest above k; with one or two candidates all sets,
        each once. The smaller sets first, of equal sizes those of earlier candidates.
    """
    prime = next(prime for prime in _PRIMES if prime >= num_candidates)
    squares = {number * number % prime for number in range(prime)}
    is_square = np.array([number in squares for number in range(prime)])
    places = np.arange(prime)
    shifted = is_square[(places[:, None] - places) % prime]
    rows = np.vstack([np.zeros(prime, dtype=bool), shifted])[:, :num_candidates]
    distinct = np.unique(rows, axis=0)[::-1]
    return distinct[np.argsort(distinct.sum(axis=1), kind="stable")].astype(np.int64)


def small_sets(num_candidates: int, most_together: int) -> IntArray:
    """All sets of at most so many candidates, the smaller first; shape (m, k)."""
    return np.array(
        [
            [place in chosen for place in range(num_candidates)]
            for size in range(most_together + 1)
            for chosen in combinations(range(num_candidates), size)
        ],
        dtype=np.int64,
    )


def design(num_candidates: int, most_rows: int, most_together: int | None = None) -> IntArray:
    """The design that tells most of the candidates' effects with so many sets.

    Args:
        num_candidates: k, the best first.
        most_rows: how many sets can be tried, the primary alone among them; at least 2.
        most_together: of more than `MOST_UNDILUTED` candidates at most so many are in one set;
            None: half of them.

    Returns:
        The design. It has one candidate less than rows at most, since no effect is known
        otherwise, and no more rows than the full one.
    """
    number = min(num_candidates, most_rows - 1)
    pool = full_design(number)
    num_rows = min(most_rows, len(pool))
    if most_together is not None and number > MOST_UNDILUTED:
        pool = small_sets(number, most_together)
    return pool[best_rows(pool, num_rows)]


def best_rows(pool: IntArray, num_rows: int) -> IntArray:
    """The rows of a pool that tell most together (D-optimal, by greedy choice and exchange).

    Args:
        pool: sets to choose from, shape (M, k), the primary alone first.
        num_rows: how many, at most M.

    Returns:
        Places in the pool, ascending, shape (num_rows,); the first is 0. Of equally good choices
        the first that is found is taken.
    """
    if num_rows >= len(pool):
        return np.arange(len(pool))
    terms = np.column_stack([np.ones(len(pool)), pool])
    # A choice can be stuck where no single exchange helps; another start is not stuck there.
    starts = range(1, len(pool), -(-len(pool) // _NUM_STARTS))
    found = [_exchanged(terms, [0, start], num_rows) for start in starts]
    values = [round(_information(terms, chosen), 9) for chosen in found]
    return np.sort(np.array(found[values.index(max(values))]))


def _exchanged(terms: FloatArray, start: list[int], num_rows: int) -> list[int]:
    """Rows added one by one, then each exchanged for a better one while there is one."""
    chosen = start[:num_rows]
    while len(chosen) < num_rows:
        chosen.append(_best_addition(terms, chosen))
    improved = True
    while improved:
        improved = False
        for place in range(1, num_rows):
            others = [*chosen[:place], *chosen[place + 1 :]]
            better = [*others, _best_addition(terms, others)]
            if _information(terms, better) > _information(terms, chosen) + 1e-9:
                chosen, improved = better, True
    return chosen


def _best_addition(terms: FloatArray, chosen: list[int]) -> int:
    """The row that adds most to those chosen; one that is chosen adds nothing new."""
    inverse = np.linalg.inv(_moments(terms, chosen))
    gained = np.einsum("mi,ij,mj->m", terms, inverse, terms)
    gained[chosen] = -1.0
    # Rounding must not decide between equal ones.
    return int(np.flatnonzero(gained >= gained.max() * (1 - 1e-9))[0])


def _information(terms: FloatArray, chosen: list[int]) -> float:
    return float(np.linalg.slogdet(_moments(terms, chosen))[1])


def _moments(terms: FloatArray, chosen: list[int]) -> FloatArray:
    taken = terms[chosen]
    moments: FloatArray = taken.T @ taken + _RIDGE * np.eye(terms.shape[1])
    return moments
