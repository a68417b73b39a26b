"""Ranking at random: what every other ranker has to beat."""

from __future__ import annotations

import zlib

import numpy as np

from gradts_plugin.offers import Ranker, RankingContext
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.records import Ranking
from gradts_plugin.settings.parsing import NoSettings


def rank_at_random(context: RankingContext, _settings: NoSettings) -> Ranking:
    """Ranks the candidates by a number drawn uniformly from [0, 1) for each; costs nothing.

    A candidate's draw depends on `settings.seed`, the primary's name and its own only, so another
    candidate does not change the order of the others.

    Args:
        context: the tasks and the seed.

    Returns:
        The ranking, largest draw first.
    """
    draws = {
        name: np.random.default_rng(
            [context.settings.seed, *(zlib.crc32(n.encode()) for n in (context.primary_task, name))]
        ).random()
        for name in context.candidate_tasks
    }
    return ranked_by_value(context, draws, ranker="random", measure="draw")


RANKER = Ranker(
    name="random",
    rank=rank_at_random,
    title="Random",
    summary="A seeded random order: what every ranking has to beat.",
)
