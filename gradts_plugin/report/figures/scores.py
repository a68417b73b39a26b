"""What each method of a comparison selects for a primary, and what that scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradts_plugin.comparison.results import MethodResult, PrimaryResult
from gradts_plugin.comparison.tables import gain_cells
from gradts_plugin.report.figures.picture import Cell, Drawing, Picture, Table
from gradts_plugin.report.figures.style import (
    MUTED,
    STRONG,
    figure_number,
    file_name,
    new_axes,
    rule_rows,
    short_name,
)
from gradts_plugin.report.words import UNDEFINED, score, seed_scores
from gradts_plugin.scores import mean_score


def scores_picture(primary: str, result: PrimaryResult, order: Sequence[str]) -> Picture:
    """The dev score of a primary with each method's selection, in an order of the methods."""
    methods = {name: result.methods[name] for name in order if name in result.methods}
    oracle = ", ".join(result.oracle.auxiliary_tasks) or "none"
    tested = all(found.trial.test_scores for found in methods.values())
    return Picture(
        name=f"methods-{file_name(primary)}",
        title=f"What each method selects for {primary}",
        description=(
            f"Dev scores of {primary} with what {len(methods)} methods select. Alone it scores "
            f"{score(result.alone)}; the best known auxiliaries ({oracle}) bring "
            f"{score(result.oracle)}."
        ),
        table=Table(
            (
                "method",
                "selected",
                "score",
                "standard deviation",
                "gain",
                "95 % interval",
                "P(helps)",
                "regret",
                "seconds",
                "steps",
                "examples",
                "test score",
                "kept instances",
                "mixing ratio",
                "scores per seed",
            ),
            tuple(_scores_row(name, found) for name, found in methods.items()),
            scores=("score", "gain", "regret", *(("test score",) if tested else ())),
        ),
        draw=lambda: _draw_scores(primary, result, methods),
    )


def _scores_row(name: str, method: MethodResult) -> tuple[Cell, ...]:
    trial = method.trial
    counts = (
        ", ".join(f"{t} {n}" for t, n in of.items()) for of in (trial.num_kept, trial.mixing_ratios)
    )
    return (
        name,
        ", ".join(trial.auxiliary_tasks) or "none",
        trial.score,
        trial.spread,
        method.gain,
        *(cell.replace("-", "\N{MINUS SIGN}") for cell in gain_cells(method.interval)),
        method.regret,
        method.cost.seconds,
        method.cost.num_steps,
        method.cost.num_examples,
        mean_score(trial.test_scores),
        *counts,
        seed_scores(trial.scores),
    )


def _draw_scores(
    primary: str, result: PrimaryResult, methods: Mapping[str, MethodResult]
) -> Drawing:
    number = len(methods)
    figure, axes = new_axes(3.1, 0.27 * number + 0.1)
    titles: dict[str, Sequence[str]] = {}
    for trial, words, style in (
        (result.alone, "alone", (0, (4, 3))),
        (result.oracle, "best known", (0, (1, 2))),
    ):
        if trial.score is not None:
            axes.axvline(trial.score, color=MUTED, linewidth=1, linestyle=style, label=words)
    for place, (name, method) in enumerate(methods.items()):
        trial = method.trial
        shown = UNDEFINED if trial.score is None else figure_number(trial.score)
        axes.text(1.02, place, shown, transform=axes.get_yaxis_transform(), va="center")
        if trial.score is None:
            continue
        scores = [score for score in trial.scores if score is not None]
        if len(scores) > 1:
            axes.plot(
                (min(scores), max(scores)),
                (place, place),
                color=STRONG,
                linewidth=5,
                alpha=0.3,
                solid_capstyle="butt",
            )
        axes.plot(trial.score, place, "o", color=STRONG, markersize=6.5, gid=f"method-{place}")
        selected = ", ".join(trial.auxiliary_tasks) or "none"
        titles[f"method-{place}"] = (f"{name} ({selected}): {score(trial)}",)
    axes.set_yticks(range(number), [short_name(name) for name in methods])
    rule_rows(axes, number, margin=0.08)
    axes.set_xlabel(f"dev score of {short_name(primary)}")
    return Drawing(figure, titles)
