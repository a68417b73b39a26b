"""How every figure is drawn: colours, settings, axes and short words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gradts_plugin.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
INK, MUTED, RULE, PAPER = (COLOURS[name] for name in ("ink", "muted", "rule", "paper"))
STRONG, POSITIVE, NEGATIVE = (COLOURS[name] for name in ("strong", "positive", "negative"))

_LABEL_LENGTH = 18


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
            "text.color": INK,
            "axes.labelcolor": MUTED,
            "axes.labelsize": 8.5,
            "axes.edgecolor": RULE,
            "axes.linewidth": 0.8,
            "xtick.color": RULE,
            "ytick.color": RULE,
            "xtick.labelcolor": MUTED,
            "ytick.labelcolor": INK,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 9,
        }
    )


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure whose axes measure so many inches; labels are added around them when it is saved."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_facecolor("none")
    axes.tick_params(which="both", length=0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def rule_rows(axes: Any, number: int, *, margin: float) -> None:
    """One row for each of `number` things, first on top, with light rules behind them."""
    axes.set_ylim(number - 0.45, -0.55)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.locator_params(axis="x", nbins=5)
    axes.margins(x=margin)


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
