"""The candidates that a gradient match takes, mixed as it says."""

from __future__ import annotations

from collections.abc import Sequence

from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.ranking.matching import MATCHING
from gradts_plugin.records import Selection
from gradts_plugin.selection.mixing import MAX_RATIO
from gradts_plugin.settings.parsing import Settings
from gradts_plugin.settings.selection import GradTSSettings


class MatchedSettings(Settings):
    """Nothing steers it but its ranker's settings."""

    def check_with(self, run: GradTSSettings) -> None:
        """Refuses other rankers: their figures are no parts of a mixture."""
        if run.ranking.ranker.name != MATCHING:
            raise ValueError(
                f"matched needs ranking.ranker: {MATCHING}, found {run.ranking.ranker.name!r}"
            )


def select_matched(context: SelectionContext, _settings: MatchedSettings) -> Selection:
    """Selects every candidate with a part in the match, in the ratio of the parts.

    Zeng et al. 2026 (arXiv 2605.16704): what minimises the mismatch of gradients is the mixture to
    train. A part that rounds to no step where the largest one has nine is left out. The primary
    gets half of the steps, as with equal exposure, where it has its own steps and the ratios share
    out those of the auxiliaries. Trains nothing.

    Args:
        context: the ranking by `matching`.

    Returns:
        The selection with its mixing ratios; no auxiliary where no candidate has a part.
    """
    candidates = context.ranking.candidates
    largest = candidates[0].tau
    taken = [found for found in candidates if 2 * MAX_RATIO * found.tau >= largest > 0]
    if not taken:
        return Selection(
            method="matched",
            primary_task=context.primary_task,
            auxiliary_tasks=(),
            reason=(
                f"none of {len(candidates)} candidates pulls where {context.primary_task} pulls"
            ),
        )
    ratios = small_ratios([candidate.tau for candidate in taken])
    mixture = {context.primary_task: sum(ratios)}
    mixture |= {candidate.task_name: ratio for candidate, ratio in zip(taken, ratios, strict=True)}
    parts = ", ".join(f"{candidate.task_name} {candidate.tau:.3f}" for candidate in taken)
    mixed = " : ".join(f"{name} {ratio}" for name, ratio in mixture.items())
    return Selection(
        method="matched",
        primary_task=context.primary_task,
        auxiliary_tasks=tuple(candidate.task_name for candidate in taken),
        mixing_ratios=mixture,
        reason=(
            f"{len(taken)} of {len(candidates)} candidates have a part that counts in the match of "
            f"gradients: {parts}; mixed as {mixed}"
        ),
    )


def small_ratios(parts: Sequence[float]) -> tuple[int, ...]:
    """Small integers in nearly the ratio of some parts.

    Of the largest ratios 1 to 9, the first that comes nearest; nobody's is below 1.

    Args:
        parts: above 0, at least one.
    """
    largest = max(parts)

    def rounded(most: int) -> tuple[int, ...]:
        return tuple(max(1, round(most * part / largest)) for part in parts)

    def error(most: int) -> float:
        pairs = zip(rounded(most), parts, strict=True)
        return round(max(abs(ratio / most - part / largest) for ratio, part in pairs), 9)

    return rounded(min(range(1, MAX_RATIO + 1), key=error))


METHOD = Method(
    name="matched",
    select=select_matched,
    title="Gradient match",
    summary="Every candidate with a part in the match of gradients, in the ratio of the parts "
    "(Zeng et al. 2026).",
    settings=MatchedSettings,
)
