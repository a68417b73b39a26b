"""An example plugin: Spearman's correlation, and the selection method "top-k"."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.protocols import Correlation, SelectionContext, SelectionMethod
from gradts_plugin.records import FloatArray, Selection
from gradts_plugin.scores import shown_score

#: How many auxiliaries "top-k" takes where the run does not say.
DEFAULT_K = 2


@hookimpl
def extend_correlations() -> Mapping[str, Correlation]:
    """Offers `ranking: {correlation: spearman}`."""
    return {"spearman": spearman}


@hookimpl
def extend_selection_methods() -> Mapping[str, SelectionMethod]:
    """Offers `method: top-k`."""
    return {"top-k": select_top_k}


def spearman(reference: FloatArray, others: FloatArray) -> FloatArray:
    """Spearman's correlation between one importance profile and many: Pearson's, of the ranks.

    Args:
        reference: shape (n,), the layer-normalised importances of all heads.
        others: shape (M, n), M profiles to compare it with.

    Returns:
        float64 array of shape (M,), in [-1, 1]; 0.0 where a side is constant. A correlation must
        never answer NaN: the run would stop with an error that names this plugin's answer.
    """
    left = _centred(rankdata(reference))
    right = _centred(rankdata(others, axis=1))
    scale = np.linalg.norm(left) * np.linalg.norm(right, axis=1)
    products = right @ left
    answer: FloatArray = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return answer.clip(-1.0, 1.0)


def _centred(ranks: FloatArray) -> FloatArray:
    centred: FloatArray = ranks - ranks.mean(axis=-1, keepdims=True)
    return centred


def select_top_k(context: SelectionContext) -> Selection:
    """Selects the k best-ranked candidates, unless the primary alone scores better.

    k is the run's `trial.max_auxiliaries`, or `DEFAULT_K`: a plugin has no settings of its own.

    Args:
        context: the ranking, the settings, and `score`, which trains the primary with some
            auxiliaries from the pretrained weights, or finds that training stored.

    Returns:
        The selection. `trials` are the runs it rests on, `reason` is shown to the user.
    """
    k = context.settings.trial.max_auxiliaries or DEFAULT_K
    alone = context.score(())
    together = context.score(context.ranking.task_order[:k])
    best = together if together.comparable() >= alone.comparable() else alone
    return Selection(
        method="top-k",
        primary_task=context.primary_task,
        auxiliary_tasks=best.auxiliary_tasks,
        reason=(
            f"{context.primary_task} alone scores {shown_score(alone.score)}, with the "
            f"{len(together.auxiliary_tasks)} best-ranked candidates "
            f"{shown_score(together.score)}"
        ),
        trials=(alone, together),
    )
