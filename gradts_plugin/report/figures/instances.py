"""How the instances of each candidate correlate with the primary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradts_plugin.records import FloatArray
from gradts_plugin.report.figures.picture import Drawing, Picture, Table
from gradts_plugin.report.figures.style import (
    INK,
    MUTED,
    NEGATIVE,
    RULE,
    STRONG,
    figure_number,
    new_axes,
    short_name,
)
from gradts_plugin.report.record import InstancesInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
        title=f"Instances of each candidate by their {instances.measure} with {primary}",
        description=f"Histograms of instance-level {instances.measure}; medians: {medians}.{theta}",
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
        _draw_bars(axes, edges, base, heights, colour=RULE, gid=dropped_gid)
        colour, alpha = (MUTED, 0.6) if kept is None else (STRONG, 1.0)
        _draw_bars(axes, edges, base, heights * shares, colour=colour, alpha=alpha, gid=kept_gid)
        share = task.num_kept / max(1, task.num_instances)
        median = f"median {instances.measure} {task.median:.3f}"
        said = f"{task.task}: {task.num_instances} instances, {median}"
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
        axes.plot([task.median] * 2, [base, base + 0.9], color=INK, linewidth=1)
        axes.axhline(base, color=RULE, linewidth=0.6)
    if instances.threshold is not None:
        axes.axvline(instances.threshold, color=NEGATIVE, linewidth=1.2, linestyle=(0, (4, 3)))
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
    axes.set_xlabel(f"{instances.measure} of an instance with {short_name(primary)}")
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
