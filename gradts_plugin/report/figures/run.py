"""Every figure of a run."""

from __future__ import annotations

from gradts_plugin.report.figures.correlations import correlations_picture
from gradts_plugin.report.figures.effects import effects_picture
from gradts_plugin.report.figures.head_map import head_map_picture
from gradts_plugin.report.figures.instances import instances_picture
from gradts_plugin.report.figures.picture import Picture
from gradts_plugin.report.figures.ranking import ranking_picture
from gradts_plugin.report.figures.trials import trials_picture
from gradts_plugin.report.record import RunReport


def pictures(report: RunReport) -> tuple[Picture, ...]:
    """Every picture that a run has the numbers for, in the order of the report."""
    found, ranking = [], report.ranking
    if ranking is not None:
        found.append(ranking_picture(ranking, report.selection))
        if ranking.task_taus is not None:
            found.append(correlations_picture(ranking))
    found += [head_map_picture(head_map) for head_map in report.head_maps]
    if report.selection.rounds and report.selection.rounds[-1].effects:
        found.append(effects_picture(report.selection))
    if report.selection.trials:
        found.append(trials_picture(report))
    if report.instances is not None and report.instances.tasks:
        found.append(instances_picture(report.primary_task, report.instances))
    return tuple(found)
