"""GradTS's ranking: by the correlation of head importance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from gradts_plugin.errors import SelectionError
from gradts_plugin.offers import Correlation, Ranker, RankingContext
from gradts_plugin.protocols import ImportanceSource
from gradts_plugin.ranking.by_value import with_unranked
from gradts_plugin.ranking.intervals import (
    as_taus,
    draws_for_all_rows,
    generator,
    probability_above,
    seed_deviations,
)
from gradts_plugin.ranking.resampling import resampled
from gradts_plugin.ranking.taus import (
    all_profiles,
    first_with_others,
    listed,
    null_taus,
    task_taus,
    why_unrankable,
)
from gradts_plugin.records import RankedTask, Ranking
from gradts_plugin.settings.parsing import NoSettings


def rank_candidates(
    primary_task: str,
    sources: Mapping[str, Sequence[ImportanceSource]],
    *,
    correlation: Correlation,
    bootstrap: int,
    confidence: float,
    seed: int,
    remove_common: bool = False,
    controls: Sequence[ImportanceSource] = (),
) -> Ranking:
    """Ranks candidate tasks by the correlation of their head importance with the primary's.

    A task's matrix is the mean of its instances' raw matrices, then layer-normalised. tau is the
    mean correlation over all pairs of fine-tuning seeds, one of the primary and one of the
    candidate. Candidates are sorted by tau, descending; ties keep the given order.

    The intervals come from joint draws of two parts, added:

    - *Instances*: the instances of every task are resampled with replacement, and matrices and
      taus are computed again. All seeds of a task that were probed on the same instances get the
      same resample. Noise in either matrix pulls tau towards zero; how far is seen from what a
      further resampling does, and the draws are those of the tau that all rows would give
      (`intervals.draws_for_all_rows`).
    - *Fine-tuning seeds* (S > 1): the seeds of every task are resampled with replacement, and the
      pairs averaged again; deviations are scaled by sqrt(S / (S - 1)), because resampling S
      values scatters less than S new ones would. This part is usually the larger one; with one
      seed it is missing, and `covers` says so. With two or three seeds it is a rough guess.

    An interval covers the tau that all rows of the tasks would give (and, fine-tuned with other
    seeds, give on average). tau itself is that of the probed instances, which few or noisy ones
    make smaller: it may stand at an interval's lower end. `ceiling` says what two samples of the
    primary would agree to. Of fewer than 50 instances intervals are a rough guess.

    The random numbers of a task depend on `seed` and the task's name only: neither the order of
    the candidates nor who else is a candidate changes an interval.

    Args:
        primary_task: the task to help.
        sources: raw importances of the primary and of every candidate, one for each
            fine-tuning seed.
        correlation: correlates one profile of shape (n,) with many of shape (M, n).
        bootstrap: number of draws, B.
        confidence: level of the intervals, in (0, 1).
        seed: makes the draws repeatable.
        remove_common: correlate what is left of the profiles when the mean profile of all tasks
            is divided out (of every bootstrap draw its own).
        controls: candidates that were probed with shuffled labels; their taus with the primary
            become the ranking's `null_taus`.

    Returns:
        The ranking; `task_names` is the primary, then the candidates as given.

    Raises:
        SelectionError: no candidate, an unprobed primary, unequal numbers of seeds, or tasks that
            were probed on encoders of different shape.
        DegenerateImportanceError: a task's matrix leaves nothing to rank.
        PluginError: the correlation's answer has a wrong shape or values outside [-1, 1].
    """
    names = _task_names(primary_task, sources)
    num_seeds, num_layers, num_heads = _common_shape(names, sources)
    profiles, common = all_profiles(names, sources, remove_common)

    correlations = task_taus(correlation, profiles)
    taus = correlations[0, 1:]

    of_tasks = {name: sources[name] for name in names}
    agreed, resampled_taus = resampled(
        correlation, profiles, of_tasks, bootstrap, seed, remove_common=remove_common
    )
    draws = draws_for_all_rows(
        taus,
        resampled_taus,
        np.sqrt(agreed[0] * agreed[1:]),
        np.stack([generator(seed, name, "noise").normal(size=bootstrap) for name in names[1:]], 1),
    )
    if num_seeds > 1:
        draws += seed_deviations(first_with_others(correlation, profiles), names, bootstrap, seed)
    # Rounded, so that the last bits of a mean do not decide which of two equal draws is above.
    draws = np.round(draws, 12)

    tail = (1 - confidence) / 2
    low, high = np.clip(np.quantile(draws, [tail, 1 - tail], axis=0), -1.0, 1.0)
    # With few heads the draws take few values and are skewed; an interval holds its own estimate.
    low, high = np.minimum(low, taus), np.maximum(high, taus)
    order = np.argsort(-taus, kind="stable")
    return Ranking(
        primary_task=primary_task,
        candidates=tuple(
            RankedTask(
                task_name=names[1 + here],
                tau=float(taus[here]),
                interval=(float(low[here]), float(high[here])),
                probability_above_next=(
                    None if below is None else probability_above(draws[:, here], draws[:, below])
                ),
            )
            for here, below in zip(order, [*order[1:], None], strict=True)
        ),
        confidence=confidence,
        num_seeds=num_seeds,
        covers=("instances", "fine-tuning seeds") if num_seeds > 1 else ("instances",),
        num_heads_total=num_layers * num_heads,
        task_names=names,
        task_taus=correlations,
        null_taus=null_taus(correlation, profiles[0], controls, common),
        ceiling=float(as_taus(agreed[0])),
        num_instances=min(source.shape[0] for name in names for source in sources[name]),
    )


def _task_names(
    primary_task: str, sources: Mapping[str, Sequence[ImportanceSource]]
) -> tuple[str, ...]:
    if primary_task not in sources:
        raise SelectionError(f"the primary task {primary_task!r} was not probed")
    candidates = tuple(name for name in sources if name != primary_task)
    if not candidates:
        raise SelectionError(f"there is no candidate task to rank for {primary_task!r}")
    return (primary_task, *candidates)


def _common_shape(
    names: Sequence[str], sources: Mapping[str, Sequence[ImportanceSource]]
) -> tuple[int, int, int]:
    """(S, L, H), which all tasks must share."""
    numbers = {len(sources[name]) for name in names}
    if len(numbers) > 1 or 0 in numbers:
        raise SelectionError(
            f"tasks were probed with different numbers of fine-tuning seeds: {listed(numbers)}"
        )
    shapes = {source.shape[1:] for name in names for source in sources[name]}
    if len(shapes) > 1:
        raise SelectionError(f"tasks were probed on different encoders: {listed(shapes)}")
    ((num_layers, num_heads),) = shapes
    return numbers.pop(), num_layers, num_heads


def rank_by_heads(context: RankingContext, _settings: NoSettings) -> Ranking:
    """Ranks the candidates by how alike their head importance is to the primary's.

    Ma et al. 2021 (GradTS), section 3.

    Args:
        context: probes the tasks; `settings.ranking` steers taus and intervals.

    Returns:
        The ranking, with intervals (see `ranking.rank_candidates`); candidates whose importance
        leaves nothing to rank are its last.
    """
    settings = context.settings.ranking
    sources = context.probes()
    unrankable = {
        name: why
        for name, of_task in sources.items()
        if name != context.primary_task and (why := why_unrankable(of_task))
    }
    if len(unrankable) == len(sources) - 1:
        unrankable = {}  # then the error says why
    ranking = rank_candidates(
        context.primary_task,
        {name: of_task for name, of_task in sources.items() if name not in unrankable},
        correlation=context.correlation,
        bootstrap=settings.bootstrap,
        confidence=settings.confidence,
        seed=settings.seed,
        remove_common=settings.common == "remove",
        controls=context.controls(),
    )
    if context.settings.probing.model == "frozen":
        ranking = dataclasses.replace(ranking, num_seeds=0)
    return with_unranked(ranking, unrankable)


RANKER = Ranker(
    name="heads",
    rank=rank_by_heads,
    title="GradTS",
    summary="Correlation of head importance with the primary's (Ma et al. 2021).",
    needs_probes=True,
)
