"""Ranking by matching gradients: which mixture of tasks pulls where the primary's dev set does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from gradts_plugin.errors import TrainingError
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.offers import Computation, Ranker, RankingContext
from gradts_plugin.protocols import ProbeTarget
from gradts_plugin.ranking.by_value import ranked_in_order
from gradts_plugin.ranking.embedding import unit_vectors
from gradts_plugin.ranking.lending import pretrained
from gradts_plugin.ranking.sampling import SamplingSettings
from gradts_plugin.ranking.sketch import CountSketch, layer_parameters
from gradts_plugin.records import Cost, FloatArray, ProbeBatch, Ranking
from gradts_plugin.stores import keys

#: What the ranker is chosen by; the method `matched` needs its figures.
MATCHING = "matching"

#: Length of a projected gradient, a prime (see `gradients`). The projection adds an error of about
#: 1 / sqrt(4093) = 0.016 to a cosine; there is one gradient for a task, so it may be long.
_DIMENSION = 4093

_BATCH_SIZE = 32

#: Ridge of the heads, a strong one: a head that fits its few instances leaves a gradient of how to
#: fit any labels to these texts.
_RIDGE = 1.0

_Phase = Literal["train", "val"]


class MatchingSettings(SamplingSettings):
    """How the candidates' gradients are matched with the primary's.

    Attributes:
        sparsity: of the largest cosine with the primary's dev gradient (mostly that of its own
            training instances), the share that a candidate must add to what is taken, or it gets
            0; the higher, the fewer are taken.
    """

    sparsity: Annotated[float, Field(gt=0, lt=1)] = 0.3


def rank_by_matching(context: RankingContext, settings: MatchingSettings) -> Ranking:
    """Ranks the candidates by their part in the mixture that matches the primary's dev gradient.

    Kernel mean matching as in Zeng et al. 2026 (arXiv 2605.16704): the parts beta minimise
    beta' K beta / 2 - c' beta + lambda |beta|_1 over beta >= 0, with K the inner products of the
    tasks' mean gradients and c those with the primary's dev gradient. The primary's own training
    instances have a part, too, so that a candidate's is what it adds to them. A part of 0 says
    "not": the candidate pulls elsewhere, or others bring the same.

    The encoder stays as it is pretrained. A gradient is the mean over a sample of instances, of the
    loss under a linear head that is fitted to these instances (`probing.convex`), over the weight
    matrices of the encoder's layers, projected at random to 4093 numbers.

    What differs: gradients have length 1, because losses differ in scale with the kind of task and
    the number of classes, and with them the parts would; K and c are cosines. And every gradient,
    the dev gradient too, has a head of its own: under heads that were fitted to other instances,
    most tasks were not nearest to their own training data.

    A candidate more costs two forward passes and a backward pass of its own sample; another primary
    the same of its dev sample, and of its training sample where it was no candidate. Nothing is
    trained.

    Args:
        context: `settings.ranking.seed` seeds the samples and the projection.
        settings: how many instances of each task are looked at, and lambda.

    Returns:
        The ranking; a candidate's figure is its part beta. Those with 0 are ordered by how much
        they would still add, c - K beta.
    """
    dev, train = _gradients(context, settings.max_instances)
    parts, additions = (found[1:] for found in match(train, dev, settings.sparsity))
    order = sorted(range(len(parts)), key=lambda place: (-parts[place], -additions[place]))
    placed = [(context.candidate_tasks[place], float(parts[place])) for place in order]
    return ranked_in_order(context, placed, ranker=MATCHING, measure="gradient match")


def match(
    gradients: FloatArray, target: FloatArray, sparsity: float
) -> tuple[FloatArray, FloatArray]:
    """The non-negative parts of some gradients whose sum comes nearest to another one.

    All are scaled to length 1. With lambda = `sparsity` times the largest cosine, the parts are the
    non-negative lasso of the target on the gradients, solved by coordinate descent: of gradients
    that are exactly alike, the first one is taken.

    Args:
        gradients: shape (M, k); one of zeros matches nothing.
        target: shape (k,).
        sparsity: in (0, 1).

    Returns:
        The parts beta, float64 of shape (M,), and what each would still add, c - K beta, (M,): at
        most lambda where the part is 0, lambda where it is above.
    """
    from sklearn.linear_model import Lasso

    units, goal = unit_vectors(gradients), unit_vectors(target)
    cosines = units @ goal
    limit = sparsity * float(cosines.max())
    if limit <= 0:
        return np.zeros(len(units)), cosines
    lasso = Lasso(
        alpha=limit / len(goal),  # scikit-learn's loss is a mean over the k numbers
        positive=True,
        fit_intercept=False,
        tol=1e-10,
        max_iter=100_000,
    )
    parts: FloatArray = lasso.fit(units.T, goal).coef_
    return parts, cosines - units @ (parts @ units)


def _gradients(context: RankingContext, max_instances: int | None) -> tuple[FloatArray, FloatArray]:
    """Projected gradients: the primary's dev set (k,); all training sets (1 + M, k), its first."""
    seed = context.settings.ranking.seed
    identity: JsonObject = {
        "max_instances": max_instances,
        "seed": seed,
        "head_fit_version": keys.HEAD_FIT_VERSION,
    }
    train: list[tuple[str, _Phase]] = [
        (name, "train") for name in (context.primary_task, *context.candidate_tasks)
    ]
    looked_at: list[tuple[str, _Phase]] = [(context.primary_task, "val"), *train]
    with pretrained(context) as target:
        found = context.computed(
            [
                Computation(
                    f"{phase} gradient",
                    identity,
                    (name,),
                    partial(_mean_gradient, target, name, phase, max_instances, seed),
                )
                for name, phase in looked_at
            ]
        )
    dev, *others = (np.array(values["gradient"], dtype=np.float64) for values in found)
    return dev, np.stack(others)


