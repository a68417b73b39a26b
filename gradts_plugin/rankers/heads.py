"""GradTS's ranking: by the correlation of head importance."""

from __future__ import annotations

import dataclasses

from gradts_plugin.ranking import rank_candidates
from gradts_plugin.records import Ranking, RankingContext


def rank_by_heads(context: RankingContext) -> Ranking:
    """Ranks the candidates by how alike their head importance is to the primary's.

    Ma et al. 2021 (GradTS), section 3.

    Args:
        context: probes the tasks; `settings.ranking` steers taus and intervals.

    Returns:
        The ranking, with intervals (see `ranking.rank_candidates`).
    """
    settings = context.settings.ranking
    ranking = rank_candidates(
        context.primary_task,
        context.probes(),
        correlation=context.correlation,
        bootstrap=settings.bootstrap,
        confidence=settings.confidence,
        seed=settings.seed,
        remove_common=settings.common == "remove",
        controls=context.controls(),
    )
    if context.settings.probing.model == "frozen":
        return dataclasses.replace(ranking, num_seeds=0)
    return ranking


rank_by_heads.uses_probes = True  # type: ignore[attr-defined]
