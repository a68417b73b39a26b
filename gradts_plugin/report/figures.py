"""The figures of a run: first their numbers, then the drawing.

A picture draws what its table says, from the numbers of a report (`report.data`):

    from gradts_plugin.report.data import read_report
    from gradts_plugin.report.figures import pictures, write_picture

    for picture in pictures(read_report(Path("runs/rte"))):
        write_picture(picture, Path("figures") / f"{picture.name}.pdf")
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.records import FloatArray, Ranking
from gradts_plugin.report.data import (
    CorrelationInfo,
    HeadMap,
    InstancesInfo,
    RankingInfo,
    ReportInfo,
    TrialInfo,
)
from gradts_plugin.stores.files import write_bytes_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLOURS",
    "FORMATS",
    "CorrelationFigureInfo",
    "Drawing",
    "Picture",
    "Table",
    "correlation_figure_info",
    "draw_task_correlations",
    "drawing_settings",
    "figure_number",
    "file_name",
    "new_axes",
    "pictures",
    "render",
    "saved",
    "short_name",
    "write_picture",
    "write_pictures",
]

_DRAWN = ("svg", "png", "pdf")
FORMATS = (*_DRAWN, "csv", "json")

#: The colours of a drawing by their use; a page that shows an SVG may put its own in their place.
#: Blue and orange are told apart with any kind of colour blindness.
COLOURS: Mapping[str, str] = {
    "ink": "#1b1f25",
    "muted": "#58616d",
    "rule": "#c9d0d8",
    "paper": "#fffffe",
    "strong": "#1763b5",
    "positive": "#2f7fd9",
    "negative": "#df7f2f",
}
_INK, _MUTED, _RULE, _PAPER = (COLOURS[name] for name in ("ink", "muted", "rule", "paper"))
_STRONG, _POSITIVE, _NEGATIVE = (COLOURS[name] for name in ("strong", "positive", "negative"))

# The strongest colour of a cell still lets its number be read.
_MOST_OPAQUE = 0.7
# Below this the colours would blow up differences that are not there.
_SMALLEST_LIMIT = 0.1
_LABEL_LENGTH = 18

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Numbers as rows.

    Attributes:
        columns: their names.
        rows: one value per column; None where there is none.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Drawing:
    """A matplotlib figure, and what its parts say.

    Attributes:
        figure: the figure.
        titles: group id of an artist -> what it shows, for hovering; several where the artist is a
            collection, in drawing order.
    """

    figure: Figure
    titles: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn, or printed as a table.

    Attributes:
        name: of its file, without a suffix.
        title: a few words.
        description: what there is to see, in a sentence or two, for those who do not see it.
        table: the numbers.
        draw: draws them; needs matplotlib.
    """

    name: str
    title: str
    description: str
    table: Table
    draw: Callable[[], Drawing]


def pictures(info: ReportInfo) -> tuple[Picture, ...]:
    """Every picture that a run has the numbers for, in the order of the report."""
    found = []
    if info.ranking is not None:
        found.append(ranking_picture(info.primary_task, info.ranking, info.auxiliary_tasks))
    if info.correlations is not None:
        found.append(correlations_picture(info.primary_task, info.correlations))
    found += [head_map_picture(head_map) for head_map in info.head_maps]
    if info.trials:
        found.append(trials_picture(info))
    if info.instances is not None and info.instances.tasks:
        found.append(instances_picture(info.primary_task, info.instances))
    return tuple(found)


# --- files ----------------------------------------------------------------------------------------


def render(picture: Picture, suffix: str) -> bytes:
    """A picture as the content of a file.

    Args:
        picture: what to draw.
        suffix: svg, png or pdf for the drawing, csv or json for its numbers.

    Raises:
        ConfigError: no such format, or matplotlib is not installed.
    """
    if suffix == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerows([picture.table.columns, *picture.table.rows])
        return text.getvalue().encode()
    if suffix == "json":
        rows = [dict(zip(picture.table.columns, row, strict=True)) for row in picture.table.rows]
        values = {"name": picture.name, "title": picture.title, "rows": rows}
        return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()
    if suffix not in _DRAWN:
        raise ConfigError(f"no picture format {suffix!r}; {nearest(suffix, FORMATS)}")
    with drawing_settings():
        return saved(picture.draw().figure, suffix)


