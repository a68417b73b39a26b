"""An example plugin: Spearman's correlation, a ranker by words, and the method "top-k"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.stats import rankdata

from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.offers import Correlation, Method, Ranker, RankingContext, SelectionContext
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.records import FloatArray, Ranking, Selection
from gradts_plugin.scores import score_difference, shown_score
from gradts_plugin.settings.parsing import Settings

# --- a selection method, with settings of its own -------------------------------------------------


class TopKSettings(Settings):
    """What `method: {name: top-k, k: ..., min_gain: ...}` takes.

    Attributes:
        k: how many of the best-ranked candidates are tried.
        min_gain: so much better than the primary alone they must score.
    """

    k: Annotated[int, Field(gt=0)] = 2
    min_gain: Annotated[float, Field(ge=0)] = 0.0


def select_top_k(context: SelectionContext, settings: TopKSettings) -> Selection:
    """Selects the k best-ranked candidates, unless the primary alone scores about as well.

    Args:
        context: the ranking, and `score`, which trains the primary with some auxiliaries from the
            pretrained weights, or finds that training stored. Since the method decides by nothing
            else, `gradts-select plan` can tell what it will cost.
        settings: the run's, checked.

    Returns:
        The selection. `trials` are the runs it rests on, `reason` is shown to the user.
    """
    alone = context.score(())
    together = context.score(context.ranking.task_order[: settings.k])
    gain = score_difference(together.score, alone.score)
    helps = gain is not None and gain >= settings.min_gain
    return Selection(
        method="top-k",
        primary_task=context.primary_task,
        auxiliary_tasks=together.auxiliary_tasks if helps else (),
        reason=(
            f"{context.primary_task} alone scores {shown_score(alone.score)}, with the "
            f"{len(together.auxiliary_tasks)} best-ranked candidates "
            f"{shown_score(together.score)}"
        ),
        trials=(alone, together),
    )


@hookimpl
def extend_selection_methods() -> Sequence[Method[Any]]:
    """Offers `method: top-k`."""
    return [
        Method(
            name="top-k",
            select=select_top_k,
            title="Top k, checked",
            summary="The k best-ranked candidates, if they help as much as is asked for.",
            settings=TopKSettings,
        )
    ]


# --- a ranker -------------------------------------------------------------------------------------


class SharedWordsSettings(Settings):
    """What `ranking: {ranker: {name: shared-words, max_instances: ...}}` takes.

    Attributes:
        max_instances: so many texts of a task (a sample seeded by `ranking.seed`); None: all.
    """

    max_instances: Annotated[int | None, Field(gt=0)] = 1000


def rank_by_shared_words(context: RankingContext, settings: SharedWordsSettings) -> Ranking:
    """Ranks the candidates by the share of the primary's words that their texts have, too.

    Args:
        context: the tasks, and `texts`, which encodes and trains nothing; what does would be asked
            for in `computed`, to be stored and counted as a cost.
        settings: the run's, checked.
    """
    words: dict[str, set[str]] = {}
    for name in (context.primary_task, *context.candidate_tasks):
        texts = context.texts(
            name, max_instances=settings.max_instances, seed=context.settings.ranking.seed
        )
        words[name] = {word for text in texts.values() for word in text.lower().split()}
    own = words.pop(context.primary_task)
    shares = {name: len(own & other) / len(own) for name, other in words.items()}
    return ranked_by_value(context, shares, ranker="shared-words", measure="share of words")


@hookimpl
def extend_rankers() -> Sequence[Ranker[Any]]:
    """Offers `ranking: {ranker: shared-words}`."""
    return [
        Ranker(
            name="shared-words",
            rank=rank_by_shared_words,
            title="Shared words",
            summary="Tasks whose texts have most of the primary's words first.",
            settings=SharedWordsSettings,
        )
    ]


# --- a correlation --------------------------------------------------------------------------------


def spearman(reference: FloatArray, others: FloatArray) -> FloatArray:
    """Spearman's correlation between one importance profile and many: Pearson's, of the ranks.

    Args:
        reference: shape (n,), the layer-normalised importances of all heads.
        others: shape (M, n), M profiles to compare it with.

    Returns:
        float64 array of shape (M,), in [-1, 1]; 0.0 where a side is constant. A correlation must
        never answer NaN: the run would stop with an error that names this plugin's answer.
    """
    left = _centred(rankdata(reference))
    right = _centred(rankdata(others, axis=1))
    scale = np.linalg.norm(left) * np.linalg.norm(right, axis=1)
    products = right @ left
    answer: FloatArray = np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
    return answer.clip(-1.0, 1.0)


def _centred(ranks: FloatArray) -> FloatArray:
    centred: FloatArray = ranks - ranks.mean(axis=-1, keepdims=True)
    return centred


@hookimpl
def extend_correlations() -> Mapping[str, Correlation]:
    """Offers `ranking: {correlation: spearman}`."""
    return {"spearman": spearman}
