"""GradTS-thres: auxiliaries are the candidates whose tau reaches a threshold."""

from __future__ import annotations

from typing import Literal

import numpy as np

from gradts_plugin.errors import SelectionError
from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.records import FloatArray, RankedTask, Ranking, Selection
from gradts_plugin.settings.parsing import Settings
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.settings.thresholds import Quantile, Tau

#: Default of the published code, for the published head importance (Ma et al. 2021).
PUBLISHED_THRESHOLD = 0.47

#: One-sided 5 % of a normal distribution.
_NULL_Z = 1.645


class ThresholdSettings(Settings):
    """Which candidates GradTS-thres selects.

    Attributes:
        threshold: candidates with at least this tau; `auto`: with more than shuffled labels reach
            (needs `probing.shuffled_controls`).
    """

    threshold: Tau | Quantile | Literal["auto"] = Quantile(quantile=0.75)

    def check_with(self, run: GradTSSettings) -> None:
        """Refuses `auto` where no controls are probed."""
        if self.threshold == "auto" and not run.probing.shuffled_controls:
            raise ValueError("threshold: auto needs probing.shuffled_controls of 1 or more")


def select_by_threshold(context: SelectionContext, settings: ThresholdSettings) -> Selection:
    """Selects every candidate with tau(primary, candidate) >= theta; trains nothing.

    Ma et al. 2021, section 3. The published thresholds (0.6 for bert-base-cased with 8 tasks,
    0.62 for bert-large-cased, 0.47 otherwise) belong to the published head importance, whose taus
    are much higher than those of the true heads; a quantile does not depend on that.

    Args:
        context: the ranking.
        settings: `threshold` is theta, a quantile over the candidates' taus, or `auto`: what the
            primary's taus with shuffled labels stay below.

    Returns:
        The selection, best-ranked first.
    """
    ranking = context.ranking
    selected, theta, described = _reaching_threshold(ranking, settings.threshold)
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
        reason=f"tau >= {described} is {found}",
        threshold=theta,
    )


def num_reaching_threshold(ranking: Ranking, settings: ThresholdSettings) -> int:
    """How many candidates GradTS-thres selects."""
    return len(_reaching_threshold(ranking, settings.threshold)[0])


def _reaching_threshold(
    ranking: Ranking, threshold: float | Quantile | Literal["auto"]
) -> tuple[list[RankedTask], float, str]:
    if threshold == "auto":
        theta, described = _above_null(ranking)
    else:
        theta = resolve_threshold(threshold, np.array([c.tau for c in ranking.candidates]))
        described = describe_threshold(threshold, theta)
    return [c for c in ranking.candidates if c.tau >= theta], theta, described


def _above_null(ranking: Ranking) -> tuple[float, str]:
    """What shuffled labels do not reach: mean + 1.64 standard deviations of the null taus."""
    if len(ranking.null_taus) < 2:
        raise SelectionError(
            f"threshold: auto needs 2 or more taus of shuffled labels, found "
            f"{len(ranking.null_taus)}; the ranker {ranking.ranker!r} must probe, and "
            "probing.shuffled_controls be large enough"
        )
    theta = float(np.mean(ranking.null_taus) + _NULL_Z * np.std(ranking.null_taus, ddof=1))
    return theta, f"{theta:.3f} (what {len(ranking.null_taus)} shuffled controls stay below)"


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


METHOD = Method(
    name="thres",
    select=select_by_threshold,
    title="GradTS-thres",
    summary="Candidates whose tau reaches a threshold; trains nothing (Ma et al. 2021).",
    settings=ThresholdSettings,
    faithful={"threshold": PUBLISHED_THRESHOLD},
)
