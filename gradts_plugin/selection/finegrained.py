"""GradTS-fg: of the auxiliaries' training instances, keep those that resemble the primary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gradts_plugin.offers import Method, SelectionContext
from gradts_plugin.ranking.rds import instance_similarities
from gradts_plugin.records import FloatArray, IntArray, Selection, Trial
from gradts_plugin.scores import shown_score
from gradts_plugin.selection.threshold import describe_threshold, resolve_threshold
from gradts_plugin.selection.trial import METHOD as TRIAL
from gradts_plugin.selection.trial import (
    TrialSettings,
    best_of,
    select_by_trial,
)
from gradts_plugin.settings.thresholds import Quantile, Tau

#: Default of the published code, for the published head importance (Ma et al. 2021).
PUBLISHED_INSTANCE_THRESHOLD = 0.62


class FineGrainedSettings(TrialSettings):
    """How GradTS-fg selects: as GradTS-trial, and then instances.

    Attributes:
        instances: what they are judged by: `taus` with the primary's head importance, or `rds`,
            their similarity to the primary's nearest training instance (RDS+, Ivison et al. 2025).
        instance_threshold: auxiliary instances with at least this tau, or similarity, are kept.
    """

    instances: Literal["taus", "rds"] = "taus"
    instance_threshold: Tau | Quantile = Quantile(quantile=0.5)


def select_fine_grained(context: SelectionContext, settings: FineGrainedSettings) -> Selection:
    """Takes GradTS-trial's auxiliaries and keeps instances with tau(primary, instance) >= theta.

    Ma et al. 2021, section 3; published theta: 0.62. The primary is never subsampled. An
    auxiliary none of whose instances reaches theta is dropped. A quantile is taken over the
    instances of all selected auxiliaries together, so one theta holds for all of them, as with
    a number: a less related auxiliary keeps a smaller share.

    All instances of the selected auxiliaries are probed, also where `probing.max_instances` let the
    ranking look at a sample. With `instances: rds` they are only encoded, and judged by what the
    texts look like (see `ranking.rds`).

    The result is scored. By default GradTS-trial's selection stays where the subset scores lower;
    with `faithful` the subset is taken regardless, as published.

    Args:
        context: as GradTS-trial.
        settings: `instances` says what is compared with theta, `instance_threshold`; otherwise as
            GradTS-trial.

    Returns:
        The selection; auxiliaries all of whose instances are kept are not in `kept_instances`.
    """
    whole = replace(select_by_trial(context, settings), method="fg")
    if not whole.auxiliary_tasks:
        return whole

    measure, judged = _judged(context, settings, whole.auxiliary_tasks)
    subset = _subset(settings.instance_threshold, whole.auxiliary_tasks, judged, measure)
    whole = replace(whole, instance_threshold=subset.theta, instance_measure=measure)
    if not subset.changes_anything:
        return replace(whole, reason=f"{whole.reason}; {subset.explained}: every instance is kept")

    whole_trial = _trial_of(whole)
    trial = context.score(
        subset.auxiliary_tasks, subset.kept_instances, num_seeds=len(whole_trial.scores)
    )
    difference = f"against all their instances: {context.gain(trial, whole_trial).shown}"
    trials = (*whole.trials, trial)
    if not context.settings.faithful and best_of((whole_trial, trial)) is not trial:
        return replace(
            whole,
            trials=trials,
            reason=(
                f"{whole.reason}; all their instances are kept, because a subset scores "
                f"{shown_score(trial.score)}, {difference}; {subset.explained}"
            ),
        )
    return replace(
        whole,
        auxiliary_tasks=subset.auxiliary_tasks,
        kept_instances=subset.kept_instances,
        trials=trials,
        reason=(
            f"{whole.reason}; {subset.explained}; scores {shown_score(trial.score)}, {difference}"
        ),
    )


@dataclass(frozen=True)
class _Subset:
    """Auxiliaries after their instances were filtered.

    Attributes:
        auxiliary_tasks: those that still have an instance, best-ranked first.
        kept_instances: example ids of those that lost some.
        theta: what kept instances reach.
        changes_anything: False where every instance is kept.
        explained: how many instances of which auxiliary are kept.
    """

    auxiliary_tasks: tuple[str, ...]
    kept_instances: dict[str, IntArray]
    theta: float
    changes_anything: bool
    explained: str


def _judged(
    context: SelectionContext, settings: FineGrainedSettings, task_names: tuple[str, ...]
) -> tuple[str, Mapping[str, tuple[IntArray, FloatArray]]]:
    """What instances are judged by, and task -> (example ids, their figures)."""
    if settings.instances == "rds":
        return "similarity", instance_similarities(context, task_names)
    return "tau", {name: context.instance_taus(name) for name in task_names}


def _subset(
    threshold: float | Quantile,
    auxiliary_tasks: tuple[str, ...],
    judged: Mapping[str, tuple[IntArray, FloatArray]],
    measure: str,
) -> _Subset:
    theta = resolve_threshold(threshold, np.concatenate([found for _, found in judged.values()]))
    kept = {name: ids[found >= theta] for name, (ids, found) in judged.items()}
    counts = [
        f"{len(kept[name])} of {len(ids)} {name}"
        + ("" if len(kept[name]) else " (the auxiliary is dropped)")
        for name, (ids, _) in judged.items()
    ]
    partly = {name: ids for name, ids in kept.items() if 0 < len(ids) < len(judged[name][0])}
    remaining = tuple(name for name in auxiliary_tasks if len(kept[name]))
    return _Subset(
        auxiliary_tasks=remaining,
        kept_instances=partly,
        theta=theta,
        changes_anything=bool(partly) or remaining != auxiliary_tasks,
        explained=(
            f"instances with {measure} >= {describe_threshold(threshold, theta)}: "
            f"{', '.join(counts)}"
        ),
    )


def _trial_of(selection: Selection) -> Trial:
    """The trial whose auxiliaries were selected."""
    return next(
        trial for trial in selection.trials if trial.auxiliary_tasks == selection.auxiliary_tasks
    )


METHOD = Method(
    name="fg",
    select=select_fine_grained,
    title="GradTS-fg",
    summary="GradTS-trial's auxiliaries, and of their instances those like the primary's "
    "(Ma et al. 2021).",
    settings=FineGrainedSettings,
    faithful={**TRIAL.faithful, "instance_threshold": PUBLISHED_INSTANCE_THRESHOLD},
)