def write_picture(picture: Picture, path: Path) -> None:
    """Writes a picture; the suffix of the path says the format.

    Raises:
        ConfigError: no such format, or matplotlib is not installed.
        StoreError: the disk refused.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: no picture format {suffix!r}; {nearest(suffix, FORMATS)}")
    write_bytes_atomic(path, render(picture, suffix))


def write_pictures(drawn: Iterable[Picture], folder: Path, suffix: str) -> list[Path]:
    """Writes pictures into a folder, each under its own name; returns their paths."""
    paths = []
    for picture in drawn:
        paths.append(folder / f"{picture.name}.{suffix}")
        write_picture(picture, paths[-1])
    return paths


def drawing_settings() -> Any:
    """Settings inside which everything is drawn and saved.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise ConfigError(
            "drawing needs matplotlib; install it with: pip install 'gradts-plugin[plots]'"
        ) from error
    return mpl.rc_context(
        {
            # A salt (and no date): the same numbers give the same file. Text stays text.
            "svg.hashsalt": "gradts",
            "svg.fonttype": "none",
            "pdf.fonttype": 42,
            "text.parse_math": False,  # a dollar in a task's name is a dollar
            "axes.unicode_minus": True,
            "font.size": 9,
            "text.color": _INK,
            "axes.labelcolor": _MUTED,
            "axes.labelsize": 8.5,
            "axes.edgecolor": _RULE,
            "axes.linewidth": 0.8,
            "xtick.color": _RULE,
            "ytick.color": _RULE,
            "xtick.labelcolor": _MUTED,
            "ytick.labelcolor": _INK,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 9,
        }
    )


def saved(figure: Figure, suffix: str) -> bytes:
    """A drawn figure as the content of a file; inside `drawing_settings` only."""
    content = io.BytesIO()
    metadata: dict[str, Any] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(
        content,
        format=suffix,
        dpi=200,
        metadata=metadata[suffix],
        bbox_inches="tight",
        pad_inches=0.03,
        # Dark text on nothing could not be read in a dark viewer of pictures.
        facecolor=_PAPER if suffix == "png" else "none",
    )
    return content.getvalue()


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose axes measure so many inches; labels are added around them when it is saved."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_facecolor("none")
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


# --- the ranking ----------------------------------------------------------------------------------


def ranking_picture(primary: str, ranking: RankingInfo, selected: Sequence[str]) -> Picture:
    """The candidates, best first, with their intervals."""
    best = ranking.candidates[0]
    last = ranking.candidates[-1]
    return Picture(
        name="ranking",
        title=f"Candidates for {primary}",
        description=(
            f"{len(ranking.candidates)} candidates by {ranking.measure}, best first: from "
            f"{best.task} ({best.value:.3f}) to {last.task} ({last.value:.3f}). "
            f"Selected: {', '.join(selected) or 'none'}."
        ),
        table=Table(
            ("rank", "task", ranking.measure, "low", "high", "P(above next)", "selected"),
            tuple(
                (
                    place,
                    candidate.task,
                    candidate.value,
                    *(candidate.interval or (None, None)),
                    candidate.probability_above_next,
                    "yes" if candidate.task in selected else "no",
                )
                for place, candidate in enumerate(ranking.candidates, start=1)
            ),
        ),
        draw=lambda: _draw_ranking(primary, ranking, selected),
    )