def _mean_gradient(
    lend: Callable[[], ProbeTarget],
    task_name: str,
    phase: _Phase,
    max_instances: int | None,
    seed: int,
) -> tuple[JsonObject, Cost]:
    from gradts_plugin.probing.convex import fit_head, fitted_batches
    from gradts_plugin.probing.prober import frozen

    target = lend()
    start = time.perf_counter()
    batches = list(
        target.batches(
            batch_size=_BATCH_SIZE,
            max_instances=max_instances,
            seed=seed,
            task_name=task_name,
            phase=phase,
        )
    )
    number = sum(len(batch.example_ids) for batch in batches)
    with frozen(target.model):
        try:
            head = fit_head(batches, ridge=_RIDGE)
            total = _projected_sum(fitted_batches(batches, head), target, seed)
        except TrainingError as error:
            raise TrainingError(f"task {task_name!r}: {error}") from error
    cost = Cost(0, 2 * number, time.perf_counter() - start)  # fitted to, and differentiated
    return {"gradient": (total / number).tolist()}, cost


def _projected_sum(batches: Iterable[ProbeBatch], target: ProbeTarget, seed: int) -> FloatArray:
    """The summed loss gradient over the layers' weight matrices, projected, float64 (k,)."""
    import torch

    # Biases and gains move all texts alike: on real tasks their gradients hid those of the weights,
    # and pointed the same way for tasks that have nothing to do with each other.
    parameters = [weight for weight in layer_parameters(target.encoder) if weight.dim() > 1]
    for parameter in parameters:
        parameter.requires_grad_(True)
    sketch = CountSketch(
        [parameter.numel() for parameter in parameters],
        dimension=_DIMENSION,
        seed=seed,
        device=parameters[0].device,
    )
    total = torch.zeros(_DIMENSION, dtype=torch.float64)
    for batch in batches:
        with torch.enable_grad():
            loss = batch.instance_losses().sum()
            total += sketch(torch.autograd.grad(loss, parameters, allow_unused=True)).cpu()
    if not total.isfinite().all():
        raise TrainingError("the encoder's gradient is NaN or infinite; are its weights whole?")
    projected: FloatArray = total.numpy()
    return projected


RANKER = Ranker(
    name=MATCHING,
    rank=rank_by_matching,
    title="Matching",
    summary="Part in the mixture of candidates that matches the primary's dev gradient "
    "(kernel mean matching, Zeng et al. 2026).",
    settings=MatchingSettings,
)
