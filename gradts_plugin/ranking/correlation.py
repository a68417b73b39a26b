"""Normalising head importance and correlating it with Kendall's tau (Ma et al. 2021, section 3.1).

Symbols: L layers, H heads, n = L * H, M profiles that are compared with one reference.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gradts_plugin.errors import DegenerateImportanceError
from gradts_plugin.records import FloatArray, IntArray

# A matrix whose values differ by less than this share of its largest is constant: what is left
# is rounding, which min-max scaling would blow up to a full ranking.
_CONSTANT_WITHIN = 1e-12

# So many that Python's own time per comparison vanishes, so few that a block of them and its
# comparisons stay in the processor's cache.
_PROFILES_AT_ONCE = 1024


def layer_normal(raw: FloatArray) -> FloatArray:
    """Makes heads of different layers comparable: layer-wise shares, then one global min-max.

    Gradients shrink or grow with depth, so every layer is divided by its own sum first.

    Args:
        raw: non-negative importances of shape (..., L, H); leading axes are separate matrices.

    Returns:
        float64 array of the same shape, each matrix in [0, 1]. A layer of zeros stays zero; a
        matrix that is constant after the division (one head per layer, for one) becomes zero.
    """
    shares = layer_shares(raw)
    low = shares.min(axis=(-2, -1), keepdims=True)
    spread = shares.max(axis=(-2, -1), keepdims=True) - low
    spread = np.where(spread > _CONSTANT_WITHIN * (low + spread), spread, 0.0)
    normal: FloatArray = np.divide(
        shares - low, spread, out=np.zeros_like(shares), where=spread > 0
    )
    return normal


def layer_shares(raw: FloatArray) -> FloatArray:
    """Every layer divided by its own sum; float64, same shape, a layer of zeros stays zero."""
    importance = np.asarray(raw, dtype=np.float64)
    layer_sums = importance.sum(axis=-1, keepdims=True)
    shares: FloatArray = np.divide(
        importance, layer_sums, out=np.zeros_like(importance), where=layer_sums > 0
    )
    return shares


def without_common(shares: FloatArray, common: FloatArray) -> FloatArray:
    """Shares as multiples of what all tasks have in common.

    All tasks on one encoder share that encoder's own profile, which alone makes their taus high;
    divided by it, what is left is the task's own.

    Args:
        shares: layer shares of shape (..., n).
        common: mean layer shares of all tasks, shape (n,) or broadcast against `shares`.

    Returns:
        float64 array of the shape of `shares`; 0 where no task uses a head.
    """
    values, common = np.broadcast_arrays(shares, common)
    multiples: FloatArray = np.divide(values, common, out=np.zeros(values.shape), where=common > 0)
    return multiples


def require_rankable(matrix: FloatArray, task_name: str) -> None:
    """Refuses an importance matrix that leaves nothing to rank.

    Args:
        matrix: raw importances of one task, shape (L, H).
        task_name: for the message.

    Raises:
        DegenerateImportanceError: says whether the matrix is not finite, has one head per layer,
            is all zero, or is constant within every layer.
    """
    reason = why_matrix_is_unrankable(np.asarray(matrix, dtype=np.float64))
    if reason:
        raise DegenerateImportanceError(f"task {task_name!r} cannot be ranked: {reason}")


def why_matrix_is_unrankable(matrix: FloatArray) -> str | None:
    """What leaves nothing to rank in raw importances of shape (L, H); None: nothing does."""
    if not np.isfinite(matrix).all():
        return "its head importance contains NaN or infinity"
    if matrix.shape[-1] == 1:
        return "the encoder has one head per layer, and each head is compared with its own layer"
    if not matrix.any():
        return "its head importance is zero everywhere: nothing is learned from its instances"
    if not layer_normal(matrix).any():
        return "all heads of a layer have the same importance, in every layer"
    return None


def kendall(reference: FloatArray, others: FloatArray) -> FloatArray:
    """Kendall's tau-b between one profile and many, ties included.

    With C concordant and D discordant pairs of heads, and U_x and U_y pairs that are not tied in
    the reference and in the other profile: tau = (C - D) / sqrt(U_x * U_y). The heads are put in
    the reference's order once; then a pair is concordant where the later head is larger in the
    other profile, which one comparison per pair decides for many profiles at a time.

    Args:
        reference: shape (n,).
        others: shape (M, n).

    Returns:
        float64 array of shape (M,), in [-1, 1]; 0.0 where tau is undefined (a constant side).

    Raises:
        ValueError: the shapes do not fit.
        DegenerateImportanceError: a value is NaN.
    """
    reference, others = np.asarray(reference), np.asarray(others)
    if reference.ndim != 1 or others.ndim != 2 or others.shape[1] != reference.size:
        raise ValueError(
            f"shapes (n,) and (M, n) are needed, found {reference.shape} and {others.shape}"
        )
    if np.isnan(reference).any() or np.isnan(others).any():
        raise DegenerateImportanceError("an importance profile to correlate contains NaN")
    order = np.argsort(reference, kind="stable")
    # num_below[i]: heads with a smaller reference value; in order, they are the first ones.
    num_below = np.searchsorted(reference[order], reference[order], side="left")
    tau = np.zeros(len(others))
    for start in range(0, len(others), _PROFILES_AT_ONCE):
        block = others[start : start + _PROFILES_AT_ONCE]
        untied = _untied_pairs(block)
        any_tie = bool((untied < reference.size * (reference.size - 1) // 2).any())
        difference = _concordance(np.ascontiguousarray(block.T[order]), num_below, any_tie)
        # Two roots, not the root of the product, as scipy does: the same last digits.
        scale = np.sqrt(num_below.sum()) * np.sqrt(untied)
        np.divide(difference, scale, out=tau[start : start + len(block)], where=scale > 0)
    return tau.clip(-1.0, 1.0)


def _untied_pairs(profiles: FloatArray) -> IntArray:
    """Pairs of different values in each profile: (m, n) -> (m,)."""
    num_profiles, num_heads = profiles.shape
    if not num_heads:
        return np.zeros(num_profiles, dtype=np.int64)
    ascending = np.sort(profiles, axis=1)
    position = np.arange(num_heads)
    starts_run = np.ones(profiles.shape, dtype=bool)
    starts_run[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    # In ascending order a value is larger than all values before the run of its equals.
    num_smaller = np.maximum.accumulate(np.where(starts_run, position, 0), axis=1)
    untied: IntArray = num_smaller.sum(axis=1)
    return untied


def _concordance(profiles: FloatArray, num_below: IntArray, any_tie: bool) -> IntArray:
    """C - D of each profile: (n, m), heads in the reference's order -> (m,)."""
    num_above, num_not_below = np.zeros((2, profiles.shape[1]), dtype=np.int64)
    for head, limit in zip(profiles, num_below, strict=True):
        lower = profiles[:limit]
        num_above += _count(head > lower)
        if any_tie:
            num_not_below += _count(head >= lower)
    # C - D = above - below, and below = all - not below; without ties, not below is above.
    if not any_tie:
        num_not_below = num_above
    difference: IntArray = num_above + num_not_below - num_below.sum()
    return difference


def _count(flags: npt.NDArray[np.bool_]) -> IntArray:
    """Number of True in each column: (k, m) -> (m,)."""
    # Bytes are added many at a time by the processor; 255 of them cannot overflow.
    total = np.zeros(flags.shape[1], dtype=np.int64)
    for start in range(0, len(flags), 255):
        total += np.add.reduce(flags[start : start + 255].view(np.uint8), axis=0, dtype=np.uint8)
    return total
