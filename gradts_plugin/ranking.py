"""Ranking candidates by how much they rely on the same heads as the primary task.

Task-task correlations, their uncertainty, and the correlation of single instances with the
primary task (Ma et al. 2021, section 3). Symbols: T tasks (the primary first), C = T - 1
candidates, S fine-tuning seeds, B bootstrap draws, N instances, L layers, H heads, n = L * H.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from gradts_plugin.correlation import (
    layer_normal,
    layer_shares,
    require_rankable,
    without_common,
)
from gradts_plugin.errors import PluginError, SelectionError
from gradts_plugin.records import (
    Correlation,
    FloatArray,
    ImportanceSource,
    IntArray,
    RankedTask,
    Ranking,
)
from gradts_plugin.store import mean_importance

__all__ = ["common_profile", "instance_taus", "rank_candidates"]

# Bootstrap weights held in memory at once; 8 bytes each.
_BLOCK_WEIGHTS = 1 << 21


def rank_candidates(
    primary_task: str,
    sources: Mapping[str, Sequence[ImportanceSource]],
    *,
    correlation: Correlation,
    bootstrap: int,
    confidence: float,
    seed: int,
    remove_common: bool = False,
    controls: Sequence[ImportanceSource] = (),
) -> Ranking:
    """Ranks candidate tasks by the correlation of their head importance with the primary's.

    A task's matrix is the mean of its instances' raw matrices, then layer-normalised. tau is the
    mean correlation over all pairs of fine-tuning seeds, one of the primary and one of the
    candidate. Candidates are sorted by tau, descending; ties keep the given order.

    The intervals come from joint draws of two parts, added:

    - *Instances*: the instances of every task are resampled with replacement, and matrices and
      taus are computed again. All seeds of a task that were probed on the same instances get the
      same resample. Each draw counts as its deviation from the mean of all draws, added to tau.
      Recentred because a resample is noisier than the data, and noise in either matrix pulls tau
      towards zero: the raw draws scatter around a value below the estimate itself.
    - *Fine-tuning seeds* (S > 1): the seeds of every task are resampled with replacement, and the
      pairs averaged again; deviations are scaled by sqrt(S / (S - 1)), because resampling S
      values scatters less than S new ones would. This part is usually the larger one; with one
      seed it is missing, and `covers` says so. With two or three seeds it is a rough guess.

    An interval covers the tau that probing other instances (and fine-tuning with other seeds)
    would give on average at this number of instances. It does not undo that noise pulls this
    average towards zero, so few or noisy instances make all taus smaller.

    The random numbers of a task depend on `seed` and the task's name only: neither the order of
    the candidates nor who else is a candidate changes an interval.

    Args:
        primary_task: the task to help.
        sources: raw importances of the primary and of every candidate, one for each
            fine-tuning seed.
        correlation: correlates one profile of shape (n,) with many of shape (M, n).
        bootstrap: number of draws, B.
        confidence: level of the intervals, in (0, 1).
        seed: makes the draws repeatable.
        remove_common: correlate what is left of the profiles when the mean profile of all tasks
            is divided out (of every bootstrap draw its own).
        controls: candidates that were probed with shuffled labels; their taus with the primary
            become the ranking's `null_taus`.

    Returns:
        The ranking; `task_names` is the primary, then the candidates as given.

    Raises:
        SelectionError: no candidate, an unprobed primary, unequal numbers of seeds, or tasks that
            were probed on encoders of different shape.
        DegenerateImportanceError: a task's matrix leaves nothing to rank.
        PluginError: the correlation's answer has a wrong shape or values outside [-1, 1].
    """
    names = _task_names(primary_task, sources)
    num_seeds, num_layers, num_heads = _common_shape(names, sources)
    profiles, common = _all_profiles(names, sources, remove_common)

    task_taus = _task_taus(correlation, profiles)
    taus = task_taus[0, 1:]

    normal = layer_shares if remove_common else layer_normal
    resampled = np.stack(
        [
            _resampled_profiles(sources[name], bootstrap, _generator(seed, name), normal)
            for name in names
        ]
    )
    if remove_common:
        resampled = without_common(resampled, resampled.mean(axis=(0, 1)))
    deviations = _centred(
        np.stack([_mean_taus(correlation, draw) for draw in np.moveaxis(resampled, 2, 0)])
    )
    if num_seeds > 1:
        deviations += _seed_deviations(
            _first_with_others(correlation, profiles), names, bootstrap, seed
        )
    # Rounded, so that the last bits of a mean do not decide which of two equal draws is above.
    draws = np.round(taus + deviations, 12)

    tail = (1 - confidence) / 2
    low, high = np.clip(np.quantile(draws, [tail, 1 - tail], axis=0), -1.0, 1.0)
    # With few heads the draws take few values and are skewed; an interval holds its own estimate.
    low, high = np.minimum(low, taus), np.maximum(high, taus)
    order = np.argsort(-taus, kind="stable")
    return Ranking(
        primary_task=primary_task,
        candidates=tuple(
            RankedTask(
                task_name=names[1 + here],
                tau=float(taus[here]),
                interval=(float(low[here]), float(high[here])),
                probability_above_next=(
                    None if below is None else _probability_above(draws[:, here], draws[:, below])
                ),
            )
            for here, below in zip(order, [*order[1:], None], strict=True)
        ),
        confidence=confidence,
        num_seeds=num_seeds,
        covers=("instances", "fine-tuning seeds") if num_seeds > 1 else ("instances",),
        num_heads_total=num_layers * num_heads,
        task_names=names,
        task_taus=task_taus,
        null_taus=_null_taus(correlation, profiles[0], controls, common),
    )


def common_profile(sources: Mapping[str, Sequence[ImportanceSource]]) -> FloatArray:
    """Mean layer shares of all tasks and seeds, shape (n,)."""
    shares = [
        layer_shares(mean_importance(source)).ravel()
        for of_task in sources.values()
        for source in of_task
    ]
    mean: FloatArray = np.mean(shares, axis=0)
    return mean


def instance_taus(
    primary_sources: Sequence[ImportanceSource],
    auxiliary_sources: Sequence[ImportanceSource],
    *,
    correlation: Correlation,
    common: FloatArray | None = None,
) -> tuple[IntArray, FloatArray]:
    """Correlates every probed instance of an auxiliary task with the primary task.

    The primary's layer-normalised task matrix against each instance's own layer-normalised
    matrix (Ma et al. 2021, section 3), averaged over the primary's fine-tuning seeds, and by
    example id over the auxiliary's. An instance whose matrix is constant has tau 0.

    Args:
        primary_sources: the primary's raw importances, one for each fine-tuning seed.
        auxiliary_sources: the auxiliary's, one for each fine-tuning seed.
        correlation: correlates one profile of shape (n,) with many of shape (M, n).
        common: what all tasks have in common (`common_profile`), to be divided out; None: nothing.

    Returns:
        (example ids int64 of shape (N,), ascending; taus float64 of shape (N,)).

    Raises:
        SelectionError: no source, or encoders of different shape.
        DegenerateImportanceError: the primary's matrix leaves nothing to rank.
        PluginError: the correlation's answer has a wrong shape or values outside [-1, 1].
    """
    if not primary_sources or not auxiliary_sources:
        raise SelectionError("a task has no probed instances to correlate")
    shapes = {source.shape[1:] for source in (*primary_sources, *auxiliary_sources)}
    if len(shapes) > 1:
        raise SelectionError(f"tasks were probed on different encoders: {_listed(shapes)}")
    references = _profiles("the primary", primary_sources, common)
    all_ids, all_taus = [], []
    for source in auxiliary_sources:
        for example_ids, importances in source.batches():
            if common is None:
                others = layer_normal(importances).reshape(len(example_ids), -1)
            else:
                shares = layer_shares(importances).reshape(len(example_ids), -1)
                others = without_common(shares, common)
            taus = [_correlated(correlation, reference, others) for reference in references]
            all_ids.append(np.asarray(example_ids, dtype=np.int64))
            all_taus.append(np.mean(taus, axis=0))
    ids, positions = np.unique(np.concatenate(all_ids), return_inverse=True)
    sums = np.bincount(positions, weights=np.concatenate(all_taus))
    return ids, sums / np.bincount(positions)


# --- matrices and correlations ------------------------------------------------------------------


def _all_profiles(
    names: Sequence[str], sources: Mapping[str, Sequence[ImportanceSource]], remove_common: bool
) -> tuple[FloatArray, FloatArray | None]:
    """Profiles of all tasks, shape (T, S, n), and what they have in common where it was removed."""
    common = common_profile({name: sources[name] for name in names}) if remove_common else None
    return np.stack([_profiles(name, sources[name], common) for name in names]), common


def _profiles(
    task_name: str, sources: Sequence[ImportanceSource], common: FloatArray | None = None
) -> FloatArray:
    """Layer-normalised, flattened task matrices of one task, shape (S, n)."""
    matrices = [mean_importance(source) for source in sources]
    for matrix in matrices:
        require_rankable(matrix, task_name)
    if common is not None:
        return without_common(layer_shares(np.stack(matrices)).reshape(len(matrices), -1), common)
    return layer_normal(np.stack(matrices)).reshape(len(matrices), -1)


def _null_taus(
    correlation: Correlation,
    primary: FloatArray,
    controls: Sequence[ImportanceSource],
    common: FloatArray | None,
) -> tuple[float, ...]:
    """Taus of the primary's profiles (S, n) with each control, mean over the primary's seeds."""
    if not controls:
        return ()
    others = _profiles("a control", controls, common)
    taus = [_correlated(correlation, reference, others) for reference in primary]
    return tuple(float(tau) for tau in np.mean(taus, axis=0))


def _task_taus(correlation: Correlation, profiles: FloatArray) -> FloatArray:
    """All task-task taus, mean over pairs of seeds: profiles (T, S, n) give (T, T), symmetric."""
    num_tasks = len(profiles)
    taus = np.eye(num_tasks)
    for task in range(num_tasks - 1):
        taus[task, task + 1 :] = _mean_taus(correlation, profiles[task:])
        # Mirrored: a correlation added by a plugin need not be symmetric to the last digit.
        taus[task + 1 :, task] = taus[task, task + 1 :]
    return taus


def _first_with_others(correlation: Correlation, profiles: FloatArray) -> FloatArray:
    """Correlates the first task with all others: profiles (T, S, n) give taus (T - 1, S, S)."""
    num_tasks, num_seeds, num_heads = profiles.shape
    others = profiles[1:].reshape(-1, num_heads)
    taus = np.stack([_correlated(correlation, profile, others) for profile in profiles[0]], axis=1)
    return taus.reshape(num_tasks - 1, num_seeds, num_seeds).swapaxes(1, 2)


def _mean_taus(correlation: Correlation, profiles: FloatArray) -> FloatArray:
    """The first task's taus, mean over pairs of seeds: profiles (T, S, n) give (T - 1,)."""
    taus: FloatArray = _first_with_others(correlation, profiles).mean(axis=(1, 2))
    return taus


