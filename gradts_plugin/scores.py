"""Scores that may be undefined: None where a metric has no value, "undefined" for a reader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: A metric's value; None where it has none (a correlation with constant labels).
Score = float | None


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean; None where one of the scores is undefined, or there is none."""
    defined = _all_defined(scores)
    return float(np.mean(defined)) if defined else None


def score_spread(scores: Sequence[Score]) -> Score:
    """The standard deviation (n - 1); None where one is undefined, or there are less than two."""
    defined = _all_defined(scores)
    return float(np.std(defined, ddof=1)) if len(defined) > 1 else None


def score_differences(scores: Sequence[Score], others: Sequence[Score]) -> tuple[Score, ...]:
    """One by one, as far as both go; None where a side is undefined."""
    return tuple(
        None if score is None or other is None else score - other
        for score, other in zip(scores, others, strict=False)
    )


def score_difference(score: Score, other: Score) -> Score:
    """One score less another one; None where a side is undefined."""
    return score_differences([score], [other])[0]


def shown_score(score: Score, form: str = ".4f") -> str:
    """A score in words.

    Args:
        score: the score.
        form: how a defined one is written, e.g. "+.4f" for a difference.
    """
    return "undefined" if score is None else format(score, form)


def _all_defined(scores: Sequence[Score]) -> list[float]:
    """The scores, or none at all where one of them is undefined."""
    defined = [score for score in scores if score is not None]
    return defined if len(defined) == len(scores) else []
