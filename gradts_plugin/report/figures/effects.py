"""What each candidate, or set, adds to the primary's score, as a search knows it in the end."""

from __future__ import annotations

from collections.abc import Sequence

from gradts_plugin.records import Selection
from gradts_plugin.report.figures.interval_rows import draw_interval, name_rows
from gradts_plugin.report.figures.picture import Drawing, Picture, Table
from gradts_plugin.report.figures.style import MUTED, new_axes, short_name
from gradts_plugin.report.words import signed
from gradts_plugin.scores import Effect


def effects_picture(selection: Selection) -> Picture:
    """The effects of the last round, best first; the selection has rounds, and that has effects."""
    last = selection.rounds[-1]
    best, worst = last.effects[0], last.effects[-1]
    return Picture(
        name="effects",
        title=f"What auxiliaries add to {selection.primary_task}",
        description=(
            f"Gains over {selection.primary_task} alone, best first: from {_name(best)} "
            f"({best.gain.shown_short}) to {_name(worst)} ({worst.gain.shown_short})."
        ),
        table=Table(
            ("auxiliaries", "gain", "low", "high", "P(helps)", "selected"),
            tuple(
                (
                    _name(effect),
                    effect.gain.gain,
                    effect.gain.low,
                    effect.gain.high,
                    effect.gain.p_helps,
                    "yes" if _is_selected(effect, selection) else "no",
                )
                for effect in last.effects
            ),
            scores=("gain",),
        ),
        draw=lambda: _draw_effects(selection),
    )


def _draw_effects(selection: Selection) -> Drawing:
    effects = selection.rounds[-1].effects
    figure, axes = new_axes(3.1, 0.27 * len(effects) + 0.1)
    titles: dict[str, Sequence[str]] = {}
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for place, effect in enumerate(effects):
        gain = effect.gain
        if gain.gain is None:
            continue
        draw_interval(
            axes,
            place,
            gain.gain,
            None if gain.low is None or gain.high is None else (gain.low, gain.high),
            chosen=_is_selected(effect, selection),
            name=f"effect-{place}",
            text=signed(gain.gain, 3),
        )
        titles[f"effect-{place}"] = (f"{_name(effect)}: {gain.shown}",)
    name_rows(axes, [(_name(effect), _is_selected(effect, selection)) for effect in effects])
    axes.set_xlabel(f"gain over {short_name(selection.primary_task)} alone")
    return Drawing(figure, titles)


def _name(effect: Effect) -> str:
    return ", ".join(effect.auxiliary_tasks)


def _is_selected(effect: Effect, selection: Selection) -> bool:
    """A single candidate is selected with others; a larger set only as it is."""
    names, chosen = effect.auxiliary_tasks, selection.auxiliary_tasks
    return names == chosen or (_has_singles_only(selection) and set(names) <= set(chosen))


def _has_singles_only(selection: Selection) -> bool:
    return all(len(effect.auxiliary_tasks) == 1 for effect in selection.rounds[-1].effects)
