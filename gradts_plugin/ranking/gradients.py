"""Ranking by projected gradients: which tasks' gradients would lower the primary's dev loss."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from gradts_plugin.errors import TrainingError
from gradts_plugin.json_forms import JsonObject, from_json
from gradts_plugin.offers import Computation, Ranker, RankingContext
from gradts_plugin.ranking.by_value import ranked_in_order
from gradts_plugin.ranking.correlation import kendall
from gradts_plugin.ranking.sampling import SamplingSettings
from gradts_plugin.ranking.sketch import CountSketch, layer_parameters
from gradts_plugin.records import Cost, FloatArray, ProbeBatch, Ranking, Trial

if TYPE_CHECKING:
    from torch import nn

#: Length of a projected gradient. A prime, so that the entries of one column of a weight, which
#: are often large together, are spread over all buckets.
_DIMENSION = 509

#: Ridge of the step, relative to the mean squared norm of the primary's gradients.
_RIDGE = 0.1


def rank_by_gradients(context: RankingContext, settings: SamplingSettings) -> Ranking:
    """Ranks the candidates by forward selection on a surrogate of the primary's dev loss.

    In the manner of Grad-TAG (Li, Sharma and Zhang 2024, Scalable Multitask Learning Using
    Gradient-based Estimation of Task Affinity) and GradEx (Li, Zhang, Wang and Zhang 2024,
    Scalable Fine-tuning from Multiple Data Sources: A First-Order Approximation Approach): one
    model is trained on the primary and all candidates, and what training on any subset of them
    would change is estimated from gradients at that model, projected at random, without training
    again. The candidate that is estimated to lower the dev loss most is added first, and so on.

    What differs: they fit a regression to projected gradients of the outputs for each subset; here
    the step of each subset is a ridge-regularised Gauss-Newton step (see `Surrogate`), which has a
    closed form for all kinds of tasks.

    Args:
        context: trains with `settings.fine_tuning` and `settings.seed`; `settings.ranking.seed`
            seeds the samples and the projection.
        settings: how many training instances of each task, and dev instances of the primary, give
            a gradient.

    Returns:
        The ranking; a candidate's figure is how much less dev loss is estimated when it joins
        those before it. It can be negative, and the figures need not fall.
    """
    run = context.settings
    tasks = (context.primary_task, *context.candidate_tasks)
    identity: JsonObject = {
        "fine_tuning": context.fine_tuning_identity(tasks),
        "fine_tuning_seed": run.seed,
        "max_instances": settings.max_instances,
        "seed": run.ranking.seed,
        "dimension": _DIMENSION,
        "ridge": _RIDGE,
    }
    estimate = partial(_estimate, context, tasks, settings.max_instances)
    (found,) = context.computed([Computation("gradients", identity, tasks, estimate)])
    placed = from_json(list[tuple[str, float]], found["reductions"], where="stored reductions")
    return ranked_in_order(context, placed, ranker="gradients", measure="dev loss reduction")


@dataclass(frozen=True)
class Surrogate:
    """The primary's dev loss near a multi-task model, as a function of what it is trained on.

    For a set S of tasks with mean gradient g_S and mean outer product C_S of single instances'
    gradients (the empirical Fisher, which stands for the Gauss-Newton matrix), training on S is
    the step d = -(C_S + ridge I)^-1 g_S, and the dev loss changes by g_dev d + d C_dev d / 2.

    Attributes:
        means: task -> mean gradient, shape (k,).
        curvatures: task -> mean outer product, shape (k, k).
        dev_mean: mean gradient of the primary's dev instances, shape (k,).
        dev_curvature: their mean outer product, shape (k, k).
        ridge: keeps the step short where gradients say little.
    """

    means: Mapping[str, FloatArray]
    curvatures: Mapping[str, FloatArray]
    dev_mean: FloatArray
    dev_curvature: FloatArray
    ridge: float

    @classmethod
    def from_gradients(
        cls, primary_task: str, train: Mapping[str, FloatArray], dev: FloatArray
    ) -> Surrogate:
        """Builds it from projected gradients of single instances.

        Args:
            primary_task: whose gradients set the ridge.
            train: task -> gradients of training instances, shape (N, k).
            dev: gradients of the primary's dev instances, shape (M, k).
        """
        curvatures = {name: rows.T @ rows / len(rows) for name, rows in train.items()}
        return cls(
            means={name: rows.mean(axis=0) for name, rows in train.items()},
            curvatures=curvatures,
            dev_mean=dev.mean(axis=0),
            dev_curvature=dev.T @ dev / len(dev),
            ridge=max(_RIDGE * float(np.trace(curvatures[primary_task])), 1e-12),
        )

    def dev_loss_change(self, task_names: Sequence[str]) -> float:
        """The estimated change of the primary's dev loss when these tasks are trained together."""
        mean = np.mean([self.means[name] for name in task_names], axis=0)
        curvature = np.mean([self.curvatures[name] for name in task_names], axis=0)
        step = -np.linalg.solve(curvature + self.ridge * np.eye(len(mean)), mean)
        return float(self.dev_mean @ step + step @ self.dev_curvature @ step / 2)