def _draw_ranking(primary: str, ranking: RankingInfo, selected: Sequence[str]) -> Drawing:
    number = len(ranking.candidates)
    figure, axes = new_axes(3.1, 0.27 * number + 0.1)
    titles: dict[str, Sequence[str]] = {}
    if ranking.null_sd is not None:
        axes.axvspan(-ranking.null_sd, ranking.null_sd, color=_RULE, alpha=0.5, linewidth=0)
        axes.axvline(0, color=_MUTED, linewidth=0.8)
    if ranking.threshold is not None:
        axes.axvline(ranking.threshold, color=_STRONG, linewidth=1, linestyle=(0, (4, 3)))
    for place, candidate in enumerate(ranking.candidates):
        chosen = candidate.task in selected
        colour = _STRONG if chosen else _MUTED
        if candidate.interval is not None:
            axes.plot(
                candidate.interval,
                (place, place),
                color=colour,
                linewidth=5,
                alpha=0.4,
                solid_capstyle="butt",
            )
        axes.plot(
            candidate.value,
            place,
            "o",
            color=colour,
            markersize=6.5,
            markerfacecolor=colour if chosen else _PAPER,
            markeredgewidth=1.4,
            gid=f"candidate-{place}",
        )
        interval = candidate.interval
        within = ""
        if interval is not None:
            level = f"{ranking.confidence:.0%}"
            within = f", {level} interval {interval[0]:.3f} to {interval[1]:.3f}"
        titles[f"candidate-{place}"] = (f"{candidate.task}: {candidate.value:.3f}{within}",)
        axes.text(
            1.02,
            place,
            figure_number(candidate.value),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontweight="bold" if chosen else "normal",
        )
    axes.set_yticks(range(number), [short_name(c.task) for c in ranking.candidates])
    for label, candidate in zip(axes.get_yticklabels(), ranking.candidates, strict=True):
        label.set_fontweight("bold" if candidate.task in selected else "normal")
    rule_rows(axes, number, margin=0.06)
    axes.set_xlabel(f"{ranking.measure} with {short_name(primary)}")
    return Drawing(figure, titles)


def rule_rows(axes: Any, number: int, *, margin: float) -> None:
    """One row for each of `number` things, first on top, with light rules behind them."""
    axes.set_ylim(number - 0.45, -0.55)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=margin)


# --- correlations between all tasks ---------------------------------------------------------------


@dataclass(frozen=True)
class CorrelationFigureInfo:
    """The numbers of the picture.

    Attributes:
        task_names: rows and columns.
        taus: float array of shape (T, T), symmetric, ones on the diagonal.
        num_heads_total: n = L * H.
        null_sd: standard deviation of tau between unrelated rankings of n heads.
        limit: the colours run from -limit to limit, the largest tau between two tasks.
        primary_task: is set apart.
    """

    task_names: tuple[str, ...]
    taus: FloatArray
    num_heads_total: int
    null_sd: float
    limit: float
    primary_task: str


def correlation_figure_info(ranking: Ranking) -> CorrelationFigureInfo:
    """Puts the task-task taus into ranking order.

    Args:
        ranking: as ranked, with the taus between all tasks.

    Returns:
        The numbers to draw or print: the primary, then the candidates, best-ranked first.

    Raises:
        ConfigError: the ranker correlates the candidates with the primary only.
    """
    if ranking.task_taus is None:
        raise ConfigError(f"ranker {ranking.ranker!r} knows no correlations between all tasks")
    names = (ranking.primary_task, *ranking.task_order)
    rows = [ranking.task_names.index(name) for name in names]
    taus = ranking.task_taus[np.ix_(rows, rows)]
    return CorrelationFigureInfo(
        task_names=names,
        taus=taus,
        num_heads_total=ranking.num_heads_total,
        null_sd=ranking.null_sd,
        limit=_limit(taus),
        primary_task=ranking.primary_task,
    )


def draw_task_correlations(info: CorrelationFigureInfo, path: Path) -> None:
    """Draws a heat map of the taus between all tasks.

    Args:
        info: the numbers.
        path: the picture; its suffix says the format (svg, png or pdf).

    Raises:
        ConfigError: matplotlib is not installed, or the suffix is none of the formats.
        StoreError: the disk refused.
    """
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in _DRAWN:
        raise ConfigError(f"{path}: no picture format {suffix!r}; {nearest(suffix, _DRAWN)}")
    with drawing_settings():
        content = saved(_draw_correlations(info).figure, suffix)
    write_bytes_atomic(path, content)


def correlations_picture(primary: str, correlations: CorrelationInfo) -> Picture:
    """The taus between all tasks, similar ones beside each other."""
    taus = np.array(correlations.taus)
    names = correlations.task_names
    numbers = CorrelationFigureInfo(
        task_names=names,
        taus=taus,
        num_heads_total=correlations.num_heads,
        null_sd=correlations.null_sd,
        limit=_limit(taus),
        primary_task=primary,
    )
    apart = np.where(np.eye(len(names), dtype=bool), -2.0, taus)
    row, column = np.unravel_index(apart.argmax(), apart.shape)
    return Picture(
        name="task-correlations",
        title="Correlations between all tasks",
        description=(
            f"Heat map of tau between {len(names)} tasks, similar ones beside each other. The "
            f"highest is {taus[row, column]:.2f}, between {names[row]} and {names[column]}."
        ),
        table=Table(
            ("task", *names),
            tuple((name, *values) for name, values in zip(names, correlations.taus, strict=True)),
        ),
        draw=lambda: _draw_correlations(numbers),
    )


