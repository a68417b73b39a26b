"""What the pages share: where they lie, templates and filters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gradts_plugin.errors import ConfigError
from gradts_plugin.report.figures.picture import Picture
from gradts_plugin.report.inline_svg import inline_svg
from gradts_plugin.report.words import cell, score, share, signed
from gradts_plugin.scores import shown_duration, shown_names, shown_score

if TYPE_CHECKING:
    from jinja2 import Environment

_TYPED = re.compile("`([^`]+)`")


def page_environment() -> Environment:
    """Templates and filters of the pages.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup, escape
    except ImportError as error:
        raise ConfigError(
            "the report needs jinja2; install it with: pip install 'gradts-plugin[report]'"
        ) from error

    def svg(picture: Picture) -> Markup:
        # Ours, and every text in it is escaped.
        return Markup(inline_svg(picture))  # noqa: S704

    def prose(text: str) -> Markup:
        # What is between backticks is something to type; every text in it is escaped.
        return Markup(_TYPED.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704

    environment = Environment(
        loader=PackageLoader("gradts_plugin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "svg": svg,
        "prose": prose,
        "names": shown_names,
        "cell": cell,
        "score": score,
        "plain": shown_score,
        "duration": shown_duration,
        "share": share,
        "signed": signed,
        "best_first": lambda trials: sorted(
            trials,
            key=lambda trial: trial.comparable(),
            reverse=True,
        ),
        "number": lambda value: f"{value:,}",
    }
    return environment
