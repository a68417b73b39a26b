"""The candidates, best first, with their intervals."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from gradts_plugin.records import Ranking, Selection
from gradts_plugin.report.figures.interval_rows import draw_interval, name_rows
from gradts_plugin.report.figures.picture import Drawing, Picture, Table
from gradts_plugin.report.figures.style import (
    MUTED,
    RULE,
    STRONG,
    figure_number,
    new_axes,
    short_name,
)


def ranking_picture(ranking: Ranking, selection: Selection) -> Picture:
    """The candidates that were ranked, best first, with their intervals."""
    ranked = tuple(candidate for candidate in ranking.candidates if candidate.note is None)
    ranking = dataclasses.replace(ranking, candidates=ranked)
    selected = selection.auxiliary_tasks
    best = ranking.candidates[0]
    last = ranking.candidates[-1]
    return Picture(
        name="ranking",
        title=f"Candidates for {ranking.primary_task}",
        description=(
            f"{len(ranking.candidates)} candidates by {ranking.measure}, best first: from "
            f"{best.task_name} ({best.tau:.3f}) to {last.task_name} ({last.tau:.3f}). "
            f"Selected: {', '.join(selected) or 'none'}."
        ),
        table=Table(
            ("rank", "task", ranking.measure, "low", "high", "P(above next)", "selected"),
            tuple(
                (
                    place,
                    candidate.task_name,
                    candidate.tau,
                    *(candidate.interval or (None, None)),
                    candidate.probability_above_next,
                    "yes" if candidate.task_name in selected else "no",
                )
                for place, candidate in enumerate(ranking.candidates, start=1)
            ),
        ),
        draw=lambda: _draw_ranking(ranking, selection),
    )


def _draw_ranking(ranking: Ranking, selection: Selection) -> Drawing:
    selected = selection.auxiliary_tasks
    number = len(ranking.candidates)
    figure, axes = new_axes(3.1, 0.27 * number + 0.1)
    titles: dict[str, Sequence[str]] = {}
    null_sd, threshold = null_sd_of(ranking), selection.threshold
    if null_sd is not None:
        axes.axvspan(-null_sd, null_sd, color=RULE, alpha=0.5, linewidth=0)
        axes.axvline(0, color=MUTED, linewidth=0.8)
    if threshold is not None:
        axes.axvline(threshold, color=STRONG, linewidth=1, linestyle=(0, (4, 3)))
    for place, candidate in enumerate(ranking.candidates):
        interval = candidate.interval
        draw_interval(
            axes,
            place,
            candidate.tau,
            interval,
            chosen=candidate.task_name in selected,
            name=f"candidate-{place}",
            text=figure_number(candidate.tau),
        )
        within = ""
        if interval is not None:
            level = f"{ranking.confidence:.0%}"
            within = f", {level} interval {interval[0]:.3f} to {interval[1]:.3f}"
        titles[f"candidate-{place}"] = (f"{candidate.task_name}: {candidate.tau:.3f}{within}",)
    name_rows(axes, [(c.task_name, c.task_name in selected) for c in ranking.candidates])
    axes.set_xlabel(f"{ranking.measure} with {short_name(ranking.primary_task)}")
    return Drawing(figure, titles)


def null_sd_of(ranking: Ranking) -> float | None:
    """Its `null_sd`; None where the values are no taus between heads."""
    between_heads = ranking.task_taus is not None and ranking.num_heads_total > 1
    return ranking.null_sd if between_heads else None
