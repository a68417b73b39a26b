"""Ranking by what the texts look like: cosine similarity of the tasks' mean embeddings."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from gradts_plugin.json_forms import JsonObject
from gradts_plugin.offers import Computation, Ranker, RankingContext
from gradts_plugin.protocols import ProbeTarget
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.ranking.lending import pretrained
from gradts_plugin.ranking.sampling import SamplingSettings
from gradts_plugin.records import Cost, FloatArray, Ranking


def rank_by_embedding(context: RankingContext, settings: SamplingSettings) -> Ranking:
    """Ranks the candidates by the cosine between their mean embedding and the primary's.

    TextEmb of Vu et al. 2020 (Exploring and Predicting Transferability across NLP Tasks): a text
    is the mean of the pretrained encoder's last hidden states over its tokens, a task the mean of
    its texts. A pair is encoded as the host packs it, a multiple choice instance is the mean of
    its choices. Nothing is trained, and no label is looked at; a new candidate costs one pass over
    its own instances.

    Args:
        context: `settings.ranking.seed` seeds the sample.
        settings: how many instances of each task are encoded.

    Returns:
        The ranking, most similar first.
    """
    identity = {"max_instances": settings.max_instances, "seed": context.settings.ranking.seed}
    names = (context.primary_task, *context.candidate_tasks)
    with pretrained(context) as target:
        found = context.computed(
            [
                Computation(
                    "mean embedding",
                    identity,
                    (name,),
                    partial(
                        _mean_embedding,
                        target,
                        name,
                        max_instances=settings.max_instances,
                        seed=context.settings.ranking.seed,
                    ),
                )
                for name in names
            ]
        )
    primary, *candidates = (np.array(values["mean"]) for values in found)
    similarities = {
        name: cosine_similarity(primary, embedding)
        for name, embedding in zip(names[1:], candidates, strict=True)
    }
    return ranked_by_value(context, similarities, ranker="embedding", measure="similarity")


def cosine_similarity(first: FloatArray, second: FloatArray) -> float:
    """Cosine of the angle between two vectors of shape (d,); 0 where one of them is zero."""
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norms) if norms else 0.0


def unit_vectors(vectors: FloatArray) -> FloatArray:
    """Vectors (..., d) scaled to length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    scaled: FloatArray = vectors / np.where(lengths > 0, lengths, 1.0)
    return scaled


def _mean_embedding(
    target: Callable[[], ProbeTarget], task_name: str, *, max_instances: int | None, seed: int
) -> tuple[JsonObject, Cost]:
    import torch

    from gradts_plugin.probing.convex import mean_pooled
    from gradts_plugin.probing.prober import frozen

    start = time.perf_counter()
    lent = target()
    rows = []
    batches = lent.batches(
        batch_size=32, max_instances=max_instances, seed=seed, task_name=task_name
    )
    with frozen(lent.model), torch.no_grad():
        for batch in batches:
            pooled = mean_pooled(batch)
            texts = pooled.reshape(len(pooled), -1, pooled.shape[-1]).mean(dim=1)
            rows.append(texts.double().cpu().numpy())
    encoded = np.concatenate(rows)
    cost = Cost(num_examples=len(encoded), seconds=time.perf_counter() - start)
    return {"mean": encoded.mean(axis=0).tolist()}, cost


RANKER = Ranker(
    name="embedding",
    rank=rank_by_embedding,
    title="Embedding",
    summary="Cosine of the tasks' mean embeddings (TextEmb, Vu et al. 2020).",
    settings=SamplingSettings,
)
