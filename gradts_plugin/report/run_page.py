"""The page of a run, as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gradts_plugin.json_forms import JsonObject
from gradts_plugin.ranking.intervals import agreement_notes
from gradts_plugin.records import Ranking
from gradts_plugin.report.certainty import difference, run_certainty
from gradts_plugin.report.figures.comparison import comparison_pictures
from gradts_plugin.report.figures.ranking import null_sd_of
from gradts_plugin.report.figures.run import pictures
from gradts_plugin.report.page import page_environment
from gradts_plugin.report.record import RunReport
from gradts_plugin.stores.files import write_bytes_atomic


def write_run_page(report: RunReport, path: Path) -> None:
    """Writes the report.

    Args:
        report: its numbers.
        path: the file; one that is there is replaced.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
        StoreError: the disk refused.
    """
    write_bytes_atomic(path, render_run_page(report).encode())


def render_run_page(report: RunReport) -> str:
    """The report as an HTML document without any reference to other files.

    Raises:
        ConfigError: jinja2 or matplotlib is not installed.
    """
    environment = page_environment()
    outcome, ranking = report.outcome, report.ranking
    drawn = {picture.name: picture for picture in pictures(report)}
    maps = [picture for name, picture in drawn.items() if name.startswith("head-importance-")]
    mapped = {head_map.task for head_map in report.head_maps}
    compared = comparison_pictures(report.comparison)[1:] if report.comparison else ()
    settings = _flat(report.settings)
    return environment.get_template("report.html.j2").render(
        report=report,
        outcome=outcome,
        selection=report.selection,
        ranking=ranking,
        pictures=drawn,
        head_maps=[
            (head_map.task, picture, _taus_of(ranking, head_map.task))
            for head_map, picture in zip(report.head_maps, maps, strict=True)
        ],
        difference=difference(outcome.selected, outcome.alone),
        certainty=run_certainty(report),
        ranking_note=_ranking_note(report),
        second_map=next((name for name in _ranked(report) if name in mapped), None),
        shares=_shares(report),
        compared_pictures=compared,
        has_dev_scores=("probing.model", "frozen") not in settings,
        settings=settings,
        provenance=_flat(report.provenance),
    )


def _ranking_note(report: RunReport) -> str:
    ranking, threshold = report.ranking, report.selection.threshold
    if ranking is None:
        return ""
    null_sd = null_sd_of(ranking)
    parts = ["Filled and bold: selected."]
    if any(candidate.interval for candidate in ranking.candidates):
        covers = " and ".join(
            {"instances": "which instances were probed"}.get(source, f"the {source}")
            for source in ranking.covers
        )
        parts.append(f"Bars: {ranking.confidence:.0%} intervals, covering {covers}.")
    else:
        parts.append(f"The ranker {report.ranker_title} gives no intervals.")
    parts += agreement_notes(ranking)
    if null_sd is not None:
        parts.append(
            f"Grey band: where unrelated tasks lie (0 ± {null_sd:.3f}, one standard deviation)."
        )
    if ranking.null_taus:
        low, high = min(ranking.null_taus), max(ranking.null_taus)
        parts.append(
            f"{len(ranking.null_taus)} controls with shuffled labels reach {low:.3f} to {high:.3f}."
        )
    if threshold is not None:
        parts.append(f"Dashed line: the threshold, {threshold:.3f}.")
    return " ".join(parts)


def _ranked(report: RunReport) -> Sequence[str]:
    if report.ranking is not None:
        return report.ranking.task_order
    return [task.name for task in report.tasks[1:]]


def _taus_of(ranking: Ranking | None, task: str) -> dict[str, str]:
    """A task's taus with all others, for the two maps side by side."""
    if ranking is None or ranking.task_taus is None or task not in ranking.task_names:
        return {}
    row = ranking.task_taus[ranking.task_names.index(task)]
    return {name: f"{tau:.3f}" for name, tau in zip(ranking.task_names, row, strict=True)}


def _shares(report: RunReport) -> list[tuple[str, float | None, float | None]]:
    """Each trained task with its shares before and after; empty where they are not known."""
    if report.shares_before is None or report.shares_after is None:
        return []
    before, after = report.shares_before.shares, report.shares_after.shares
    return [(name, before.get(name), after.get(name)) for name in {**after, **before}]


def _flat(values: JsonObject, prefix: str = "") -> list[tuple[str, str]]:
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
