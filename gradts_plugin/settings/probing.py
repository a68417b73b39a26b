"""How head importance is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from gradts_plugin.settings.parsing import Affects, Settings
from gradts_plugin.settings.training import Precision

_PROBES = Affects(("probes",))


class ProbingSettings(Settings):
    """How head importance is measured.

    Attributes:
        model: `frozen` keeps the pretrained encoder and fits a linear head to its mean-pooled
            outputs, which has one solution, needs no training run, and leaves no seed to vary;
            `fine-tuned` trains each task alone before its probe (Ma et al. 2021, and with
            `faithful`).
        importance: rows, columns, gate, or a measure that a plugin adds.
        train_mode: dropout stays on, as in the published code.
        precision: of the forward and backward pass.
        batch_size: instances per batch.
        max_instances: tasks are ranked by a seeded sample of their training instances; None: by
            all. GradTS-fg probes all instances of the auxiliaries that it filters.
        seed: of the sample.
        shuffled_controls: with `frozen`: every candidate is probed this many times with shuffled
            labels, too; these taus are the null that `threshold: auto` compares with.
    """

    model: Annotated[Literal["frozen", "fine-tuned"], _PROBES] = "frozen"
    importance: Annotated[str, _PROBES] = "rows"
    train_mode: Annotated[bool, _PROBES] = False
    precision: Annotated[Precision, _PROBES] = "fp32"
    batch_size: Annotated[int, Field(gt=0, le=100_000), _PROBES] = 32
    max_instances: Annotated[Annotated[int, Field(gt=0, le=10**9)] | None, _PROBES] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**32), _PROBES] = 0
    shuffled_controls: Annotated[int, Field(ge=0, le=1000)] = 0

    @model_validator(mode="after")
    def _controls_need_a_fitted_head(self) -> ProbingSettings:
        if self.shuffled_controls and self.model != "frozen":
            raise ValueError("shuffled_controls needs model: frozen")
        return self
