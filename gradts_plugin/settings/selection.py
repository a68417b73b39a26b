"""The `gradts` block: everything that a selection depends on.

The same keys serve in three places: the `"gradts"` block of jiant's task-container config, a YAML
file given with `--gradts_config`, and the run file of `gradts-select run run.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from gradts_plugin.settings.choice import Choice
from gradts_plugin.settings.old_keys import with_old_keys
from gradts_plugin.settings.parsing import Affects, Settings
from gradts_plugin.settings.probing import ProbingSettings
from gradts_plugin.settings.ranking import RankingSettings
from gradts_plugin.settings.training import DEFAULT_EPOCHS, TrainingSettings

_RUN = Affects(("run",))
_TRAINED = Affects(("run", "probes", "trainings", "computed"))
_FINE_TUNED = Affects(("run", "probes", "computed"))


class GradTSSettings(Settings):
    """The `gradts` block.

    Attributes:
        enabled: false leaves the host exactly as it is; a run file with it is not run.
        primary_task: the task to help.
        candidate_tasks: where auxiliaries are sought; None: every other training task.
        method: selection method: thres, trial, fg, designed, race, top, alone, all, autosem-p1,
            autosem, or one that a plugin adds. With settings of its own:
            `{name: trial, patience: 3}`.
        faithful: reproduce the published selectors, flaws included.
        seeds: fine-tuning seeds per task.
        training_seeds: training seeds of every trial and of the final trainings.
        seed: first seed; everything random derives from it.
        store: folder of the gradient store; None: inside the run's output.
        keep_starts: gibibytes of the store for what auxiliaries' steps leave where they come before
            the primary's: it is the same for every primary, which then costs its own steps alone.
            Three times the encoder's size each; those unused for longest go first. 0: none.
        fine_tuning: training of one task alone before its probe.
        training: multi-task training in trials and the final run.
        probing: how head importance is measured.
        ranking: correlation and intervals.
        seeded_sampler: the host's task order follows the seed.
        seeded_heads: a task's head starts from the seed, whatever other tasks there are.
        reshuffle_epochs: epochs after the first get an order of their own.
        trim_batches: batches are trimmed to their longest row.
        exact_resume: a resumed run goes on with schedule, sampler and data order.
        tensorboard: also write TensorBoard event files into the output folder.
        mlflow: also tell MLflow of the run.
        wandb: also tell Weights & Biases of the run.
    """

    enabled: bool = True
    primary_task: Annotated[str, _RUN] = ""
    candidate_tasks: Annotated[tuple[str, ...] | None, _RUN] = None
    method: Choice = Choice(name="trial")
    faithful: bool = False
    seeds: Annotated[int, Field(gt=0, le=1000), _RUN] = 1
    training_seeds: Annotated[int, Field(gt=0, le=1000)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**31), _TRAINED] = 0
    store: Annotated[Path | None, _RUN] = None
    keep_starts: Annotated[float, Field(ge=0, le=10**6)] = 0.0
    fine_tuning: Annotated[TrainingSettings, _FINE_TUNED] = TrainingSettings(epochs=DEFAULT_EPOCHS)
    training: Annotated[TrainingSettings, Affects(("run", "trainings"))] = TrainingSettings()
    probing: Annotated[ProbingSettings, _RUN] = ProbingSettings()
    ranking: RankingSettings = RankingSettings()
    seeded_sampler: Annotated[bool, _TRAINED] = True
    seeded_heads: Annotated[bool, _TRAINED] = True
    reshuffle_epochs: Annotated[bool, _TRAINED] = True
    trim_batches: Annotated[bool, _TRAINED] = True  # dropout draws others for other lengths
    exact_resume: Annotated[bool, _RUN] = True
    tensorboard: bool = False
    mlflow: bool = False
    wandb: bool = False

    @model_validator(mode="before")
    @classmethod
    def _old_and_published(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        given = with_old_keys(given)
        if given.get("faithful") is True:
            own = given.get("probing", {})
            published = {"model": "fine-tuned", "max_instances": None}
            return {**given, "probing": {**published, **own} if isinstance(own, Mapping) else own}
        return given

    @field_validator("candidate_tasks")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        repeated = sorted({name for name in names or () if (names or ()).count(name) > 1})
        if repeated:
            raise ValueError(f"task {repeated[0]!r} is named twice")
        return names

    @model_validator(mode="after")
    def _published_exposure(self) -> GradTSSettings:
        if self.faithful and self.training.exposure == "equal":
            raise ValueError(
                "training.exposure: equal is not as published; leave it out, or faithful"
            )
        return self

    @model_validator(mode="after")
    def _primary_is_no_candidate(self) -> GradTSSettings:
        if self.candidate_tasks and self.primary_task in self.candidate_tasks:
            raise ValueError(f"the primary task {self.primary_task!r} is its own candidate")
        return self
