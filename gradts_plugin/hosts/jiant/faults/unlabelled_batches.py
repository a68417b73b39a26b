"""jiant's loss of a batch of sentences without a labelled word is NaN, which ends a training."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named


@contextlib.contextmanager
def defined_tag_losses() -> Iterator[None]:
    """Such a batch has loss 0, and moves nothing.

    Its words may be without a label (-100), or have been cut off at the maximum length.
    """
    model = module_named("jiant.proj.main.modeling.taskmodels").TokenClassificationModel
    forward = model.forward

    @functools.wraps(forward)
    def defined(self: Any, batch: Any, tokenizer: Any, compute_loss: bool = False) -> Any:
        output = forward(self, batch, tokenizer, compute_loss=compute_loss)
        if compute_loss and not (batch.label_mask == 1).any():
            output.loss = output.logits.sum() * 0.0
        return output

    with replaced(model, "forward", defined):
        yield
