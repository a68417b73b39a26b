"""How the host trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gradts_plugin.json_forms import JsonObject
from gradts_plugin.settings.parsing import Settings

Precision = Literal["fp32", "bf16"]

#: Passes over the data in a run file that does not say how long to train (Ma et al. 2021).
DEFAULT_EPOCHS = 3


class TrainingSettings(Settings):
    """How the host trains: fine-tuning before a probe, trials and the final run.

    What is left out comes from the host: its container config (steps, batch sizes, warm-up) and
    its command line (learning rate, clipping). `recipe: mt-dnn` is MT-DNN's recipe as the paper
    used it; every key given beside it wins.

    Attributes:
        recipe: where the other keys' defaults come from.
        epochs: passes over all training instances; excludes max_steps.
        max_steps: optimiser steps.
        batch_size: instances per batch, for every task.
        gradient_accumulation_steps: batches per optimiser step.
        learning_rate: peak learning rate.
        optimizer: adamw and radam are jiant's own; adamax is MT-DNN's.
        warmup_proportion: share of the steps with rising learning rate.
        max_grad_norm: gradient norms are clipped to this.
        clip_once_per_step: clip once per optimiser step, not at every accumulated batch.
        exposure: `equal`: epochs or max_steps count the primary's own batches; with auxiliaries it
            is trained on as many, and theirs come on top; the primary alone is also tried at the
            full length. `total`: they count the steps of all tasks together, so that auxiliaries
            take some of the primary's.
        auxiliary_ratio: steps of all auxiliaries together for each step of the primary, where
            exposure is equal.
        order: of the steps, where exposure is equal. `sequential`: first the auxiliaries', mixed,
            and then the primary's, both with a whole schedule of learning rates of their own
            (STILTs, Phang et al. 2018). `mixed`: those of all tasks in turn, as the seed decides.
        temperature: auxiliaries share their steps by their size n as n^(1 / temperature), where
            exposure is equal: 1 is by size, large ones are all alike.
        sampler: `host` is the container's own; `epoch` takes every batch of every task once per
            epoch in random task order (MT-DNN).
        evaluations: how often the primary's dev set is scored; None: once an epoch (at least once).
        precision: bf16 trains under autocast; auto does so where the hardware is faster in it: on
            a GPU with bf16, on a processor with tiles for it (AMX).
    """

    recipe: Literal["jiant", "mt-dnn"] = "jiant"
    epochs: Annotated[float, Field(gt=0, le=10_000)] | None = None
    max_steps: Annotated[int, Field(gt=0, le=10**8)] | None = None
    batch_size: Annotated[int, Field(gt=0, le=100_000)] | None = None
    gradient_accumulation_steps: Annotated[int, Field(gt=0, le=100_000)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    optimizer: Literal["adamw", "adamax", "radam"] = "adamw"
    warmup_proportion: Annotated[float, Field(ge=0, le=1)] | None = None
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    clip_once_per_step: bool = True
    exposure: Literal["equal", "total"] = "total"
    auxiliary_ratio: Annotated[float, Field(gt=0, le=100)] = 1.0
    order: Literal["sequential", "mixed"] = "sequential"
    temperature: Annotated[float, Field(ge=1)] = 2.0
    sampler: Literal["host", "epoch"] = "host"
    evaluations: Annotated[int, Field(gt=0, le=10_000)] | None = None
    precision: Literal["auto", "fp32", "bf16"] = "fp32"

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and given.get("recipe") == "mt-dnn":
            return {**MT_DNN_RECIPE, **given}
        return given

    @model_validator(mode="after")
    def _one_length(self) -> TrainingSettings:
        if self.epochs is not None and self.max_steps is not None:
            raise ValueError("give epochs or max_steps, not both")
        return self


#: MT-DNN's training recipe, as the paper used it (Ma et al. 2021): Adamax 5e-5, 7 epochs, batch 4,
#: accumulation 4, clipping once a step, 10 % warm-up, every batch of every task once per epoch.
MT_DNN_RECIPE: JsonObject = {
    "epochs": 7,
    "batch_size": 4,
    "gradient_accumulation_steps": 4,
    "learning_rate": 5e-5,
    "optimizer": "adamax",
    "warmup_proportion": 0.1,
    "max_grad_norm": 1.0,
    "clip_once_per_step": True,
    "sampler": "epoch",
}
