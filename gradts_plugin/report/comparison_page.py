"""The page of a comparison of selection methods, as one HTML file."""

from __future__ import annotations

from pathlib import Path

from gradts_plugin.comparison.results import COMPARISON, Comparison
from gradts_plugin.report.certainty import comparison_certainty
from gradts_plugin.report.figures.comparison import comparison_pictures
from gradts_plugin.report.figures.methods import by_gain
from gradts_plugin.report.page import page_environment
from gradts_plugin.stores.files import write_bytes_atomic


def write_comparison_page(comparison: Comparison, path: Path) -> None:
    """Writes the page of a comparison.

    Args:
        comparison: its numbers.
        path: the file; one that is there is replaced.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
        StoreError: the disk refused.
    """
    write_bytes_atomic(path, render_comparison_page(comparison).encode())


def render_comparison_page(comparison: Comparison) -> str:
    """A comparison as an HTML document without any reference to other files.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
    """
    overall, *single = comparison_pictures(comparison)
    found = by_gain(comparison)
    best = next(iter(found))
    return (
        page_environment()
        .get_template("comparison.html.j2")
        .render(
            comparison=comparison,
            best=best,
            tied=comparison.tied_with(best),
            found=list(found.values()),
            overall=overall,
            primaries=[
                (name, result, picture)
                for (name, result), picture in zip(
                    comparison.primaries.items(), single, strict=True
                )
            ],
            certainty=comparison_certainty(comparison, found),
            source=COMPARISON,
        )
    )
