"""jiant pads every batch to max_seq_length."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import torch

from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named

_SEQUENCE_FIELDS = ("input_ids", "input_mask", "segment_ids", "label_ids", "label_mask")

_LABEL_FIELDS = ("label_id", "label", "label_ids")


def trim_batch(batch: Any) -> Any:
    """Trims a batch to its longest row.

    Only where padding is known to have no influence: classification, regression, tagging and
    multiple choice. A batch with any other tensor (spans, question answering) or without labels
    (language modelling) is returned as it is.

    Args:
        batch: a jiant batch; its sequences have shape (B, T), for multiple choice (B, C, T), with
            padding on the right.

    Returns:
        A batch of the same class with sequences of shape (B, T') or (B, C, T'), T' the length of
        the longest row; the same object where nothing is trimmed.
    """
    fields = batch.to_dict()
    tensors = {name for name, value in fields.items() if isinstance(value, torch.Tensor)}
    known = tensors <= {*_SEQUENCE_FIELDS, *_LABEL_FIELDS} and "input_mask" in tensors
    if not known or tensors.isdisjoint(_LABEL_FIELDS):
        return batch
    mask = batch.input_mask
    full_length = mask.shape[-1]
    length = _longest(mask)
    if "label_mask" in tensors:
        length = max(length, _longest(batch.label_mask))
    if length in {0, full_length}:
        return batch
    trimmed = {
        name: fields[name][..., :length].contiguous()  # jiant takes views of it
        for name in tensors.intersection(_SEQUENCE_FIELDS)
        if fields[name].shape[-1] == full_length
    }
    return batch.new(**trimmed)


def _longest(mask: torch.Tensor) -> int:
    used = mask.reshape(-1, mask.shape[-1]).any(dim=0).nonzero()
    return int(used[-1]) + 1 if len(used) else 0


@contextlib.contextmanager
def trimmed_batches() -> Iterator[None]:
    """Batches are as long as their longest row."""
    runner = module_named("jiant.proj.main.runner")
    tagging = module_named("jiant.tasks.core").TaskTypes.TAGGING
    forward = runner.wrap_jiant_forward

    @functools.wraps(forward)
    def wrap_jiant_forward(jiant_model: Any, batch: Any, task: Any, **kwargs: Any) -> Any:
        output = forward(jiant_model=jiant_model, batch=trim_batch(batch), task=task, **kwargs)
        if task.TASK_TYPE is tagging:
            # The evaluation stacks the logits of all batches: shape (B, T, number of labels).
            missing = batch.input_mask.shape[-1] - output.logits.shape[1]
            output.logits = torch.nn.functional.pad(output.logits, (0, 0, 0, missing))
        return output

    with replaced(runner, "wrap_jiant_forward", wrap_jiant_forward):
        yield
