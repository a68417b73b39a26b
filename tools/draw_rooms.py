"""Draws the rooms of the package by floor, with arrows for imports: docs/images/rooms.svg.

    python tools/draw_rooms.py [--root DIR] [--output FILE]

A room stands above everything it imports. Arrows that others imply (a imports b, b imports c, and a
imports c) are left out.
"""

from __future__ import annotations

import argparse
import ast
import itertools
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from house import PACKAGE
from import_graph import floors, room_graph, without_shortcuts

BOX_HEIGHT, FLOOR_HEIGHT, GAP, MARGIN = 30, 84, 22, 24

STYLE = """
  svg { --paper: #fff; --ink: #1c2333; --folder: #dfe6ff; --module: #f3f4f7; --line: #5b6785; }
  @media (prefers-color-scheme: dark) {
    svg { --paper: #14171f; --ink: #e8ebf4; --folder: #2b3763; --module: #232833; --line: #97a3c4; }
  }
  rect { stroke: var(--line); fill: var(--module); }
  rect.paper { fill: var(--paper); stroke: none; }
  rect.folder { fill: var(--folder); }
  text { fill: var(--ink); font: 14px system-ui, sans-serif; text-anchor: middle; }
  path { stroke: var(--line); fill: none; stroke-opacity: .75; }
  marker path { fill: var(--line); stroke: none; }
"""


@dataclass(eq=False)
class _Spot:
    """A room, or a bend of an arrow that passes a floor, and where it is drawn."""

    width: float
    y: int
    x: float = 0.0
    neighbours: list[_Spot] = field(default_factory=list)


def draw(package: Path) -> str:
    """The picture as SVG."""
    graph = room_graph(package)
    levels = floors(graph)
    spots = {
        room: _Spot(8.2 * len(_title(package, room)) + 24, MARGIN + FLOOR_HEIGHT * depth)
        for depth, rooms in enumerate(reversed(levels))
        for room in rooms
    }
    ways = [
        _way(spots[room], spots[target])
        for room, targets in without_shortcuts(graph).items()
        for target in targets
    ]
    everything = dict.fromkeys([*spots.values(), *itertools.chain(*ways)])
    heights = sorted({spot.y for spot in everything}, reverse=True)
    _place([[spot for spot in everything if spot.y == y] for y in heights])
    left = min(spot.x - spot.width / 2 for spot in everything) - MARGIN
    width = max(spot.x + spot.width / 2 for spot in everything) + MARGIN - left
    height = max(spot.y for spot in everything) + BOX_HEIGHT + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} 0 {width:.0f} {height}" '
        f'role="img" aria-label="The rooms of {PACKAGE} by floor">',
        f"<style>{STYLE}</style>",
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z"/></marker>',
        f'<rect class="paper" x="{left:.0f}" width="{width:.0f}" height="{height}"/>',
    ]
    lines += [f'<path d="{_curve(way)}" marker-end="url(#tip)"/>' for way in ways]
    for room, spot in spots.items():
        kind = "folder" if (package / room).is_dir() else "module"
        lines.append(
            f'<g><title>{escape(_docstring(package, room))}</title><rect class="{kind}" rx="5" '
            f'x="{spot.x - spot.width / 2:.0f}" y="{spot.y}" width="{spot.width:.0f}" '
            f'height="{BOX_HEIGHT}"/><text x="{spot.x:.0f}" y="{spot.y + 20}">'
            f"{escape(_title(package, room))}</text></g>"
        )
    return "\n".join([*lines, "</svg>", ""])


def _way(start: _Spot, end: _Spot) -> list[_Spot]:
    """The spots of an arrow: a room, a bend on every floor between, a room; now neighbours."""
    bends = range(start.y + FLOOR_HEIGHT, end.y, FLOOR_HEIGHT)
    way = [start, *(_Spot(6, y) for y in bends), end]
    for upper, lower in itertools.pairwise(way):
        upper.neighbours.append(lower)
        lower.neighbours.append(upper)
    return way


def _place(rows: list[list[_Spot]]) -> None:
    """Gives every spot an x near those it is joined to, apart from its floor's others."""
    for step in range(60):
        for row in rows[:: 1 if step % 2 else -1]:
            wanted = {
                spot: sum(other.x for other in spot.neighbours) / len(spot.neighbours)
                if spot.neighbours
                else spot.x
                for spot in row
            }
            row.sort(key=lambda spot: wanted[spot])
            edge = float("-inf")
            for spot in row:
                spot.x = max(wanted[spot], edge + GAP + spot.width / 2)
                edge = spot.x + spot.width / 2
            shift = sum(wanted[spot] - spot.x for spot in row) / len(row)
            for spot in row:
                spot.x += shift


def _curve(way: list[_Spot]) -> str:
    """From a room's lower edge, through the bends, to the upper edge of another."""
    path = f"M{way[0].x:.0f} {way[0].y + BOX_HEIGHT}"
    for upper, lower in itertools.pairwise(way):
        middle = (upper.y + BOX_HEIGHT + lower.y) // 2
        path += f"C{upper.x:.0f} {middle} {lower.x:.0f} {middle} {lower.x:.0f} {lower.y}"
        if lower is not way[-1]:
            path += f"V{lower.y + BOX_HEIGHT}"
    return path


def _title(package: Path, room: str) -> str:
    return f"{room}/" if (package / room).is_dir() else room


def _docstring(package: Path, room: str) -> str:
    path = package / room / "__init__.py"
    text = (path if path.exists() else package / f"{room}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(text)) or room).splitlines()[0]


def main() -> None:
    """Writes the picture."""
    checkout = Path(__file__).parents[1]
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=checkout)
    parser.add_argument("--output", type=Path, default=checkout / "docs/images/rooms.svg")
    given = parser.parse_args()
    given.output.write_text(draw(given.root / PACKAGE), encoding="utf-8")


if __name__ == "__main__":
    main()
