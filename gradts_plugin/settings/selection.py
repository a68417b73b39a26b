"""The `gradts` block: everything that a selection depends on.

The same keys serve in three places: the `"gradts"` block of jiant's task-container config, a YAML
file given with `--gradts_config`, and the run file of `gradts-select run run.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from gradts_plugin.settings.parsing import Settings
from gradts_plugin.settings.probing import ProbingSettings
from gradts_plugin.settings.ranking import Quantile, RankingSettings
from gradts_plugin.settings.training import DEFAULT_EPOCHS, TrainingSettings

#: Default thresholds of the published code for GradTS-thres and GradTS-fg (Ma et al. 2021).
PUBLISHED_THRESHOLD = 0.47


PUBLISHED_INSTANCE_THRESHOLD = 0.62


#: AUTOSEM's first stage as the authors of GradTS reproduced it.
PUBLISHED_BANDIT: Mapping[str, int] = {"rounds": 200, "steps_per_round": 10}


class TrialSettings(Settings):
    """How GradTS-trial goes through the ranking.

    Attributes:
        seeds: training seeds of every trial.
        confirm: a new best must also win over so many further seeds, which only it and the best
            before it are trained with; not with `faithful`.
        patience: stop after so many trials in a row without a new best.
        max_auxiliaries: the longest prefix of the ranking that is tried; None: all candidates.
        prefixes: `all`: one candidate more at a time; `threshold`: beside the primary alone only
            as many of the best-ranked as GradTS-thres selects, whatever `patience`. Not with
            `faithful`.
    """

    seeds: Annotated[int, Field(gt=0)] = 1
    confirm: Annotated[int, Field(ge=0)] = 1
    patience: Annotated[int, Field(ge=0)] = 2
    max_auxiliaries: Annotated[int, Field(gt=0)] | None = None
    prefixes: Literal["all", "threshold"] = "all"


class FineGrainedSettings(Settings):
    """Which auxiliary instances GradTS-fg keeps."""

    threshold: Annotated[float, Field(ge=-1, le=1)] | Quantile = Quantile(quantile=0.5)


class TopSettings(Settings):
    """How many of the best-ranked candidates are auxiliaries."""

    k: Annotated[int, Field(gt=0)] = 2


class AutosemSettings(Settings):
    """How AUTOSEM selects and mixes (Guo et al. 2019).

    Attributes:
        rounds: decisions of the bandit, each followed by a score of the primary's dev set.
        steps_per_round: optimiser steps between two decisions; with `faithful` also the length
            of a block for each unit of a mixing ratio.
        decay: gamma, how much of what it learned the bandit forgets each round.
        alpha0: prior of every task's Beta posterior.
        beta0: prior of every task's Beta posterior.
        min_utility: auxiliaries are the candidates with at least this utility.
        top_k: so many of the best candidates instead, whatever their utility.
        trials: mixing ratios that are tried, each in a training run of its own.
    """

    rounds: Annotated[int, Field(gt=0)] = 60
    steps_per_round: Annotated[int, Field(gt=0)] = 5
    decay: Annotated[float, Field(ge=0, le=1)] = 0.3
    alpha0: Annotated[float, Field(gt=0)] = 1.0
    beta0: Annotated[float, Field(gt=0)] = 1.0
    min_utility: Annotated[float, Field(ge=0, le=1)] = 0.5
    top_k: Annotated[int, Field(gt=0)] | None = None
    trials: Annotated[int, Field(gt=0)] = 10


class GradTSSettings(Settings):
    """The `gradts` block.

    Attributes:
        enabled: false leaves the host exactly as it is.
        primary_task: the task to help.
        candidate_tasks: where auxiliaries are sought; None: every other training task.
        method: selection method: thres, trial, fg, top, alone, all, autosem-p1, autosem, or one
            that a plugin adds.
        faithful: reproduce the published selectors, flaws included.
        seeds: fine-tuning seeds per task.
        seed: first seed; everything random derives from it.
        store: folder of the gradient store; None: inside the run's output.
        fine_tuning: training of one task alone before its probe.
        training: multi-task training in trials and the final run.
        probing: how head importance is measured.
        ranking: correlation and intervals.
        threshold: GradTS-thres: auxiliaries with at least this tau; `auto`: with more than shuffled
            labels reach (needs `probing.shuffled_controls`).
        trial: GradTS-trial.
        fine_grained: GradTS-fg.
        top: the best-ranked candidates.
        autosem: AUTOSEM.
        seeded_sampler: the host's task order follows the seed.
        reshuffle_epochs: epochs after the first get an order of their own.
        trim_batches: batches are trimmed to their longest row.
        exact_resume: a resumed run goes on with schedule, sampler and data order.
        tensorboard: also write TensorBoard event files into the output folder.
    """

    enabled: bool = True
    primary_task: str = ""
    candidate_tasks: tuple[str, ...] | None = None
    method: str = "trial"
    faithful: bool = False
    seeds: Annotated[int, Field(gt=0)] = 1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    store: Path | None = None
    fine_tuning: TrainingSettings = TrainingSettings(epochs=DEFAULT_EPOCHS)
    training: TrainingSettings = TrainingSettings()
    probing: ProbingSettings = ProbingSettings()
    ranking: RankingSettings = RankingSettings()
    threshold: Annotated[float, Field(ge=-1, le=1)] | Quantile | Literal["auto"] = Quantile(
        quantile=0.75
    )
    trial: TrialSettings = TrialSettings()
    fine_grained: FineGrainedSettings = FineGrainedSettings()
    top: TopSettings = TopSettings()
    autosem: AutosemSettings = AutosemSettings()
    seeded_sampler: bool = True
    reshuffle_epochs: bool = True
    trim_batches: bool = True
    exact_resume: bool = True
    tensorboard: bool = False

    @model_validator(mode="before")
    @classmethod
    def _published_thresholds(cls, given: Any) -> Any:
        # They belong to the published measure; with the true heads a quantile fits better.
        if isinstance(given, Mapping) and given.get("faithful") is True:
            published: dict[str, dict[str, Any]] = {
                "fine_grained": {"threshold": PUBLISHED_INSTANCE_THRESHOLD},
                "probing": {"model": "fine-tuned", "max_instances": None},
                "autosem": {"rounds": 200, "steps_per_round": 10},
            }
            filled = dict(given)
            for key, values in published.items():
                own = given.get(key, {})
                filled[key] = {**values, **own} if isinstance(own, Mapping) else own
            return {"threshold": PUBLISHED_THRESHOLD, **filled}
        return given

    @field_validator("candidate_tasks")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        repeated = sorted({name for name in names or () if (names or ()).count(name) > 1})
        if repeated:
            raise ValueError(f"task {repeated[0]!r} is named twice")
        return names

    @model_validator(mode="after")
    def _auto_needs_controls(self) -> GradTSSettings:
        if self.threshold == "auto" and not self.probing.shuffled_controls:
            raise ValueError("threshold: auto needs probing.shuffled_controls of 1 or more")
        return self

    @model_validator(mode="after")
    def _primary_is_no_candidate(self) -> GradTSSettings:
        if self.candidate_tasks and self.primary_task in self.candidate_tasks:
            raise ValueError(f"the primary task {self.primary_task!r} is its own candidate")
        return self
