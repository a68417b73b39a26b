"""Ranking by what candidates gained other primaries, as trainings in the store tell."""

from __future__ import annotations

from gradts_plugin.gains.shrinkage import shrunk_mean
from gradts_plugin.offers import Ranker, RankingContext
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.records import Ranking
from gradts_plugin.settings.parsing import NoSettings


def rank_by_donors(context: RankingContext, _settings: NoSettings) -> Ranking:
    """Ranks the candidates by their mean gain for other primaries; costs nothing.

    Some tasks help most others, and some help none: in the transfers that TaskWeb publishes (Kim et
    al., EMNLP 2023), a source's mean gain for the other targets orders sources better than features
    of tasks do, but little of it is left with another encoder or recipe. So only trainings in the
    run's own store count that differ from the run's in nothing but their tasks. A mean over n
    primaries is shrunk by n / (n + 3).

    First answer: nothing, where other primaries were trained alone and with single candidates, as
    `race`, `trial` and comparisons do. One candidate more: nothing, known after the same. Another
    primary: nothing. What is stored decides: the order may change as the store fills.

    Args:
        context: `gains_for_others`.

    Returns:
        The ranking, largest mean gain first, and 0 where nothing is known.
    """
    values = {name: shrunk_mean(gains) for name, gains in context.gains_for_others().items()}
    return ranked_by_value(context, values, ranker="donors", measure="gain for others")


RANKER = Ranker(
    name="donors",
    rank=rank_by_donors,
    title="Donors",
    summary="Mean gain for other primaries in the same store (after TaskWeb, Kim et al. 2023).",
)
