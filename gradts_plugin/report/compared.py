"""A comparison of selection methods as pictures and as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradts_plugin.report.data import (
    COMPARISON_JSON,
    ComparedMethod,
    ComparedPrimary,
    Comparison,
    TrialInfo,
)
from gradts_plugin.report.figures import (
    COLOURS,
    Drawing,
    Picture,
    Table,
    figure_number,
    file_name,
    new_axes,
    rule_rows,
    short_name,
)
from gradts_plugin.report.html import duration, page_environment
from gradts_plugin.stores.files import write_bytes_atomic

__all__ = ["MethodMeans", "comparison_pictures", "means", "render_comparison", "write_comparison"]

_INK, _MUTED, _PAPER, _STRONG = (COLOURS[name] for name in ("ink", "muted", "paper", "strong"))


@dataclass(frozen=True)
class MethodMeans:
    """What a method came to, as a mean over the primaries.

    Attributes:
        method: its name in the comparison.
        gains: primary -> its score less the primary's alone; None where a score is undefined.
        gain: their mean.
        regret: mean of what the oracle scores above it.
        agreement: mean tau between its ranking and what each candidate alone adds; None where it
            ranks nothing.
        num_steps: mean cost in optimiser steps.
        num_examples: mean cost in instances through the encoder.
        seconds: mean cost in time.
    """

    method: str
    gains: dict[str, float | None]
    gain: float
    regret: float
    agreement: float | None
    num_steps: float
    num_examples: float
    seconds: float


def means(comparison: Comparison) -> list[MethodMeans]:
    """The methods by their mean gain, the best first; of equal ones the cheaper first."""
    names = dict.fromkeys(
        name for compared in comparison.primaries.values() for name in compared.methods
    )
    found = [_means_of(comparison, name) for name in names]
    return sorted(found, key=lambda method: (-round(method.gain, 9), method.seconds))


def _means_of(comparison: Comparison, name: str) -> MethodMeans:
    pairs = {
        primary: (compared, compared.methods[name])
        for primary, compared in comparison.primaries.items()
        if name in compared.methods
    }
    gains = {primary: _gain(method.trial, of.alone) for primary, (of, method) in pairs.items()}
    methods = [method for _, method in pairs.values()]
    agreements = [m.gain_agreement for m in methods if m.gain_agreement is not None]
    return MethodMeans(
        method=name,
        gains=gains,
        gain=_mean([gain for gain in gains.values() if gain is not None]),
        regret=_mean([method.regret for method in methods]),
        agreement=_mean(agreements) if agreements else None,
        num_steps=_mean([method.cost.num_steps for method in methods]),
        num_examples=_mean([method.cost.num_examples for method in methods]),
        seconds=_mean([method.cost.seconds for method in methods]),
    )


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _gain(trial: TrialInfo, alone: TrialInfo) -> float | None:
    if trial.score is None or alone.score is None:
        return None
    return trial.score - alone.score


# --- pictures -------------------------------------------------------------------------------------


def comparison_pictures(comparison: Comparison) -> tuple[Picture, ...]:
    """The means, then the methods of each primary."""
    return (
        _means_picture(comparison),
        *(
            _scores_picture(primary, compared, [found.method for found in means(comparison)])
            for primary, compared in comparison.primaries.items()
        ),
    )


def _means_picture(comparison: Comparison) -> Picture:
    found = means(comparison)
    best = found[0]
    return Picture(
        name="methods",
        title="Selection methods, means over the primaries",
        description=(
            f"{len(found)} methods by their mean gain over {len(comparison.primaries)} primaries, "
            f"best first. The best, {best.method}, gains {best.gain:+.4f} and takes "
            f"{duration(best.seconds)} to select."
        ),
        table=Table(
            (
                "method",
                "mean gain",
                "worst gain",
                "mean regret",
                "seconds",
                "steps",
                "examples",
                "ranking against single gains (tau)",
            ),
            tuple(
                (
                    method.method,
                    method.gain,
                    min((gain for gain in method.gains.values() if gain is not None), default=None),
                    method.regret,
                    method.seconds,
                    round(method.num_steps),
                    round(method.num_examples),
                    method.agreement,
                )
                for method in found
            ),
        ),
        draw=lambda: _draw_means(found),
    )


def _draw_means(found: Sequence[MethodMeans]) -> Drawing:
    number = len(found)
    height = 0.27 * number + 0.1
    figure, gains = new_axes(2.6, height)
    titles: dict[str, Sequence[str]] = {}
    for place, method in enumerate(found):
        single = {primary: gain for primary, gain in method.gains.items() if gain is not None}
        for number_of, (primary, gain) in enumerate(single.items()):
            gid = f"gain-{place}-{number_of}"
            gains.plot(
                gain, place, "o", color=_MUTED, markersize=4.5, markerfacecolor=_PAPER, gid=gid
            )
            titles[gid] = (f"{method.method}, {primary}: {gain:+.4f}",)
        gains.plot(method.gain, place, "D", color=_STRONG, markersize=5.5, gid=f"mean-{place}")
        titles[f"mean-{place}"] = (f"{method.method}: mean gain {method.gain:+.4f}",)
        gains.text(
            1.03,
            place,
            f"{method.gain:+.3f}".replace("-", "\N{MINUS SIGN}"),
            transform=gains.get_yaxis_transform(),
            va="center",
        )
    gains.axvline(0, color=_MUTED, linewidth=0.8)
    gains.set_yticks(range(number), [short_name(method.method) for method in found])
    gains.set_xlabel("gain over the primary alone")
    # Beside it, with room for the gains written between them.
    costs = figure.add_axes((1.3, 0.0, 0.6, 1.0))
    costs.set_facecolor("none")
    costs.tick_params(which="both", length=0)
    costs.spines[["top", "right"]].set_visible(False)
    longest = max(*(method.seconds for method in found), 1e-9)
    for place, method in enumerate(found):
        said = duration(method.seconds)
        costs.barh(place, method.seconds / longest, 0.55, color=_MUTED, gid=f"cost-{place}")
        costs.text(method.seconds / longest + 0.02, place, said, va="center", fontsize=8.5)
        titles[f"cost-{place}"] = (f"{method.method}: {said} to select",)
    costs.set_xlim(0, 1.35)
    costs.set_xticks([])
    costs.set_yticks([])
    costs.spines["bottom"].set_visible(False)
    costs.set_xlabel("time until it is selected")
    costs.set_ylim(number - 0.45, -0.55)
    rule_rows(gains, number, margin=0.08)
    return Drawing(figure, titles)


def _scores_picture(primary: str, compared: ComparedPrimary, order: Sequence[str]) -> Picture:
    methods = {name: compared.methods[name] for name in order if name in compared.methods}
    oracle = ", ".join(compared.oracle.auxiliary_tasks) or "none"
    return Picture(
        name=f"methods-{file_name(primary)}",
        title=f"What each method selects for {primary}",
        description=(
            f"Dev scores of {primary} with what {len(methods)} methods select. Alone it scores "
            f"{_score(compared.alone)}; the best known auxiliaries ({oracle}) bring "
            f"{_score(compared.oracle)}."
        ),
        table=Table(
            (
                "method",
                "selected",
                "score",
                "standard deviation",
                "gain",
                "regret",
                "seconds",
                "steps",
                "examples",
                "test score",
                "kept instances",
                "mixing ratio",
                "scores per seed",
            ),
            tuple(_scores_row(name, method, compared.alone) for name, method in methods.items()),
        ),
        draw=lambda: _draw_scores(primary, compared, methods),
    )


def _scores_row(
    name: str, method: ComparedMethod, alone: TrialInfo
) -> tuple[str | int | float | None, ...]:
    trial = method.trial
    tests = [score for score in trial.test_scores if score is not None]
    counts = (
        ", ".join(f"{t} {n}" for t, n in of.items()) for of in (trial.num_kept, trial.mixing_ratios)
    )
    return (
        name,
        ", ".join(trial.auxiliary_tasks) or "none",
        trial.score,
        trial.spread,
        _gain(trial, alone),
        method.regret,
        method.cost.seconds,
        method.cost.num_steps,
        method.cost.num_examples,
        _mean(tests) if tests else None,
        *counts,
        " ".join("?" if score is None else f"{score:.4f}" for score in trial.scores),
    )


def _draw_scores(
    primary: str, compared: ComparedPrimary, methods: dict[str, ComparedMethod]
) -> Drawing:
    number = len(methods)
    figure, axes = new_axes(3.1, 0.27 * number + 0.1)
    titles: dict[str, Sequence[str]] = {}
    for trial, words, style in (
        (compared.alone, "alone", (0, (4, 3))),
        (compared.oracle, "best known", (0, (1, 2))),
    ):
        if trial.score is not None:
            axes.axvline(trial.score, color=_MUTED, linewidth=1, linestyle=style, label=words)
    for place, (name, method) in enumerate(methods.items()):
        trial = method.trial
        if trial.score is None:
            continue
        scores = [score for score in trial.scores if score is not None]
        if len(scores) > 1:
            axes.plot(
                (min(scores), max(scores)),
                (place, place),
                color=_STRONG,
                linewidth=5,
                alpha=0.3,
                solid_capstyle="butt",
            )
        axes.plot(trial.score, place, "o", color=_STRONG, markersize=6.5, gid=f"method-{place}")
        selected = ", ".join(trial.auxiliary_tasks) or "none"
        titles[f"method-{place}"] = (f"{name} ({selected}): {_score(trial)}",)
        axes.text(
            1.02,
            place,
            figure_number(trial.score),
            transform=axes.get_yaxis_transform(),
            va="center",
        )
    axes.set_yticks(range(number), [short_name(name) for name in methods])
    rule_rows(axes, number, margin=0.08)
    axes.set_xlabel(f"dev score of {short_name(primary)}")
    return Drawing(figure, titles)


# --- the page -------------------------------------------------------------------------------------


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Writes the page of a comparison.

    Args:
        comparison: its numbers.
        path: the file; one that is there is replaced.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
        StoreError: the disk refused.
    """
    write_bytes_atomic(path, render_comparison(comparison).encode())


