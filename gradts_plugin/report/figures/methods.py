"""All methods of a comparison by their mean gain, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gradts_plugin.comparison.results import Comparison, MethodMeans
from gradts_plugin.report.figures.picture import Drawing, Picture, Table
from gradts_plugin.report.figures.style import MUTED, PAPER, STRONG, new_axes, rule_rows, short_name
from gradts_plugin.report.words import signed
from gradts_plugin.scores import shown_duration


def methods_picture(comparison: Comparison) -> Picture:
    """The methods by their mean gain, with every primary's, and what they cost."""
    found = by_gain(comparison)
    (best_name, best), *_ = found.items()
    said = "No method has a defined gain."
    if best.gain is not None:
        said = (
            f"The best, {best_name}, gains {best.gain:+.4f} and takes "
            f"{shown_duration(best.seconds)} to select."
        )
    return Picture(
        name="methods",
        title="Selection methods, means over the primaries",
        description=(
            f"{len(found)} methods by their mean gain over {len(comparison.primaries)} primaries, "
            f"best first. {said}"
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
                    name,
                    method.gain,
                    method.worst_gain,
                    method.regret,
                    method.seconds,
                    round(method.num_steps),
                    round(method.num_examples),
                    method.agreement,
                )
                for name, method in found.items()
            ),
            scores=("mean gain", "worst gain", "mean regret"),
        ),
        draw=lambda: _draw_methods(found, _single_gains(comparison)),
    )


def by_gain(comparison: Comparison) -> dict[str, MethodMeans]:
    """The methods by their mean gain, the best first; of equal ones the cheaper first."""
    found = comparison.means

    def place(name: str) -> tuple[bool, float, float]:
        of = found[name]
        return of.gain is None, -round(of.gain or 0.0, 9), of.seconds

    return {name: found[name] for name in sorted(found, key=place)}


def _single_gains(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Method -> primary -> its gain, where that is defined."""
    found: dict[str, dict[str, float]] = {}
    for primary, result in comparison.primaries.items():
        for name, method in result.methods.items():
            if method.gain is not None:
                found.setdefault(name, {})[primary] = method.gain
    return found


def _draw_methods(
    found: Mapping[str, MethodMeans], single: Mapping[str, Mapping[str, float]]
) -> Drawing:
    number = len(found)
    height = 0.27 * number + 0.1
    figure, gains = new_axes(2.6, height)
    titles: dict[str, Sequence[str]] = {}
    for place, (name, method) in enumerate(found.items()):
        for number_of, (primary, of_primary) in enumerate(single.get(name, {}).items()):
            gid = f"gain-{place}-{number_of}"
            gains.plot(
                of_primary, place, "o", color=MUTED, markersize=4.5, markerfacecolor=PAPER, gid=gid
            )
            titles[gid] = (f"{name}, {primary}: {of_primary:+.4f}",)
        if method.gain is not None:
            gains.plot(method.gain, place, "D", color=STRONG, markersize=5.5, gid=f"mean-{place}")
            titles[f"mean-{place}"] = (f"{name}: mean gain {method.gain:+.4f}",)
        said = signed(method.gain, digits=3)
        gains.text(1.03, place, said, transform=gains.get_yaxis_transform(), va="center")
    gains.axvline(0, color=MUTED, linewidth=0.8)
    gains.set_yticks(range(number), [short_name(name) for name in found])
    gains.set_xlabel("gain over the primary alone")
    # Beside it, with room for the gains written between them.
    costs = figure.add_axes((1.3, 0.0, 0.6, 1.0))
    costs.set_facecolor("none")
    costs.tick_params(which="both", length=0)
    costs.spines[["top", "right"]].set_visible(False)
    longest = max(*(method.seconds for method in found.values()), 1e-9)
    for place, (name, method) in enumerate(found.items()):
        said = shown_duration(method.seconds)
        costs.barh(place, method.seconds / longest, 0.55, color=MUTED, gid=f"cost-{place}")
        costs.text(method.seconds / longest + 0.02, place, said, va="center", fontsize=8.5)
        titles[f"cost-{place}"] = (f"{name}: {said} to select",)
    costs.set_xlim(0, 1.35)
    costs.set_xticks([])
    costs.set_yticks([])
    costs.spines["bottom"].set_visible(False)
    costs.set_xlabel("time until it is selected")
    costs.set_ylim(number - 0.45, -0.55)
    rule_rows(gains, number, margin=0.08)
    return Drawing(figure, titles)