def _draw_correlations(info: CorrelationFigureInfo) -> Drawing:
    number = len(info.task_names)
    side = max(0.36 * number, 1.2)
    figure, axes = new_axes(side, side)
    apart = ~np.eye(number, dtype=bool)
    colours = np.zeros((number, number, 4))
    for sign, colour in ((1, _POSITIVE), (-1, _NEGATIVE)):
        colours[np.sign(info.taus) == sign, :3] = _rgb(colour)
    colours[..., 3] = np.where(apart, _MOST_OPAQUE * np.abs(info.taus) / info.limit, 0)
    _draw_cells(axes, colours, gid="taus")
    for (row, column), tau in np.ndenumerate(info.taus):
        if row != column:
            text = _short(float(tau))
            axes.text(column, row, text, ha="center", va="center", fontsize=8)
    labels = [short_name(name) for name in info.task_names]
    axes.set_xticks(range(number), labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(number), labels)
    axes.tick_params(pad=2, labelcolor=_INK, labelsize=9)
    if info.primary_task in info.task_names:
        place = info.task_names.index(info.primary_task)
        for of_axis in (axes.get_xticklabels(), axes.get_yticklabels()):
            of_axis[place].set_fontweight("bold")
    axes.spines[:].set_visible(False)
    titles = [
        f"{row} and {column}: tau {info.taus[here, there]:.3f}"
        for here, row in enumerate(info.task_names)
        for there, column in enumerate(info.task_names)
    ]
    return Drawing(figure, {"taus": titles})


def _limit(taus: FloatArray) -> float:
    between = np.abs(taus[~np.eye(len(taus), dtype=bool)])
    return max(_SMALLEST_LIMIT, float(between.max(initial=0.0)))


# --- head importance ------------------------------------------------------------------------------


def head_map_picture(head_map: HeadMap) -> Picture:
    """How much a task relies on each head."""
    importance = np.array(head_map.importance)
    num_layers, num_heads = importance.shape
    layer, head = np.unravel_index(importance.argmax(), importance.shape)
    return Picture(
        name=f"head-importance-{file_name(head_map.task)}",
        title=f"Head importance for {head_map.task}",
        description=(
            f"Heat map of head importance for {head_map.task}, {num_layers} layers by {num_heads} "
            f"heads; the most important is head {head + 1} of layer {layer + 1}."
        ),
        table=Table(
            ("layer", *(f"head {head}" for head in range(1, num_heads + 1))),
            tuple((place, *row) for place, row in enumerate(head_map.importance, start=1)),
        ),
        draw=lambda: _draw_head_map(importance),
    )


def _draw_head_map(importance: FloatArray) -> Drawing:
    num_layers, num_heads = importance.shape
    cell = min(0.3, 2.4 / max(num_layers, num_heads))
    figure, axes = new_axes(cell * num_heads, cell * num_layers)
    colours = np.empty((num_layers, num_heads, 4))
    colours[..., :3] = _rgb(_STRONG)
    colours[..., 3] = importance
    _draw_cells(axes, colours, gid="heads")
    axes.set_xticks(*_every(num_heads, most=6))
    axes.set_yticks(*_every(num_layers, most=6))
    axes.tick_params(pad=2, labelcolor=_MUTED, labelsize=8)
    axes.spines[:].set_visible(True)
    axes.set_xlabel("head", labelpad=1)
    axes.set_ylabel("layer", labelpad=2)
    titles = [
        f"layer {layer + 1}, head {head + 1}: {value:.2f}"
        for (layer, head), value in np.ndenumerate(importance)
    ]
    return Drawing(figure, {"heads": titles})


