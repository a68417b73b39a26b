"""How much a task relies on each head."""

from __future__ import annotations

import numpy as np

from gradts_plugin.records import FloatArray
from gradts_plugin.report.figures.cells import draw_cells, rgb
from gradts_plugin.report.figures.picture import Drawing, Picture, Table
from gradts_plugin.report.figures.style import MUTED, STRONG, file_name, new_axes
from gradts_plugin.report.record import HeadMap


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
    colours[..., :3] = rgb(STRONG)
    colours[..., 3] = importance
    draw_cells(axes, colours, gid="heads")
    axes.set_xticks(*_every(num_heads, most=6))
    axes.set_yticks(*_every(num_layers, most=6))
    axes.tick_params(pad=2, labelcolor=MUTED, labelsize=8)
    axes.spines[:].set_visible(True)
    axes.set_xlabel("head", labelpad=1)
    axes.set_ylabel("layer", labelpad=2)
    titles = [
        f"layer {layer + 1}, head {head + 1}: {value:.2f}"
        for (layer, head), value in np.ndenumerate(importance)
    ]
    return Drawing(figure, {"heads": titles})


def _every(number: int, *, most: int) -> tuple[list[int], list[str]]:
    """Places and labels, from 1, of at most so many ticks."""
    step = -(-number // most)
    places = list(range(step - 1, number, step))
    return places, [str(place + 1) for place in places]
