"""Numbers in words, as pages and figures write them."""

from __future__ import annotations

from collections.abc import Sequence

from gradts_plugin.records import Trial
from gradts_plugin.scores import Score, shown_score

#: What is said of a score that its metric does not give, e.g. a correlation of constants.
UNDEFINED = shown_score(None)


def cell(value: str | float | None, is_score: bool = False) -> str:
    """A value of a table, for reading."""
    if value is None:
        return UNDEFINED if is_score else ""
    if isinstance(value, float):
        digits = 3 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        text = f"{value:,.{digits}f}"
        return text.replace("-", "\N{MINUS SIGN}")
    return str(value)


def score(trial: Trial | None) -> str:
    """A trial's score, with its spread where there is one."""
    return UNDEFINED if trial is None else trial.shown


def seed_scores(scores: Sequence[Score]) -> str:
    """The scores of single seeds."""
    return " ".join(shown_score(score) for score in scores)


def share(value: float | None) -> str:
    """As a percentage; empty where it is not known."""
    return "" if value is None else f"{value:.1%}"


def signed(value: Score, digits: int = 4) -> str:
    """A gain, with its sign and a true minus."""
    return shown_score(value, f"+.{digits}f").replace("-", "\N{MINUS SIGN}")
