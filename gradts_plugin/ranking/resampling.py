"""Taus under resampled instances, in memory that does not grow with the number of tasks.

Symbols: T tasks (the primary first), S fine-tuning seeds, B draws, L layers, H heads, n = L * H.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from gradts_plugin.offers import Correlation
from gradts_plugin.protocols import ImportanceSource
from gradts_plugin.ranking.correlation import layer_normal, layer_shares, without_common
from gradts_plugin.ranking.intervals import agreements, generator
from gradts_plugin.ranking.taus import mean_taus
from gradts_plugin.records import FloatArray, IntArray

# Bootstrap weights held in memory at once; 8 bytes each.
_BLOCK_WEIGHTS = 1 << 21

# Resampled profiles held in memory at once, those of the primary and of a task at least; 8 bytes
# each.
_BLOCK_PROFILES = 1 << 23


def resampled(
    correlation: Correlation,
    profiles: FloatArray,
    sources: Mapping[str, Sequence[ImportanceSource]],
    bootstrap: int,
    seed: int,
    *,
    remove_common: bool,
) -> tuple[FloatArray, FloatArray]:
    """What resampling the instances of all tasks does to their profiles and taus.

    Args:
        correlation: correlates one profile of shape (n,) with many.
        profiles: of the instances as they are, shape (T, S, n).
        sources: raw importances of each task, one for each seed; the primary first.
        bootstrap: number of draws, B.
        seed: makes the draws repeatable.
        remove_common: divide the mean profile of all tasks out, of every draw its own.

    Returns:
        How far each task agrees with another sample of itself (`intervals.agreements`), shape (T,),
        and the first task's taus with all others, shape (B, T - 1).
    """
    names = tuple(sources)
    num_seeds, num_heads = profiles.shape[1:]
    normal = layer_shares if remove_common else layer_normal

    def of(task: int) -> FloatArray:
        name = names[task]
        found = _resampled_profiles(sources[name], bootstrap, generator(seed, name), normal)
        return found if common is None else without_common(found, common)

    common: FloatArray | None = None
    if remove_common:
        total = np.zeros((bootstrap, num_heads))
        for task in range(len(names)):
            for profile in of(task):
                total += profile
        common = total / (len(names) * num_seeds)
    # The primary's stay; others come and go.
    size = max(1, _BLOCK_PROFILES // (num_seeds * bootstrap * num_heads) - 1)
    held = np.empty((min(1 + size, len(names)), num_seeds, bootstrap, num_heads))
    held[0] = of(0)
    agreed, taus = [agreements(correlation, profiles[:1], held[:1])], []
    for start in range(1, len(names), size):
        others = profiles[start : start + size]
        for place in range(len(others)):
            held[1 + place] = of(start + place)
        here = held[: 1 + len(others)]
        agreed.append(agreements(correlation, others, here[1:]))
        taus.append(np.stack([mean_taus(correlation, draw) for draw in np.moveaxis(here, 2, 0)]))
    return np.concatenate(agreed), np.concatenate(taus, axis=1)


def _resampled_profiles(
    sources: Sequence[ImportanceSource],
    bootstrap: int,
    generator: np.random.Generator,
    normal: Callable[[FloatArray], FloatArray],
) -> FloatArray:
    """Profiles of one task under resampled instances, shape (S, B, n)."""
    # Every seed starts from the same state: the same instances get the same weights, since it is
    # one and the same sample of instances that all seeds of a task were probed on.
    state = generator.bit_generator.state
    profiles = []
    for source in sources:
        generator.bit_generator.state = state
        matrices = _resampled_matrices(source, bootstrap, generator)
        profiles.append(normal(matrices).reshape(bootstrap, -1))
    return np.stack(profiles)


def _resampled_matrices(
    source: ImportanceSource, bootstrap: int, generator: np.random.Generator
) -> FloatArray:
    """Task matrices under resampled instances, in one pass over the source.

    Returns:
        float64 array of shape (B, L, H).
    """
    num_instances, num_layers, num_heads = source.shape
    sums = np.zeros((bootstrap, num_layers * num_heads))
    # Instances still to be drawn of each resample, and rows that are still to come.
    to_draw = np.full(bootstrap, num_instances)
    rows_left = num_instances
    for example_ids, importances in source.batches():
        num_rows = len(example_ids)
        values = importances.reshape(num_rows, -1).astype(np.float64)
        drawn = generator.binomial(to_draw, num_rows / rows_left)
        for block, weights in _weight_blocks(drawn, num_rows, generator):
            sums[block] += weights @ values
        to_draw -= drawn
        rows_left -= num_rows
    return (sums / num_instances).reshape(bootstrap, num_layers, num_heads)


def _weight_blocks(
    drawn: IntArray, num_rows: int, generator: np.random.Generator
) -> Iterator[tuple[slice, FloatArray]]:
    """Spreads each resample's draws evenly over rows: blocks of multinomial weights (b, rows)."""
    step = max(1, _BLOCK_WEIGHTS // num_rows)
    for start in range(0, len(drawn), step):
        counts = drawn[start : start + step]
        resample = np.repeat(np.arange(len(counts)), counts)
        row = generator.integers(num_rows, size=len(resample))
        weights = np.bincount(resample * num_rows + row, minlength=len(counts) * num_rows)
        yield (
            slice(start, start + len(counts)),
            weights.reshape(len(counts), num_rows).astype(np.float64),
        )