def render_comparison(comparison: Comparison) -> str:
    """A comparison as an HTML document without any reference to other files.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
    """
    overall, *single = comparison_pictures(comparison)
    found = means(comparison)
    return (
        page_environment()
        .get_template("comparison.html.j2")
        .render(
            comparison=comparison,
            found=found,
            overall=overall,
            primaries=[
                (primary, compared, picture)
                for (primary, compared), picture in zip(
                    comparison.primaries.items(), single, strict=True
                )
            ],
            certainty=_certainty(comparison, found),
            source=COMPARISON_JSON,
        )
    )


def _certainty(comparison: Comparison, found: Sequence[MethodMeans]) -> list[str]:
    """What makes the order of the methods sure or doubtful, one sentence each."""
    best, *others = found
    sentences = []
    spread = _spread(comparison, best.method)
    if spread is None:
        sentences.append(
            "Each score rests on one seed, so the spread is unknown and the order may be chance. "
            "Set evaluation_seeds to 3 or more."
        )
    else:
        sentences.append(
            f"The scores of one selection differ by {spread:.4f} between seeds (standard "
            f"deviation, {comparison.seeds} seeds). Smaller differences between methods say little."
        )
        cheaper = [
            method
            for method in others
            if best.gain - method.gain <= spread and method.seconds < best.seconds
        ]
        if cheaper:
            cheapest = min(cheaper, key=lambda method: method.seconds)
            sentences.append(
                f"Within that spread of {best.method}, {cheapest.method} costs least: "
                f"{duration(cheapest.seconds)} for {_signed(cheapest.gain)}."
            )
    if len(comparison.primaries) == 1:
        sentences.append("One primary says little about others. Compare on several.")
    sentences.append(
        "Methods that train before they choose do so by the dev score that is shown, which makes "
        "theirs optimistic. Keep a test set for the last word."
    )
    return sentences


def _spread(comparison: Comparison, name: str) -> float | None:
    """The usual standard deviation between seeds: the root of the mean variance."""
    spreads = [
        compared.methods[name].trial.spread
        for compared in comparison.primaries.values()
        if name in compared.methods
    ]
    known = [spread for spread in spreads if spread is not None]
    return math.sqrt(_mean([spread**2 for spread in known])) if known else None


def _score(trial: TrialInfo) -> str:
    if trial.score is None:
        return "undefined"
    return f"{trial.score:.4f}" + ("" if trial.spread is None else f" ± {trial.spread:.4f}")


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "\N{MINUS SIGN}")
