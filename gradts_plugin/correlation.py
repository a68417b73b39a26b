"""Normalising head importance and correlating it with Kendall's tau (Ma et al. 2021, section 3.1).

Symbols: L layers, H heads, n = L * H, M profiles that are compared with one reference.
"""

from __future__ import annotations

import numpy as np
import torch

from gradts_plugin.errors import DegenerateImportanceError
from gradts_plugin.records import FloatArray

__all__ = ["kendall", "layer_normal", "require_rankable"]

# A matrix whose values differ by less than this share of its largest is constant: what is left
# is rounding, which min-max scaling would blow up to a full ranking.
_CONSTANT_WITHIN = 1e-12

# Comparisons held in memory at once; 4 bytes each.
_BLOCK_COMPARISONS = 1 << 22


def layer_normal(raw: FloatArray) -> FloatArray:
    """Makes heads of different layers comparable: layer-wise shares, then one global min-max.

    Gradients shrink or grow with depth, so every layer is divided by its own sum first.

    Args:
        raw: non-negative importances of shape (..., L, H); leading axes are separate matrices.

    Returns:
        float64 array of the same shape, each matrix in [0, 1]. A layer of zeros stays zero; a
        matrix that is constant after the division (one head per layer, for one) becomes zero.
    """
    importance = np.asarray(raw, dtype=np.float64)
    layer_sums = importance.sum(axis=-1, keepdims=True)
    shares = np.divide(importance, layer_sums, out=np.zeros_like(importance), where=layer_sums > 0)
    low = shares.min(axis=(-2, -1), keepdims=True)
    spread = shares.max(axis=(-2, -1), keepdims=True) - low
    spread = np.where(spread > _CONSTANT_WITHIN * (low + spread), spread, 0.0)
    normal: FloatArray = np.divide(
        shares - low, spread, out=np.zeros_like(shares), where=spread > 0
    )
    return normal


def require_rankable(matrix: FloatArray, task_name: str) -> None:
    """Refuses an importance matrix that leaves nothing to rank.

    Args:
        matrix: raw importances of one task, shape (L, H).
        task_name: for the message.

    Raises:
        DegenerateImportanceError: says whether the matrix is not finite, has one head per layer,
            is all zero, or is constant within every layer.
    """
    reason = _why_unrankable(np.asarray(matrix, dtype=np.float64))
    if reason:
        raise DegenerateImportanceError(f"task {task_name!r} cannot be ranked: {reason}")


def _why_unrankable(matrix: FloatArray) -> str | None:
    if not np.isfinite(matrix).all():
        return "its head importance contains NaN or infinity"
    if matrix.shape[-1] == 1:
        return "the encoder has one head per layer, and each head is compared with its own layer"
    if not matrix.any():
        return "its head importance is zero everywhere (no gradient reached the encoder)"
    if not layer_normal(matrix).any():
        return "all heads of a layer have the same importance, in every layer"
    return None


def kendall(reference: FloatArray, others: FloatArray) -> FloatArray:
    """Kendall's tau-b between one profile and many, ties included.

    With C concordant and D discordant pairs of heads, and U_x, U_y pairs not tied in x, y:
    tau = (C - D) / sqrt(U_x * U_y). One matrix of comparisons y_i > y_j gives both: weighted by
    sign(x_i - x_j) it sums to C - D, unweighted to U_y.

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
    num_heads = reference.size
    signs = np.sign(np.subtract.outer(reference, reference))
    untied_in_reference = np.count_nonzero(signs) / 2
    # Counts stay below n * n, so float32 sums are exact for up to 4096 heads.
    weights = torch.from_numpy(
        np.stack([signs.ravel(), np.ones(signs.size)], axis=1).astype(np.float32)
    )
    block = max(1, _BLOCK_COMPARISONS // max(1, num_heads * num_heads))
    counts = np.empty((len(others), 2))
    for start in range(0, len(others), block):
        profiles = torch.from_numpy(np.ascontiguousarray(others[start : start + block]))
        larger = (profiles[:, :, None] > profiles[:, None, :]).to(torch.float32)
        counts[start : start + block] = larger.flatten(1).mm(weights).numpy()
    # Two roots, not the root of the product, as scipy does: the same last digits.
    scale = np.sqrt(untied_in_reference) * np.sqrt(counts[:, 1])
    tau: FloatArray = np.divide(counts[:, 0], scale, out=np.zeros(len(others)), where=scale > 0)
    return tau.clip(-1.0, 1.0)
