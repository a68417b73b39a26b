"""GradTS-trial: train the primary with the best-ranked auxiliaries, one more at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from gradts_plugin.offers import Method, SelectionContext, TrialOf
from gradts_plugin.records import Selection, Trial
from gradts_plugin.scores import shown_score
from gradts_plugin.selection.threshold import METHOD as THRES
from gradts_plugin.selection.threshold import ThresholdSettings, num_reaching_threshold


class TrialSettings(ThresholdSettings):
    """How GradTS-trial goes through the ranking.

    Attributes:
        confirm: a new best must also win over so many further seeds, which only it and the best
            before it are trained with; not with `faithful`.
        patience: stop after so many trials in a row without a new best.
        max_auxiliaries: the longest prefix of the ranking that is tried; None: all candidates.
        prefixes: `all`: one candidate more at a time; `threshold`: beside the primary alone only
            as many of the best-ranked as GradTS-thres selects with `threshold`, whatever
            `patience`. Not with `faithful`.
    """

    confirm: Annotated[int, Field(ge=0, le=1000)] = 1
    patience: Annotated[int, Field(ge=0, le=10_000)] = 2
    max_auxiliaries: Annotated[int, Field(gt=0, le=10_000)] | None = None
    prefixes: Literal["all", "threshold"] = "all"


def select_by_trial(context: SelectionContext, settings: TrialSettings) -> Selection:
    """Selects the prefix of the ranking with which the primary scores best.

    Ma et al. 2021, section 3: for k = 1, 2, ... the primary is trained from the pretrained
    weights with the k best-ranked candidates, and its dev set is scored.

    By default the primary alone is trial 0 and a candidate like any other ("no auxiliary helps"
    is an answer), trials stop after `patience` prefixes in a row without a new best (0 counts as
    1), the best mean score over `training_seeds` seeds wins, and of equal scores the one with fewer
    auxiliaries. One score decides everything: the primary's dev metric. Since one training can be
    lucky, a new best is confirmed: it and the best before it are trained with `confirm` seeds
    more, and it must win over all of them. With `prefixes: threshold` there is one challenger
    only, GradTS-thres's selection: two trainings, four to confirm it.

    `faithful` is the published procedure: from k = 1, go on while the score is at least the
    previous one, stop at the first drop, take the best prefix (of equal ones the longest, as the
    published reading of the results replaces its best whenever a score is equal). The primary
    alone is never tried, and there is no patience. What cannot be reproduced: the published code
    mixes best-epoch with last-epoch scores, and two different metrics, between stopping and
    choosing, and does not record which of them decided a published selection. Here both use the
    one score that the host reports.

    Args:
        context: the ranking, and whether to be `faithful`; `score` trains.
        settings: how many prefixes are tried, and how often.

    Returns:
        The selection, with every trial in the order in which it was made.
    """
    candidates = context.ranking.task_order[: settings.max_auxiliaries]
    if context.settings.faithful:
        return _select_faithfully(context, candidates)

    sizes: Sequence[int] = range(1, len(candidates) + 1)
    if settings.prefixes == "threshold":
        size = min(num_reaching_threshold(context.ranking, settings), len(candidates))
        sizes = (size,) if size else ()
    prefixes = [TrialOf(candidates[:size]) for size in sizes]
    best = context.score((), likely_next=prefixes)
    trials = [best]
    misses = 0
    for number, prefix in enumerate(prefixes, start=1):
        challenger = context.score(prefix.auxiliary_tasks, likely_next=prefixes[number:])
        if settings.confirm and challenger.beats(best):
            num_seeds = context.settings.training_seeds + settings.confirm
            challenger, best = context.score_all(
                [TrialOf(trial.auxiliary_tasks, num_seeds) for trial in (challenger, best)]
            )
            trials = [
                best if trial.auxiliary_tasks == best.auxiliary_tasks else trial for trial in trials
            ]
        trials.append(challenger)
        if challenger.beats(best):
            best, misses = challenger, 0
        else:
            misses += 1
            if misses >= settings.patience:
                break
    return Selection(
        method="trial",
        primary_task=context.primary_task,
        auxiliary_tasks=best.auxiliary_tasks,
        reason=_explain(context, best, trials, len(sizes)),
        trials=tuple(trials),
    )


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial with the best mean score; the last of equal ones. An undefined score is worst."""
    return max(reversed(trials), key=Trial.comparable)


def _select_faithfully(context: SelectionContext, candidates: tuple[str, ...]) -> Selection:
    trials: list[Trial] = []
    prefixes = [TrialOf(candidates[:size]) for size in range(1, len(candidates) + 1)]
    for size, prefix in enumerate(prefixes, start=1):
        trials.append(context.score(prefix.auxiliary_tasks, likely_next=prefixes[size:]))
        if size > 1 and not trials[-1].comparable() >= trials[-2].comparable():
            break
    best = best_of(trials)
    return Selection(
        method="trial",
        primary_task=context.primary_task,
        auxiliary_tasks=best.auxiliary_tasks,
        reason=(
            f"{_named(context.primary_task, best)} scores {shown_score(best.score)}, best of "
            f"{_prefixes(len(trials))} up to the first drop; as published, "
            f"{context.primary_task} alone was not tried"
        ),
        trials=tuple(trials),
    )


def _explain(
    context: SelectionContext, best: Trial, trials: Sequence[Trial], num_prefixes: int
) -> str:
    primary_task = context.primary_task
    alone, *prefixes = trials
    if not prefixes:
        return f"no candidate reaches the threshold: {primary_task} alone is all there is to try"
    left_out = num_prefixes - len(prefixes)
    stopped = f"; {left_out} longer not tried (patience ran out)" if left_out else ""
    if best is not alone:
        return (
            f"{_named(primary_task, best)} scores {shown_score(best.score)}, best of "
            f"{_prefixes(len(prefixes))} of the ranking; against {primary_task} alone: "
            f"{context.gain(best, alone).shown}{stopped}"
        )
    nearest = max(prefixes, key=Trial.comparable)
    return (
        f"no auxiliary helps: {primary_task} alone scores {shown_score(alone.score)}, and the best "
        f"of {_prefixes(len(prefixes))} of the ranking, {_named(primary_task, nearest)}, "
        f"{shown_score(nearest.score)}: {context.gain(nearest, alone).shown}{stopped}"
    )


def _prefixes(count: int) -> str:
    return f"{count} prefix{'' if count == 1 else 'es'}"


def _named(primary_task: str, trial: Trial) -> str:
    if not trial.auxiliary_tasks:
        return f"{primary_task} alone"
    return f"{primary_task} with {', '.join(trial.auxiliary_tasks)}"


METHOD = Method(
    name="trial",
    select=select_by_trial,
    title="GradTS-trial",
    summary="The prefix of the ranking with which the primary scores best (Ma et al. 2021).",
    settings=TrialSettings,
    faithful=THRES.faithful,
)