def _correlated(correlation: Correlation, reference: FloatArray, others: FloatArray) -> FloatArray:
    """Calls a correlation and checks its answer, which may come from a plugin."""
    taus = np.asarray(correlation(reference, others), dtype=np.float64)
    if taus.shape != (len(others),):
        raise PluginError(
            f"the correlation answered with shape {taus.shape}, expected {(len(others),)}"
        )
    # NaN fails this comparison too.
    if not (np.abs(taus) <= 1 + 1e-9).all():
        worst = taus[~(np.abs(taus) <= 1 + 1e-9)][0]
        raise PluginError(f"the correlation answered {worst}, expected values in [-1, 1]")
    clipped: FloatArray = np.clip(taus, -1.0, 1.0)
    return clipped


# --- uncertainty --------------------------------------------------------------------------------


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


def _seed_deviations(
    pair_taus: FloatArray, names: Sequence[str], bootstrap: int, seed: int
) -> FloatArray:
    """Deviations of tau under resampled fine-tuning seeds.

    Args:
        pair_taus: shape (C, S, S), the primary's seeds first.
        names: the primary, then the candidates.
        bootstrap: number of draws, B.
        seed: makes the draws repeatable.

    Returns:
        Array of shape (B, C).
    """
    num_seeds = pair_taus.shape[1]
    even = np.full(num_seeds, 1 / num_seeds)
    shares = [
        _generator(seed, name, "seeds").multinomial(num_seeds, even, size=bootstrap) / num_seeds
        for name in names
    ]
    draws = np.stack(
        [
            np.einsum("bi,ij,bj->b", shares[0], taus, candidate_shares)
            for taus, candidate_shares in zip(pair_taus, shares[1:], strict=True)
        ],
        axis=1,
    )
    deviations: FloatArray = _centred(draws) * np.sqrt(num_seeds / (num_seeds - 1))
    return deviations


