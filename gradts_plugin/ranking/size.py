"""Ranking by size: the task with most training instances first."""

from __future__ import annotations

from gradts_plugin.offers import Ranker, RankingContext
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.records import Ranking
from gradts_plugin.settings.parsing import NoSettings


def rank_by_size(context: RankingContext, _settings: NoSettings) -> Ranking:
    """Ranks the candidates by their number of training instances; costs nothing.

    The usual first guess: intermediate tasks with much data (Phang et al. 2018, STILTs). A ranking
    that looks at more than size has to do better than this one.

    Args:
        context: the tasks.

    Returns:
        The ranking, largest first.
    """
    sizes = {name: float(context.tasks[name].num_train) for name in context.candidate_tasks}
    return ranked_by_value(context, sizes, ranker="size", measure="training instances")


RANKER = Ranker(
    name="size",
    rank=rank_by_size,
    title="Size",
    summary="Most training instances first (Phang et al. 2018, STILTs).",
)
