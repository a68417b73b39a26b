"""A probe without fine-tuning: the encoder stays frozen, and only a linear head is fitted to it.

The head's loss is convex, so the fit has one solution: no training run, no seed of the head, and
the same importances whenever the data is the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gradts_plugin.errors import TrainingError
from gradts_plugin.records import ProbeBatch

__all__ = [
    "LinearHead",
    "fit_features",
    "fit_head",
    "fitted_batches",
    "mean_pooled",
    "unit_losses",
    "units_of",
]

_UNLABELLED = -100

#: For heads that are probed.
_RIDGE = 1e-2

_MAX_ITERATIONS = 200


@dataclass(frozen=True)
class LinearHead:
    """A linear head on standardised features.

    Attributes:
        weight: (d, K); K classes, 1 for scores and for choices.
        bias: (K,); not used for choices.
        mean: (d,), of the features it was fitted to.
        deviation: (d,), of the features it was fitted to.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    deviation: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """Features (..., d) to logits (..., K)."""
        logits: Tensor = ((features - self.mean) / self.deviation) @ self.weight + self.bias
        return logits


def mean_pooled(batch: ProbeBatch) -> Tensor:
    """Mean of the last hidden states over the tokens that are no padding.

    Returns:
        (B, d), or (B, C, d) for C choices.
    """
    mask = batch.attention_mask.unsqueeze(-1)
    states = batch.hidden_states().float()
    pooled: Tensor = (states * mask).sum(dim=-2) / mask.sum(dim=-2).clamp(min=1)
    return pooled


def fit_head(
    batches: Iterable[ProbeBatch],
    *,
    shuffle_seed: int | None = None,
    precision: Literal["fp32", "bf16"] = "fp32",
    ridge: float = _RIDGE,
) -> LinearHead:
    """Encodes instances and fits the head: minimum of mean loss + ridge, by L-BFGS from zero.

    Args:
        batches: the instances to fit, labelled.
        shuffle_seed: fit to labels in shuffled order (see `shuffled_labels`).
        precision: "bf16" encodes under bfloat16 autocast; the head is always fitted in fp64.
        ridge: weight of the squared norm of the head, for features of unit variance.

    Returns:
        The head.

    Raises:
        TrainingError: there is nothing to fit, or the fit is not finite.
    """
    kept = list(batches)
    device_type = kept[0].labels.device.type if kept else "cpu"
    with torch.autocast(device_type, torch.bfloat16, enabled=precision == "bf16"):
        features, labels = units_of(_with_labels(kept, shuffle_seed))
    return fit_features(features, labels, ridge=ridge)


def fit_features(features: Tensor, labels: Tensor, *, ridge: float = _RIDGE) -> LinearHead:
    """Fits the head to what was encoded already.

    Args:
        features: (N, d), or (N, C, d) for choices.
        labels: (N,).
        ridge: as of `fit_head`.

    Raises:
        TrainingError: the features, or the fit, are not finite.
    """
    mean = features.flatten(0, -2).mean(dim=0)
    if not torch.isfinite(features).all():
        raise TrainingError(
            "the linear head cannot be fitted: the encoder's outputs are NaN or infinite; "
            "are its weights whole?"
        )
    # One instance has no deviation (torch: NaN), and only the bias is fitted to it.
    units = features.flatten(0, -2)
    deviation = (units.std(dim=0) if len(units) > 1 else units * 0).clamp(min=1e-6).reshape(-1)
    # In fp64: else where the fit ends depends on how batches and machine rounded the features.
    exact = ((features - mean) / deviation).double()
    scores = labels.is_floating_point()
    size = 1 if scores or features.dim() == 3 else int(labels.max()) + 1
    weight = exact.new_zeros(features.shape[-1], size, requires_grad=True)
    bias = exact.new_zeros(size, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_MAX_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = unit_losses(exact @ weight + bias, labels).mean()
        loss = loss + ridge / 2 * weight.pow(2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        final = optimizer.step(objective)  # type: ignore[no-untyped-call]
    if not torch.isfinite(torch.as_tensor(final)):
        raise TrainingError("the linear head cannot be fitted: its loss is not finite")
    return LinearHead(weight.detach().float(), bias.detach().float(), mean, deviation)


def fitted_batches(
    batches: Iterable[ProbeBatch], head: LinearHead, *, shuffle_seed: int | None = None
) -> Iterator[ProbeBatch]:
    """The same batches with the fitted head's losses in the place of the host's.

    Args:
        batches: the instances, in the order in which they were when the head was fitted.
        head: the fitted head.
        shuffle_seed: as it was when the head was fitted.

    Yields:
        Batches whose `instance_losses` go through the encoder and this head.
    """
    for batch in _with_labels(batches, shuffle_seed):
        yield replace(batch, instance_losses=functools.partial(_instance_losses, batch, head))


def _instance_losses(batch: ProbeBatch, head: LinearHead) -> Tensor:
    if batch.labels.dim() == 2:  # tags: the mean over the instance's own labelled tokens
        logits = head(batch.hidden_states().float())
        losses = functional.cross_entropy(
            logits.transpose(1, 2), batch.labels, ignore_index=_UNLABELLED, reduction="none"
        )
        counts = (batch.labels != _UNLABELLED).sum(dim=1).clamp(min=1)
        mean: Tensor = losses.sum(dim=1) / counts
        return mean
    return unit_losses(head(mean_pooled(batch)), batch.labels)


def unit_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The losses (N,) of logits (N, K), or (N, C, 1) for choices, and labels (N,)."""
    if labels.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), labels, reduction="none")
    if logits.dim() == 3:
        logits = logits.squeeze(-1)
    return functional.cross_entropy(logits, labels, reduction="none")


def units_of(batches: Iterable[ProbeBatch]) -> tuple[Tensor, Tensor]:
    """What a head is fitted to: features (N, d) or (N, C, d) and labels (N,); tokens for tags.

    Raises:
        TrainingError: there are no instances.
    """
    features, labels = [], []
    with torch.no_grad():
        for batch in batches:
            if batch.labels.dim() == 2:
                labelled = batch.labels != _UNLABELLED
                features.append(batch.hidden_states().float()[labelled])
                labels.append(batch.labels[labelled])
            else:
                features.append(mean_pooled(batch))
                labels.append(batch.labels)
    if not features:
        raise TrainingError("the linear head cannot be fitted: there are no instances")
    return torch.cat(features), torch.cat(labels)


def _with_labels(batches: Iterable[ProbeBatch], shuffle_seed: int | None) -> Iterator[ProbeBatch]:
    """The batches, with labels in another order where a seed is given: nothing left to learn.

    Labels of instances are permuted over all instances, tags over all labelled tokens.
    """
    if shuffle_seed is None:
        yield from batches
        return
    kept = list(batches)
    masks = [batch.labels != _UNLABELLED for batch in kept]
    values = torch.cat([batch.labels[mask] for batch, mask in zip(kept, masks, strict=True)])
    order = torch.from_numpy(np.random.default_rng(shuffle_seed).permutation(len(values)))
    parts = torch.split(values[order.to(values.device)], [int(mask.sum()) for mask in masks])
    for batch, mask, part in zip(kept, masks, parts, strict=True):
        labels = batch.labels.clone()
        labels[mask] = part
        yield replace(batch, labels=labels)