def _centred(draws: FloatArray) -> FloatArray:
    """Deviations of draws (B, C) from their own mean."""
    deviations: FloatArray = draws - draws.mean(axis=0)
    return deviations


def _probability_above(draws: FloatArray, next_draws: FloatArray) -> float:
    """Share of joint draws in which the one stands above the other; ties count half."""
    return float(np.mean(draws > next_draws) + np.mean(draws == next_draws) / 2)


def _generator(seed: int, task_name: str, purpose: str = "instances") -> np.random.Generator:
    """Random numbers that depend on the seed and the task, not on its place among the tasks."""
    digest = hashlib.sha256(f"{purpose}:{task_name}".encode()).digest()
    words = np.frombuffer(digest, dtype="<u4")
    return np.random.default_rng([seed, *(int(word) for word in words)])


# --- checks -------------------------------------------------------------------------------------


def _task_names(
    primary_task: str, sources: Mapping[str, Sequence[ImportanceSource]]
) -> tuple[str, ...]:
    if primary_task not in sources:
        raise SelectionError(f"the primary task {primary_task!r} was not probed")
    candidates = tuple(name for name in sources if name != primary_task)
    if not candidates:
        raise SelectionError(f"there is no candidate task to rank for {primary_task!r}")
    return (primary_task, *candidates)


def _common_shape(
    names: Sequence[str], sources: Mapping[str, Sequence[ImportanceSource]]
) -> tuple[int, int, int]:
    """(S, L, H), which all tasks must share."""
    numbers = {len(sources[name]) for name in names}
    if len(numbers) > 1 or 0 in numbers:
        raise SelectionError(
            f"tasks were probed with different numbers of fine-tuning seeds: {_listed(numbers)}"
        )
    shapes = {source.shape[1:] for name in names for source in sources[name]}
    if len(shapes) > 1:
        raise SelectionError(f"tasks were probed on different encoders: {_listed(shapes)}")
    ((num_layers, num_heads),) = shapes
    return numbers.pop(), num_layers, num_heads


def _listed(values: set[int] | set[tuple[int, int]]) -> str:
    return ", ".join(str(value) for value in sorted(values))
