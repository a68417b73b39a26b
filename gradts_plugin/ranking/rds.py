"""Instances by how near their texts are to the primary's: RDS+, without labels or gradients."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from gradts_plugin.json_forms import JsonObject
from gradts_plugin.offers import Computation, RankingContext
from gradts_plugin.protocols import ProbeTarget
from gradts_plugin.ranking.embedding import unit_vectors
from gradts_plugin.ranking.lending import pretrained
from gradts_plugin.records import Cost, FloatArray, IntArray, ProbeBatch

if TYPE_CHECKING:
    from torch import Tensor

#: Raised when the same data gives other similarities.
_VERSION = 1

#: So many of the primary's training instances are compared with (a seeded sample), for a product
#: with all instances of an auxiliary has to be affordable.
MOST_REFERENCES = 1000

_BATCH_SIZE = 32

_BLOCK = 4096


def instance_similarities(
    context: RankingContext, task_names: Sequence[str]
) -> dict[str, tuple[IntArray, FloatArray]]:
    """Similarity of every training instance of some tasks to the primary's nearest one.

    RDS+ of Ivison et al. 2025 (Large-Scale Data Selection for Instruction Tuning, arXiv
    2503.01807): an instance is the position-weighted mean of the pretrained encoder's last hidden
    states, and instances are near by the cosine of theirs. What differs: they let the instances of
    the task that is to be helped choose in turn until there are enough; here an instance is judged
    by the nearest of them, so that a threshold can keep as many as are near.

    Compared with are the primary's training instances, 1,000 at most, so nothing of its dev set
    decides what is trained. Encoding the auxiliaries' instances and these takes a forward pass
    each; another primary costs the same again.

    Args:
        context: `settings.ranking.seed` seeds the sample of the primary.
        task_names: the auxiliaries.

    Returns:
        Task -> (example ids int64 of shape (N,), ascending; similarities float64 of shape (N,)).
    """
    seed = context.settings.ranking.seed
    primary = context.primary_task
    with pretrained(context) as target:

        @cache
        def references() -> FloatArray:
            return _encoded(target(), primary, MOST_REFERENCES, seed)[1]

        found = context.computed(
            [
                Computation(
                    "instance similarities",
                    {"version": _VERSION, "max_references": MOST_REFERENCES, "seed": seed},
                    (primary, name),
                    partial(_compared, target, references, name),
                    made_up=_made_up(context.tasks[name].num_train),
                )
                for name in task_names
            ]
        )
    return {
        name: (
            np.array(values["example_ids"], dtype=np.int64),
            np.array(values["similarities"], dtype=np.float64),
        )
        for name, values in zip(task_names, found, strict=True)
    }


def position_weighted(batch: ProbeBatch) -> Tensor:
    """Last hidden states averaged over the tokens, the i-th of n tokens weighted by i.

    Ivison et al. 2025, section 3.2: later tokens of a language model have seen more of the text. An
    encoder's have all seen all of it; the weights are kept as published. Choices are averaged.

    Returns:
        Tensor of shape (B, d).
    """
    mask = batch.attention_mask.long()
    weights = (mask.cumsum(dim=-1) * mask).unsqueeze(-1).float()
    states = batch.hidden_states().float()
    pooled: Tensor = (states * weights).sum(dim=-2) / weights.sum(dim=-2).clamp(min=1)
    return pooled if pooled.dim() == 2 else pooled.mean(dim=1)


def nearest(instances: FloatArray, references: FloatArray) -> FloatArray:
    """The largest cosine of each instance (N, d) with a reference (M, d), shape (N,)."""
    units = unit_vectors(references)
    blocks = [
        (unit_vectors(instances[start : start + _BLOCK]) @ units.T).max(axis=1)
        for start in range(0, len(instances), _BLOCK)
    ]
    return np.concatenate(blocks)


def _compared(
    target: Callable[[], ProbeTarget], references: Callable[[], FloatArray], task_name: str
) -> tuple[JsonObject, Cost]:
    start = time.perf_counter()
    compared_with = references()
    ids, instances = _encoded(target(), task_name, None, 0)
    order = np.argsort(ids)
    similarities = nearest(instances, compared_with)[order]
    # The references are counted for each task: without the others it would have to encode them.
    cost = Cost(0, len(ids) + len(compared_with), time.perf_counter() - start)
    # Seven digits are what float32 has.
    values = [round(value, 7) for value in similarities.tolist()]
    return {"example_ids": ids[order].tolist(), "similarities": values}, cost


def _encoded(
    target: ProbeTarget, task_name: str, max_instances: int | None, seed: int
) -> tuple[IntArray, FloatArray]:
    """Example ids (N,) and encoded training instances, float32 (N, d)."""
    import torch

    from gradts_plugin.probing.prober import frozen

    ids, rows = [], []
    batches = target.batches(
        batch_size=_BATCH_SIZE, max_instances=max_instances, seed=seed, task_name=task_name
    )
    with frozen(target.model), torch.no_grad():
        for batch in batches:
            ids.append(batch.example_ids)
            rows.append(position_weighted(batch).cpu().numpy())
    return np.concatenate(ids), np.concatenate(rows)


def _made_up(num_instances: int) -> Mapping[str, list[float]]:
    """Similarities of which any threshold keeps some and drops some, for a plan."""
    similarities = np.linspace(-1.0, 1.0, num_instances).tolist()
    return {"example_ids": list(range(num_instances)), "similarities": similarities}