def forward_selection(
    surrogate: Surrogate, primary_task: str, candidates: Sequence[str]
) -> list[tuple[str, float]]:
    """Adds candidates to the primary one by one, always the one with the least estimated dev loss.

    Returns:
        (candidate, by how much it lowers the estimated dev loss), in the order of adding; of equal
        ones the one given first.
    """
    chosen, left = [primary_task], list(candidates)
    reached = surrogate.dev_loss_change(chosen)
    reductions = []
    while left:
        changes = [surrogate.dev_loss_change([*chosen, name]) for name in left]
        best = int(np.argmin(changes))
        reductions.append((left[best], reached - changes[best]))
        reached = changes[best]
        chosen.append(left.pop(best))
    return reductions


def agreement_with_trials(ranking: Ranking, trials: Sequence[Trial]) -> tuple[float, int] | None:
    """Whether trained sets score in the order that the surrogate estimated.

    Li et al. 2024 (Grad-TAG) state how far their estimated losses are from trained ones. Trials
    have metrics and no losses, so here it is the order that is compared. Known are the estimates
    of the ranking's prefixes, of the primary alone (0) on.

    Args:
        ranking: by this ranker.
        trials: of the run; those of other sets, of subsets of instances and with undefined scores
            are not looked at.

    Returns:
        (Kendall's tau-b between the estimated reductions of the dev loss and the scores, the number
        of sets); None where less than three prefixes were trained.
    """
    totals = np.cumsum([0.0, *(candidate.tau for candidate in ranking.candidates)])
    estimates = {
        frozenset(ranking.task_order[:length]): float(total) for length, total in enumerate(totals)
    }
    scores = {
        frozenset(trial.auxiliary_tasks): trial.score
        for trial in trials
        if trial.score is not None and not trial.num_kept and not trial.mixing_ratios
    }
    both = [name for name in scores if name in estimates]
    if len(both) < 3:
        return None
    estimated = np.array([estimates[name] for name in both])
    (tau,) = kendall(estimated, np.array([[scores[name] for name in both]], dtype=float))
    return float(tau), len(both)


def _estimate(
    context: RankingContext, tasks: Sequence[str], max_instances: int | None
) -> tuple[JsonObject, Cost]:
    from gradts_plugin.probing.prober import frozen

    settings = context.settings
    with context.fine_tuned(tasks, settings.seed) as target:
        start = time.perf_counter()
        parameters = layer_parameters(target.encoder)
        sketch = CountSketch(
            [parameter.numel() for parameter in parameters],
            dimension=_DIMENSION,
            seed=settings.ranking.seed,
            device=parameters[0].device,
        )

        def batches(name: str, phase: Any) -> Iterable[ProbeBatch]:
            return target.batches(
                batch_size=1,  # autograd sums the gradients of a batch
                max_instances=max_instances,
                seed=settings.ranking.seed,
                task_name=name,
                phase=phase,
            )

        with frozen(target.model):
            for parameter in parameters:
                parameter.requires_grad_(True)
            train = {name: _projected(batches(name, "train"), parameters, sketch) for name in tasks}
            dev = _projected(batches(tasks[0], "val"), parameters, sketch)
        surrogate = Surrogate.from_gradients(tasks[0], train, dev)
        reductions = forward_selection(surrogate, tasks[0], tasks[1:])
        cost = target.result.cost + Cost(
            num_examples=len(dev) + sum(len(rows) for rows in train.values()),
            seconds=time.perf_counter() - start,
        )
    return {"reductions": [list(pair) for pair in reductions]}, cost


def _projected(
    batches: Iterable[ProbeBatch], parameters: Sequence[nn.Parameter], sketch: CountSketch
) -> FloatArray:
    """Projected loss gradients of single instances, float64 of shape (N, k)."""
    import torch

    rows = []
    for batch in batches:
        with torch.enable_grad():
            loss = batch.instance_losses().sum()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        row = sketch(gradients)
        if not row.isfinite().all():
            raise TrainingError(
                f"the gradient is NaN or infinite for example {batch.example_ids[0]}"
            )
        rows.append(row.double().cpu().numpy())
    return np.stack(rows)


RANKER = Ranker(
    name="gradients",
    rank=rank_by_gradients,
    title="Gradients",
    summary="Forward selection on a gradient surrogate of the primary's dev loss "
    "(in the manner of Grad-TAG, Li et al. 2024).",
    settings=SamplingSettings,
)
