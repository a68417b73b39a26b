"""The primary's dev score in every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gradts_plugin.records import Trial
from gradts_plugin.report.figures.picture import Drawing, Picture, Table
from gradts_plugin.report.figures.style import (
    INK,
    MUTED,
    PAPER,
    RULE,
    STRONG,
    new_axes,
    short_name,
)
from gradts_plugin.report.record import RunReport
from gradts_plugin.report.words import seed_scores


def trials_picture(report: RunReport) -> Picture:
    """The primary's dev score in every trial, in the order in which they were made."""
    trials = report.selection.trials
    scored = [trial for trial in trials if trial.score is not None]
    best = max(scored, key=lambda trial: trial.score or 0.0, default=None)
    found = "No trial has a defined score."
    if best is not None:
        found = f"The best, {_trial_name(best)}, scores {best.score:.4f}."
    return Picture(
        name="trials",
        title=f"Dev score of {report.primary_task} in each trial",
        description=f"{len(trials)} trials in the order in which they were made. {found}",
        table=Table(
            (
                "trial",
                "trained with",
                "score",
                "standard deviation",
                "scores per seed",
                "kept instances",
                "mixing ratio",
                "steps",
                "seconds",
                "reused",
            ),
            tuple(
                (
                    place,
                    ", ".join(trial.auxiliary_tasks) or "alone",
                    trial.score,
                    trial.spread,
                    seed_scores(trial.scores),
                    _named_counts(trial.num_kept),
                    _named_counts(trial.mixing_ratios),
                    trial.num_steps,
                    trial.seconds,
                    "yes" if trial.reused else "no",
                )
                for place, trial in enumerate(trials, start=1)
            ),
            scores=("score",),
        ),
        draw=lambda: _draw_trials(report),
    )


def _draw_trials(report: RunReport) -> Drawing:
    trials = report.selection.trials
    figure, axes = new_axes(max(2.8, 0.42 * len(trials)), 2.1)
    titles: dict[str, Sequence[str]] = {}
    means = [np.nan if trial.score is None else trial.score for trial in trials]
    axes.plot(means, color=MUTED, linewidth=1, zorder=1)
    alone = next(
        (t.score for t in (*trials, report.outcome.alone) if t and not t.auxiliary_tasks), None
    )
    if alone is not None:
        axes.axhline(alone, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        axes.text(
            1.01,
            alone,
            "alone",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=MUTED,
        )
    for place, trial in enumerate(trials):
        if trial.score is None:
            continue
        chosen = _is_selection(trial, report)
        colour = STRONG if chosen else MUTED
        defined = [score for score in trial.scores if score is not None]
        if len(defined) > 1:
            axes.plot([place] * len(defined), defined, "_", color=colour, markersize=7, alpha=0.7)
            axes.plot([place] * 2, [min(defined), max(defined)], color=colour, linewidth=0.8)
        axes.plot(
            place,
            trial.score,
            "o",
            color=colour,
            markersize=9 if chosen else 6,
            markerfacecolor=colour if chosen else PAPER,
            markeredgewidth=1.4,
            gid=f"trial-{place}",
        )
        spread = "" if trial.spread is None else f" ± {trial.spread:.4f}"
        titles[f"trial-{place}"] = (f"{_trial_name(trial)}: {trial.score:.4f}{spread}",)
    labels = [
        _trial_label(before, trial) for before, trial in zip((None, *trials), trials, strict=False)
    ]
    axes.set_xticks(range(len(trials)), labels, rotation=45, ha="right", rotation_mode="anchor")
    for label, trial in zip(axes.get_xticklabels(), trials, strict=True):
        label.set_fontweight("bold" if _is_selection(trial, report) else "normal")
    axes.tick_params(pad=2, labelcolor=INK)
    axes.set_xlim(-0.5, len(trials) - 0.5)
    axes.margins(y=0.12)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=5)
    axes.set_ylabel(f"dev score of {short_name(report.primary_task)}")
    return Drawing(figure, titles)


def _is_selection(trial: Trial, report: RunReport) -> bool:
    return (trial.auxiliary_tasks, dict(trial.num_kept), dict(trial.mixing_ratios)) == (
        report.auxiliary_tasks,
        dict(report.num_kept),
        dict(report.selection.mixing_ratios),
    )


def _trial_name(trial: Trial) -> str:
    name = f"with {', '.join(trial.auxiliary_tasks)}" if trial.auxiliary_tasks else "alone"
    if trial.num_kept:
        name += f" (kept: {_named_counts(trial.num_kept)})"
    return f"{name} ({_named_counts(trial.mixing_ratios)})" if trial.mixing_ratios else name


def _trial_label(before: Trial | None, trial: Trial) -> str:
    """What a trial adds to the one before it, where that says it all."""
    names = trial.auxiliary_tasks
    if not names:
        return "alone"
    if trial.mixing_ratios:
        return " : ".join(str(ratio) for ratio in trial.mixing_ratios.values())
    if trial.num_kept:
        return "instances"
    if names[:-1] == (before.auxiliary_tasks if before is not None else ()):
        return f"+ {short_name(names[-1])}"
    return short_name(", ".join(names))


def _named_counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
