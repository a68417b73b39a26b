"""The report as one HTML file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradts_plugin.errors import ConfigError
from gradts_plugin.report.data import RankingInfo, ReportInfo, TrialInfo
from gradts_plugin.report.figures import Cell, Picture, pictures
from gradts_plugin.report.inline_svg import inline_svg
from gradts_plugin.stores.files import write_bytes_atomic

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["REPORT_HTML", "duration", "page_environment", "render_html", "write_html"]

REPORT_HTML = "report.html"

_METHODS: Mapping[str, str] = {
    "thres": "GradTS-thres: every candidate whose tau reaches a threshold",
    "trial": "GradTS-trial: the prefix of the ranking with which the primary scores best",
    "fg": "GradTS-fg: GradTS-trial's auxiliaries, and of those the instances that resemble the "
    "primary",
    "top": "top: the best-ranked candidates",
    "alone": "alone: no auxiliary",
    "all": "all: every candidate",
    "autosem-p1": "AUTOSEM, first stage: a bandit inside one training run",
    "autosem": "AUTOSEM: a bandit inside one training run, then optimised mixing ratios",
}

# Methods whose selection is the best of several scores on the dev set that is reported.
_CHOSEN_BY_SCORE = ("trial", "fg", "autosem")


def write_html(info: ReportInfo, path: Path) -> None:
    """Writes the report.

    Args:
        info: its numbers.
        path: the file; one that is there is replaced.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
        StoreError: the disk refused.
    """
    write_bytes_atomic(path, render_html(info).encode())


def render_html(info: ReportInfo) -> str:
    """The report as an HTML document without any reference to other files.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
    """
    # They draw with what is defined here.
    from gradts_plugin.report.compared import comparison_pictures

    environment = page_environment()
    drawn = {picture.name: picture for picture in pictures(info)}
    maps = [picture for name, picture in drawn.items() if name.startswith("head-importance-")]
    return environment.get_template("report.html.j2").render(
        info=info,
        pictures=drawn,
        head_maps=[
            (head_map.task, picture, _taus_of(info, head_map.task))
            for head_map, picture in zip(info.head_maps, maps, strict=True)
        ],
        method=_METHODS.get(info.method, info.method),
        difference=_difference(info.selected, info.alone),
        certainty=_certainty(info),
        ranking_note=None if info.ranking is None else _ranking_note(info.ranking),
        second_map=next(
            (name for name in _ranked(info) if name in {m.task for m in info.head_maps}), None
        ),
        compared_pictures=comparison_pictures(info.comparison)[1:] if info.comparison else (),
        has_dev_scores=info.settings.get("probing", {}).get("model") != "frozen",
        settings=_flat(info.settings),
        provenance=_flat(info.provenance),
    )


def page_environment() -> Environment:
    """Templates and filters of the pages.

    Raises:
        ConfigError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise ConfigError(
            "the report needs jinja2; install it with: pip install 'gradts-plugin[report]'"
        ) from error

    def svg(picture: Picture) -> Markup:
        # Ours, and every text in it is escaped.
        return Markup(inline_svg(picture))  # noqa: S704

    environment = Environment(
        loader=PackageLoader("gradts_plugin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "svg": svg,
        "cell": _cell,
        "score": _score,
        "duration": duration,
        "share": _share,
        "signed": lambda value: f"{value:+.4f}".replace("-", "\N{MINUS SIGN}"),
        "best_first": lambda trials: sorted(
            trials,
            key=lambda trial: -math.inf if trial.score is None else trial.score,
            reverse=True,
        ),
        "number": lambda value: f"{value:,}",
    }
    return environment


# --- words ----------------------------------------------------------------------------------------


def _difference(selected: TrialInfo | None, alone: TrialInfo | None) -> str | None:
    """How much better the selection scored than the primary alone, with a sign."""
    if selected is None or alone is None or selected.score is None or alone.score is None:
        return None
    if not selected.auxiliary_tasks:
        return None
    return f"{selected.score - alone.score:+.4f}".replace("-", "\N{MINUS SIGN}")


def _certainty(info: ReportInfo) -> list[str]:
    """What makes the selection sure or doubtful, one sentence each."""
    return [
        sentence
        for sentence in (
            _about_difference(info),
            _about_border(info),
            _about_dev_score(info),
            _about_seeds(info),
        )
        if sentence
    ]


def _about_difference(info: ReportInfo) -> str | None:
    selected, alone = info.selected, info.alone
    difference = _difference(selected, alone)
    if selected is None or alone is None or difference is None:
        return None
    number = len(selected.scores)
    if number < 2 or number != len(alone.scores):
        return (
            f"The difference of {difference} rests on one training seed: its spread is unknown, "
            "and it may be chance. Set trial.seeds to 2 or more."
        )
    pairs = zip(selected.scores, alone.scores, strict=True)
    better = sum(1 for one, other in pairs if one is not None and other is not None and one > other)
    return (
        f"The difference of {difference} is a mean over {number} training seeds; the selection "
        f"scored higher with {better} of them."
    )


def _about_border(info: ReportInfo) -> str | None:
    """How sure the ranking is between the last selected and the first rejected candidate."""
    if info.ranking is None or not info.auxiliary_tasks:
        return None
    ranked = info.ranking.candidates
    number = len(info.auxiliary_tasks)
    names = {candidate.task for candidate in ranked[:number]}
    if names != set(info.auxiliary_tasks) or number == len(ranked):
        return None
    probability = ranked[number - 1].probability_above_next
    if probability is None:
        return None
    return (
        f"{ranked[number - 1].task}, the last one selected, truly stands above "
        f"{ranked[number].task}, the first one left out, with probability {probability:.2f}."
    )


def _about_dev_score(info: ReportInfo) -> str | None:
    if info.method not in _CHOSEN_BY_SCORE or not info.trials:
        return None
    return (
        f"The selection was chosen as the best of {len(info.trials)} trials by the same dev score "
        "that is shown, so that score is optimistic. Keep a test set for the last word."
    )


def _about_seeds(info: ReportInfo) -> str | None:
    if info.ranking is None or not info.ranking.covers or info.ranking.num_seeds != 1:
        return None
    return (
        "The ranking rests on one fine-tuning seed. Its intervals cover only which instances were "
        "probed; the seed's part is usually larger. Set seeds to 2 or more."
    )


def _ranking_note(ranking: RankingInfo) -> str:
    parts = ["Filled and bold: selected."]
    if any(candidate.interval for candidate in ranking.candidates):
        covers = " and ".join(
            {"instances": "which instances were probed"}.get(source, f"the {source}")
            for source in ranking.covers
        )
        parts.append(f"Bars: {ranking.confidence:.0%} intervals, covering {covers}.")
    else:
        parts.append(f"The ranker {ranking.ranker!r} gives no intervals.")
    if ranking.null_sd is not None:
        parts.append(
            f"Grey band: where unrelated tasks lie (0 ± {ranking.null_sd:.3f}, one standard "
            "deviation)."
        )
    if ranking.null_taus:
        low, high = min(ranking.null_taus), max(ranking.null_taus)
        parts.append(
            f"{len(ranking.null_taus)} controls with shuffled labels reach {low:.3f} to {high:.3f}."
        )
    if ranking.threshold is not None:
        parts.append(f"Dashed line: the threshold, {ranking.threshold:.3f}.")
    return " ".join(parts)


def _ranked(info: ReportInfo) -> Sequence[str]:
    if info.ranking is not None:
        return [candidate.task for candidate in info.ranking.candidates]
    return [task.name for task in info.tasks[1:]]


def _taus_of(info: ReportInfo, task: str) -> dict[str, str]:
    """A task's taus with all others, for the two maps side by side."""
    known = info.correlations
    if known is None or task not in known.task_names:
        return {}
    row = known.taus[known.task_names.index(task)]
    return {name: f"{tau:.3f}" for name, tau in zip(known.task_names, row, strict=True)}


# --- numbers --------------------------------------------------------------------------------------


def _cell(value: Cell) -> str:
    """A value of a table, for reading."""
    if value is None:
        return ""
    if isinstance(value, float):
        digits = 3 if abs(value) < 10 else 1 if abs(value) < 100 else 0
        text = f"{value:,.{digits}f}"
        return text.replace("-", "\N{MINUS SIGN}")
    return str(value)


def _score(trial: TrialInfo | None) -> str:
    if trial is None or trial.score is None:
        return "undefined"
    return f"{trial.score:.4f}" + ("" if trial.spread is None else f" ± {trial.spread:.4f}")


def duration(seconds: float) -> str:
    """In words, e.g. 8.3 s, 70 s, 12 min, 3 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as dotted keys and texts."""
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            rows.append((prefix + key, ", ".join(str(item) for item in value)))
        else:
            rows.append((prefix + key, "" if value is None else str(value)))
    return rows
