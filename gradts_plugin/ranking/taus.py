"""Correlations between tasks, and between a task and single instances (Ma et al. 2021, section 3).

Symbols: T tasks (the primary first), S fine-tuning seeds, N instances,
L layers, H heads, n = L * H.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gradts_plugin.errors import PluginError, SelectionError
from gradts_plugin.offers import Correlation
from gradts_plugin.protocols import ImportanceSource
from gradts_plugin.ranking.correlation import (
    layer_normal,
    layer_shares,
    require_rankable,
    why_matrix_is_unrankable,
    without_common,
)
from gradts_plugin.records import FloatArray, IntArray
from gradts_plugin.stores.importances import mean_importance


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
        raise SelectionError(f"tasks were probed on different encoders: {listed(shapes)}")
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


def all_profiles(
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


def why_unrankable(sources: Sequence[ImportanceSource]) -> str | None:
    """Why a task's importances leave nothing to rank; None where they can be ranked."""
    reasons = (why_matrix_is_unrankable(mean_importance(source)) for source in sources)
    return next((reason for reason in reasons if reason), None)


def null_taus(
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


def task_taus(correlation: Correlation, profiles: FloatArray) -> FloatArray:
    """All task-task taus, mean over pairs of seeds: profiles (T, S, n) give (T, T), symmetric."""
    num_tasks = len(profiles)
    taus = np.eye(num_tasks)
    for task in range(num_tasks - 1):
        taus[task, task + 1 :] = mean_taus(correlation, profiles[task:])
        # Mirrored: a correlation added by a plugin need not be symmetric to the last digit.
        taus[task + 1 :, task] = taus[task, task + 1 :]
    return taus


def first_with_others(correlation: Correlation, profiles: FloatArray) -> FloatArray:
    """Correlates the first task with all others: profiles (T, S, n) give taus (T - 1, S, S)."""
    num_tasks, num_seeds, num_heads = profiles.shape
    others = profiles[1:].reshape(-1, num_heads)
    taus = np.stack([_correlated(correlation, profile, others) for profile in profiles[0]], axis=1)
    return taus.reshape(num_tasks - 1, num_seeds, num_seeds).swapaxes(1, 2)


def mean_taus(correlation: Correlation, profiles: FloatArray) -> FloatArray:
    """The first task's taus, mean over pairs of seeds: profiles (T, S, n) give (T - 1,)."""
    taus: FloatArray = first_with_others(correlation, profiles).mean(axis=(1, 2))
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


def listed(values: set[int] | set[tuple[int, int]]) -> str:
    """Values as words, in order."""
    return ", ".join(str(value) for value in sorted(values))
