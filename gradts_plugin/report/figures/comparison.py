"""Every figure of a comparison."""

from __future__ import annotations

from gradts_plugin.comparison.results import Comparison
from gradts_plugin.report.figures.methods import by_gain, methods_picture
from gradts_plugin.report.figures.picture import Picture
from gradts_plugin.report.figures.scores import scores_picture


def comparison_pictures(comparison: Comparison) -> tuple[Picture, ...]:
    """The means, then the methods of each primary."""
    order = list(by_gain(comparison))
    return (
        methods_picture(comparison),
        *(scores_picture(name, result, order) for name, result in comparison.primaries.items()),
    )