def _draw_cells(axes: Axes, colours: FloatArray, *, gid: str) -> None:
    """Square cells of shape (rows, columns, 4), the first row on top."""
    from matplotlib.collections import PolyCollection

    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    rows, columns = colours.shape[:2]
    squares = [
        corners + np.array([column, row]) for row in range(rows) for column in range(columns)
    ]
    cells = PolyCollection(
        squares, facecolors=colours.reshape(-1, 4), edgecolors=_PAPER, linewidths=0.7, gid=gid
    )
    axes.add_collection(cells)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def _every(number: int, *, most: int) -> tuple[list[int], list[str]]:
    """Places and labels, from 1, of at most so many ticks."""
    step = -(-number // most)
    places = list(range(step - 1, number, step))
    return places, [str(place + 1) for place in places]


# --- trials ---------------------------------------------------------------------------------------


def trials_picture(info: ReportInfo) -> Picture:
    """The primary's dev score in every trial, in the order in which they were made."""
    scored = [trial for trial in info.trials if trial.score is not None]
    best = max(scored, key=lambda trial: trial.score or 0.0, default=None)
    found = "No trial has a defined score."
    if best is not None:
        found = f"The best, {_trial_name(best)}, scores {best.score:.4f}."
    return Picture(
        name="trials",
        title=f"Dev score of {info.primary_task} in each trial",
        description=f"{len(info.trials)} trials in the order in which they were made. {found}",
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
                    " ".join("?" if score is None else f"{score:.4f}" for score in trial.scores),
                    _named_counts(trial.num_kept),
                    _named_counts(trial.mixing_ratios),
                    trial.num_steps,
                    trial.seconds,
                    "yes" if trial.reused else "no",
                )
                for place, trial in enumerate(info.trials, start=1)
            ),
        ),
        draw=lambda: _draw_trials(info),
    )


