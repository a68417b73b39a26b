"""GradTS-thres: auxiliaries are the candidates whose tau reaches a threshold."""

from __future__ import annotations

import numpy as np

from gradts_plugin.config import Quantile
from gradts_plugin.records import FloatArray, Selection, SelectionContext


def select_by_threshold(context: SelectionContext) -> Selection:
    """Selects every candidate with tau(primary, candidate) >= theta; trains nothing.

    Ma et al. 2021, section 3. The published thresholds (0.6 for bert-base-cased with 8 tasks,
    0.62 for bert-large-cased, 0.47 otherwise) belong to the published head importance, whose taus
    are much higher than those of the true heads; a quantile does not depend on that.

    Args:
        context: `settings.threshold` is theta, or a quantile over the candidates' taus.

    Returns:
        The selection, best-ranked first.
    """
    ranking = context.ranking
    threshold = context.settings.threshold
    theta = resolve_threshold(threshold, np.array([c.tau for c in ranking.candidates]))
    selected = [candidate for candidate in ranking.candidates if candidate.tau >= theta]
    if selected:
        listed = ", ".join(f"{candidate.task_name} {candidate.tau:.3f}" for candidate in selected)
        found = f"reached by {len(selected)} of {len(ranking.candidates)} candidates: {listed}"
    else:
        nearest = ranking.candidates[0]
        found = f"reached by no candidate; the nearest is {nearest.task_name} {nearest.tau:.3f}"
    return Selection(
        method="thres",
        primary_task=context.primary_task,
        auxiliary_tasks=tuple(candidate.task_name for candidate in selected),
        reason=f"tau >= {describe_threshold(threshold, theta)} is {found}",
    )


def resolve_threshold(threshold: float | Quantile, taus: FloatArray) -> float:
    """The number a threshold stands for.

    Args:
        threshold: a number, or a quantile of the taus it is applied to.
        taus: shape (M,).

    Returns:
        Theta: what reaches it is kept.
    """
    if isinstance(threshold, Quantile):
        return float(np.quantile(taus, threshold.quantile))
    return threshold


def describe_threshold(threshold: float | Quantile, theta: float) -> str:
    """A threshold in words: its number, and where that came from."""
    if isinstance(threshold, Quantile):
        return f"{theta:.3f} (quantile {threshold.quantile:g})"
    return f"{theta:g}"
