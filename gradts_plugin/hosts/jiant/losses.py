"""Each instance's own mean loss, from jiant's forward pass.

jiant's models only return the mean over a batch. Ma et al. 2021 (GradTS, section 3) take gradients
instance by instance; the sum of these losses has all of those gradients at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.compat import apply_mends

apply_mends()

from jiant.proj.main.modeling.primary import wrap_jiant_forward  # noqa: E402  # after the mends
from jiant.tasks.core import TaskTypes  # noqa: E402  # after the mends

_UNLABELLED = -100


def instance_losses(jiant_model: Any, batch: Any, task: Any) -> torch.Tensor:
    """Runs the forward pass and returns the loss of each instance.

    Cross-entropy for classification, multiple choice and span comparison; squared error for
    regression; cross-entropy averaged over the instance's own labelled tokens for tagging.

    Args:
        jiant_model: jiant's `JiantModel`.
        batch: a batch of the task, on the model's device; B instances.
        task: the task; jiant's own or a custom one.

    Returns:
        Differentiable losses of shape (B,), at least float32. For all types but tagging their mean
        is jiant's loss; for tagging it is where all instances have equally many labelled tokens
        (jiant averages over the tokens of a batch). An instance without labelled tokens has loss 0.

    Raises:
        HostError: the task type has no loss per instance here.
    """
    compute = _LOSSES.get(task.TASK_TYPE)
    if compute is None:
        valid = ", ".join(sorted(task_type.value for task_type in _LOSSES))
        raise HostError(
            f"task {task.name!r} of type {task.TASK_TYPE.value} cannot be probed; valid: {valid}"
        )
    logits = wrap_jiant_forward(jiant_model, batch, task, compute_loss=False).logits
    # Under bf16 autocast the heads answer in bf16, which has too few digits for a loss.
    return compute(logits.to(torch.promote_types(logits.dtype, torch.float32)), batch)


def hidden_states(jiant_model: Any, batch: Any) -> torch.Tensor:
    """The encoder's last hidden states: (B, T, d), or (B, C, T, d) for C choices."""
    inputs = (batch.input_ids, batch.segment_ids, batch.input_mask)
    if batch.input_ids.dim() == 3:
        # One choice after the other, as jiant does: each pass reads one row per instance.
        choices = zip(*(given.unbind(dim=1) for given in inputs), strict=True)
        return torch.stack([_encode(jiant_model, *choice) for choice in choices], dim=1)
    return _encode(jiant_model, *inputs)


def _encode(
    jiant_model: Any, input_ids: torch.Tensor, segment_ids: torch.Tensor, input_mask: torch.Tensor
) -> torch.Tensor:
    states: torch.Tensor = jiant_model.encoder.encode(
        input_ids=input_ids, segment_ids=segment_ids, input_mask=input_mask
    ).unpooled
    return states


def labels_of(batch: Any) -> torch.Tensor:
    """A batch's labels: class or choice ids (B,), scores (B,), or tag ids (B, T) with -100."""
    if hasattr(batch, "label_mask"):
        labels: torch.Tensor = batch.label_ids.masked_fill(batch.label_mask != 1, _UNLABELLED)
        return labels
    labels = batch.label_id if hasattr(batch, "label_id") else batch.label
    return labels.flatten()


def _class_losses(logits: torch.Tensor, batch: Any) -> torch.Tensor:
    """Logits of shape (B, num_labels), or (B, num_choices)."""
    return functional.cross_entropy(logits, batch.label_id, reduction="none")


def _squared_errors(scores: torch.Tensor, batch: Any) -> torch.Tensor:
    """Scores of shape (B, 1)."""
    right = batch.label.flatten().to(scores.dtype)
    return functional.mse_loss(scores.flatten(), right, reduction="none")


def _tagging_losses(logits: torch.Tensor, batch: Any) -> torch.Tensor:
    """Logits of shape (B, T, num_labels); label_ids and label_mask of shape (B, T)."""
    labelled = batch.label_mask == 1
    targets = batch.label_ids.masked_fill(~labelled, _UNLABELLED)
    token_losses = functional.cross_entropy(
        logits.transpose(1, 2), targets, ignore_index=_UNLABELLED, reduction="none"
    )
    losses: torch.Tensor = token_losses.sum(dim=1) / labelled.sum(dim=1).clamp(min=1)
    return losses


_LOSSES: Mapping[Any, Callable[[torch.Tensor, Any], torch.Tensor]] = {
    TaskTypes.CLASSIFICATION: _class_losses,
    TaskTypes.MULTIPLE_CHOICE: _class_losses,
    TaskTypes.SPAN_COMPARISON_CLASSIFICATION: _class_losses,
    TaskTypes.REGRESSION: _squared_errors,
    TaskTypes.TAGGING: _tagging_losses,
}