def _draw_trials(info: ReportInfo) -> Drawing:
    trials = info.trials
    figure, axes = new_axes(max(2.8, 0.42 * len(trials)), 2.1)
    titles: dict[str, Sequence[str]] = {}
    means = [np.nan if trial.score is None else trial.score for trial in trials]
    axes.plot(means, color=_MUTED, linewidth=1, zorder=1)
    alone = next((t.score for t in (*trials, info.alone) if t and not t.auxiliary_tasks), None)
    if alone is not None:
        axes.axhline(alone, color=_MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        axes.text(
            1.01,
            alone,
            "alone",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8,
            color=_MUTED,
        )
    for place, trial in enumerate(trials):
        if trial.score is None:
            continue
        chosen = _is_selection(trial, info)
        colour = _STRONG if chosen else _MUTED
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
            markerfacecolor=colour if chosen else _PAPER,
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
        label.set_fontweight("bold" if _is_selection(trial, info) else "normal")
    axes.tick_params(pad=2, labelcolor=_INK)
    axes.set_xlim(-0.5, len(trials) - 0.5)
    axes.margins(y=0.12)
    axes.grid(axis="y", color=_RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="y", nbins=5)
    axes.set_ylabel(f"dev score of {short_name(info.primary_task)}")
    return Drawing(figure, titles)


def _is_selection(trial: TrialInfo, info: ReportInfo) -> bool:
    return (trial.auxiliary_tasks, dict(trial.num_kept), dict(trial.mixing_ratios)) == (
        info.auxiliary_tasks,
        dict(info.num_kept),
        dict(info.mixing_ratios),
    )


def _trial_name(trial: TrialInfo) -> str:
    name = f"with {', '.join(trial.auxiliary_tasks)}" if trial.auxiliary_tasks else "alone"
    if trial.num_kept:
        name += f" (kept: {_named_counts(trial.num_kept)})"
    return f"{name} ({_named_counts(trial.mixing_ratios)})" if trial.mixing_ratios else name


def _trial_label(before: TrialInfo | None, trial: TrialInfo) -> str:
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


# --- instances ------------------------------------------------------------------------------------


def instances_picture(primary: str, instances: InstancesInfo) -> Picture:
    """How the instances of each candidate correlate with the primary."""
    filtered = [task for task in instances.tasks if task.kept_counts is not None]
    columns = ["from", "to", *(task.task for task in instances.tasks)]
    columns += [f"{task.task}, kept" for task in filtered]
    counts = [task.counts for task in instances.tasks]
    counts += [task.kept_counts for task in filtered if task.kept_counts is not None]
    theta = "" if instances.threshold is None else f" Theta is {instances.threshold:.3f}."
    medians = ", ".join(f"{task.task} {task.median:.2f}" for task in instances.tasks)
    return Picture(
        name="instance-taus",
        title=f"Instances of each candidate by their tau with {primary}",
        description=f"Histograms of instance-level tau; medians: {medians}.{theta}",
        table=Table(
            tuple(columns),
            tuple(
                (low, high, *bins)
                for low, high, bins in zip(
                    instances.edges, instances.edges[1:], zip(*counts, strict=True), strict=False
                )
            ),
        ),
        draw=lambda: _draw_instances(primary, instances),
    )


def _draw_instances(primary: str, instances: InstancesInfo) -> Drawing:
    number = len(instances.tasks)
    figure, axes = new_axes(3.1, 0.5 * number)
    titles: dict[str, Sequence[str]] = {}
    edges = np.array(instances.edges)
    for place, task in enumerate(instances.tasks):
        heights = np.array(task.counts) / max(1, *task.counts) * 0.82
        base = float(number - 1 - place)
        kept = task.kept_counts
        shares = np.ones(len(heights)) if kept is None else _ratio(kept, task.counts)
        dropped_gid, kept_gid = f"instances-{place}", f"kept-{place}"
        _draw_bars(axes, edges, base, heights, colour=_RULE, gid=dropped_gid)
        colour, alpha = (_MUTED, 0.6) if kept is None else (_STRONG, 1.0)
        _draw_bars(axes, edges, base, heights * shares, colour=colour, alpha=alpha, gid=kept_gid)
        share = task.num_kept / max(1, task.num_instances)
        said = f"{task.task}: {task.num_instances} instances, median tau {task.median:.3f}"
        if kept is not None:
            said += f", {share:.0%} kept"
            axes.text(
                1.02,
                base + 0.3,
                f"{share:.0%} kept",
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=8.5,
            )
        titles |= {dropped_gid: (said,), kept_gid: (said,)}
        axes.plot([task.median] * 2, [base, base + 0.9], color=_INK, linewidth=1)
        axes.axhline(base, color=_RULE, linewidth=0.6)
    if instances.threshold is not None:
        axes.axvline(instances.threshold, color=_NEGATIVE, linewidth=1.2, linestyle=(0, (4, 3)))
        theta = f"theta {figure_number(instances.threshold)}"
        axes.text(instances.threshold, number + 0.05, theta, ha="center", va="bottom")
    axes.set_yticks(
        [number - 1 - place + 0.3 for place in range(number)],
        [short_name(task.task) for task in instances.tasks],
    )
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, number)
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=6)
    axes.set_xlabel(f"tau of an instance with {short_name(primary)}")
    return Drawing(figure, titles)


def _draw_bars(
    axes: Axes,
    edges: FloatArray,
    base: float,
    heights: FloatArray,
    *,
    colour: str,
    gid: str,
    alpha: float = 1.0,
) -> None:
    axes.stairs(
        base + heights,
        edges,
        baseline=base,
        fill=True,
        color=colour,
        alpha=alpha,
        linewidth=0,
        gid=gid,
    )


def _ratio(kept: Sequence[int], counts: Sequence[int]) -> FloatArray:
    shares: FloatArray = np.array(kept) / np.maximum(np.array(counts), 1)
    return shares


# --- words and numbers ----------------------------------------------------------------------------


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))


def _short(tau: float) -> str:
    """Two digits without the leading zero and with a true minus: .62, 1.00."""
    digits = f"{abs(tau):.2f}".removeprefix("0")
    return f"\N{MINUS SIGN}{digits}" if tau < 0 and digits != ".00" else digits


def figure_number(value: float) -> str:
    """Three digits and a true minus; thousands without digits."""
    text = f"{value:.3f}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", "\N{MINUS SIGN}")


def short_name(name: str) -> str:
    """A name that fits beside a drawing."""
    return name if len(name) <= _LABEL_LENGTH else name[: _LABEL_LENGTH - 1] + "…"


def file_name(task: str) -> str:
    """A name without anything that a file's name should not have."""
    return re.sub(r"[^\w.-]+", "_", task)
