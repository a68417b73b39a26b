"""Ranking by LogME: how well a candidate's fine-tuned encoder explains the primary's labels."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from gradts_plugin.json_forms import JsonObject, from_json
from gradts_plugin.offers import Computation, Ranker, RankingContext
from gradts_plugin.ranking.by_value import ranked_by_value
from gradts_plugin.ranking.sampling import SamplingSettings
from gradts_plugin.records import Cost, FloatArray, IntArray, ProbeBatch, Ranking

if TYPE_CHECKING:
    from torch import Tensor

_UNLABELLED = -100

#: Where the log of the ratio of the two precisions is sought, relative to the mean squared singular
#: value, on grids that close in on the maximum.
_LOG_RATIOS = (-25.0, 25.0)

_GRID_SIZE = 201

_NUM_GRIDS = 3


def rank_by_logme(context: RankingContext, settings: SamplingSettings) -> Ranking:
    """Ranks the candidates by the evidence of the primary's labels under their features.

    LogME of You et al. 2021 (Practical Assessment of Pre-trained Models for Transfer Learning),
    used for intermediate tasks as by Schulte et al. 2024 (hf-dataset-selector). The encoder is
    fine-tuned on each candidate alone; the primary's training instances are encoded by it,
    mean-pooled, and scored. Tags are scored token by token, choices one by one with a
    right-or-wrong label, scores of a regression directly.

    Args:
        context: fine-tunes with `settings.fine_tuning` and `settings.seed`; `settings.ranking.seed`
            seeds the sample.
        settings: how many of the primary's instances are encoded.

    Returns:
        The ranking, highest log evidence per instance (token, choice) first.
    """
    run = context.settings
    sample = {"max_instances": settings.max_instances, "seed": run.ranking.seed}
    found = context.computed(
        [
            Computation(
                "logme",
                {
                    "fine_tuning": context.fine_tuning_identity((name,)),
                    "fine_tuning_seed": run.seed,
                    **sample,
                },
                (context.primary_task, name),
                partial(
                    _score,
                    context,
                    name,
                    max_instances=settings.max_instances,
                    seed=run.ranking.seed,
                ),
            )
            for name in context.candidate_tasks
        ]
    )
    evidence = {
        name: from_json(float, values["log_evidence"], where="a stored LogME")
        for name, values in zip(context.candidate_tasks, found, strict=True)
    }
    return ranked_by_value(context, evidence, ranker="logme", measure="LogME")


def log_evidence(features: FloatArray, targets: FloatArray) -> float:
    """The maximal log evidence of targets under a Bayesian linear model, per row (LogME).

    With weights w ~ N(0, I / alpha) and noise of precision beta, a column of targets y is
    distributed as N(0, I / beta + F F^T / alpha) (You et al. 2021). For a given
    ratio alpha / beta the best beta is known in closed form, so the maximum is sought along the
    ratio: it is the one that the paper's fixed-point iteration ends in.

    Args:
        features: F, shape (n, d).
        targets: shape (n,) or (n, K).

    Returns:
        The log evidence divided by n, averaged over the K columns.
    """
    features = np.asarray(features, dtype=float)
    columns = np.asarray(targets, dtype=float).reshape(len(features), -1)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    squared = singular**2 / (np.mean(singular**2) or 1.0)
    return float(np.mean([_best_evidence(squared, left.T @ y, y) for y in columns.T]))


def _best_evidence(squared: FloatArray, projected: FloatArray, targets: FloatArray) -> float:
    """Maximal log evidence per row of one column y, from F's squared singular values and U^T y."""
    n = len(targets)
    total = float(targets @ targets)
    # Targets that the features reproduce exactly would have infinite evidence.
    unreached = max(total - float(projected @ projected), 1e-12 * total, 1e-300)

    low, high = _LOG_RATIOS
    for _ in range(_NUM_GRIDS):
        grid = np.linspace(low, high, _GRID_SIZE)
        ratio = np.exp(grid)[:, None]
        misfit = unreached + (projected**2 * ratio / (ratio + squared)).sum(axis=1)
        volume = np.log1p(squared / ratio).sum(axis=1)
        evidence = -(np.log(2 * np.pi * np.e * misfit / n) + volume / n) / 2
        best = int(np.argmax(evidence))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, _GRID_SIZE - 1)]
    return float(evidence[best])


def class_columns(labels: IntArray) -> FloatArray:
    """One column of 0 and 1 for each class that occurs: labels (n,) to targets (n, K)."""
    columns: FloatArray = (labels[:, None] == np.unique(labels)).astype(float)
    return columns


def _score(
    context: RankingContext, candidate: str, *, max_instances: int | None, seed: int
) -> tuple[JsonObject, Cost]:
    import torch

    from gradts_plugin.probing.prober import frozen

    with context.fine_tuned((candidate,), context.settings.seed) as target:
        start = time.perf_counter()
        batches = target.batches(
            batch_size=32,
            max_instances=max_instances,
            seed=seed,
            task_name=context.primary_task,
        )
        with frozen(target.model), torch.no_grad():
            encoded = [(len(batch.example_ids), *_encoded(batch)) for batch in batches]
        features = torch.cat([part for _, part, _ in encoded]).cpu().numpy()
        labels = torch.cat([part for _, _, part in encoded]).cpu().numpy()
        targets = labels if labels.dtype.kind == "f" else class_columns(labels)
        cost = target.result.cost + Cost(
            num_examples=sum(count for count, _, _ in encoded),
            seconds=time.perf_counter() - start,
        )
        return {"log_evidence": log_evidence(features, targets)}, cost


def _encoded(batch: ProbeBatch) -> tuple[Tensor, Tensor]:
    """Features (n, d) and labels (n,): of instances, labelled tokens, or choices."""
    from torch.nn import functional

    from gradts_plugin.probing.convex import mean_pooled

    if batch.labels.dim() == 2:
        labelled = batch.labels != _UNLABELLED
        return batch.hidden_states().float()[labelled], batch.labels[labelled]
    pooled = mean_pooled(batch)
    if pooled.dim() == 3:
        right = functional.one_hot(batch.labels, pooled.shape[1])
        return pooled.flatten(0, 1), right.flatten()
    return pooled, batch.labels


RANKER = Ranker(
    name="logme",
    rank=rank_by_logme,
    title="LogME",
    summary="Evidence of the primary's labels under the candidate's fine-tuned encoder "
    "(You et al. 2021).",
    settings=SamplingSettings,
)
