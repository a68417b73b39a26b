"""How well a linear head does on dev instances: what an encoder is worth to the primary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from gradts_plugin.errors import TrainingError
from gradts_plugin.protocols import ProbeTarget
from gradts_plugin.records import FloatArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class EncodedTask:
    """A task by one encoder; the units are instances, or tokens for tags.

    Attributes:
        train: features (N, d), or (N, C, d) for C choices, and labels (N,): what a head is fitted
            to.
        dev: the same of the dev set: what it is scored on.
        num_instances: how many were encoded.
    """

    train: tuple[Tensor, Tensor]
    dev: tuple[Tensor, Tensor]
    num_instances: int

    def mapped(self, change: Callable[[Tensor], Tensor]) -> EncodedTask:
        """The same labels with other features."""
        (train, labels), (dev, dev_labels) = self.train, self.dev
        both = (change(train), labels), (change(dev), dev_labels)
        return EncodedTask(*both, self.num_instances)


def encoded_task(
    target: ProbeTarget, task_name: str, *, max_instances: int | None, seed: int
) -> EncodedTask:
    """Encodes a task's training and dev instances, mean-pooled (see `probing.convex.units_of`).

    Args:
        target: lends the encoder, which is left as it was.
        task_name: any task the host knows.
        max_instances: so many of each at most; None: all.
        seed: of the samples.

    Raises:
        TrainingError: one of the two has no instances.
    """
    import torch

    from gradts_plugin.probing.convex import units_of
    from gradts_plugin.probing.prober import frozen

    count = 0

    def units(phase: Literal["train", "val"]) -> tuple[Tensor, Tensor]:
        nonlocal count
        batches = list(
            target.batches(
                batch_size=32,
                max_instances=max_instances,
                seed=seed,
                task_name=task_name,
                phase=phase,
            )
        )
        count += sum(len(batch.example_ids) for batch in batches)
        return units_of(batches)

    with frozen(target.model), torch.no_grad():
        train, dev = units("train"), units("val")
    return EncodedTask(train, dev, count)


def pooled_states(
    target: ProbeTarget, task_name: str, *, max_instances: int | None, seed: int
) -> tuple[FloatArray, int]:
    """A task's mean-pooled training instances, in the order of their ids.

    Args:
        target: lends the encoder, which is left as it was.
        task_name: any task the host knows.
        max_instances: so many at most; None: all.
        seed: of the sample.

    Returns:
        float64 array of shape (N, d), a row for each choice where there are choices; and how many
        instances these are.
    """
    import torch

    from gradts_plugin.probing.convex import mean_pooled
    from gradts_plugin.probing.prober import frozen

    ids, rows = [], []
    batches = target.batches(
        batch_size=32, max_instances=max_instances, seed=seed, task_name=task_name
    )
    with frozen(target.model), torch.no_grad():
        for batch in batches:
            ids.append(batch.example_ids)
            rows.append(mean_pooled(batch).double().cpu().numpy())
    order = np.argsort(np.concatenate(ids))
    pooled: FloatArray = np.concatenate(rows)[order]
    return pooled.reshape(-1, pooled.shape[-1]), len(order)


def held_out_loss(encoded: EncodedTask) -> float:
    """Fits a linear head to the training units; its mean loss on the dev units.

    Cross-entropy, or squared error of scores. The fit is convex, so it has one solution and no
    seed. Dev units whose label no training unit has are left out: no head could know it, and what
    it answers would say nothing about the encoder.

    Raises:
        TrainingError: the fit fails, or no dev unit is left.
    """
    import torch

    from gradts_plugin.probing.convex import fit_features, unit_losses

    (features, labels), (dev_features, dev_labels) = encoded.train, encoded.dev
    head = fit_features(features, labels)
    is_class = not labels.is_floating_point() and features.dim() == 2
    if is_class:
        known = torch.isin(dev_labels, labels)
        dev_features, dev_labels = dev_features[known], dev_labels[known]
    if not len(dev_labels):
        raise TrainingError(
            "the linear head cannot be scored: no dev instance has a label of the training data"
        )
    return float(unit_losses(head(dev_features), dev_labels).mean())
