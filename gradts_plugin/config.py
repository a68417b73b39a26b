"""The settings of a run: the `gradts` block and the run file, read and checked.

The same keys serve in three places: the `"gradts"` block of jiant's task-container config, a YAML
file given with `--gradts_config`, and the run file of `gradts-select run run.yaml` (which adds the
model, the tasks and the output folder).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gradts_plugin.errors import ConfigError, nearest

Precision = Literal["fp32", "bf16"]


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values never change after reading."""

    # JSON, in which settings are stored, has no infinity.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


#: Passes over the data in a run file that does not say how long to train (Ma et al. 2021).
DEFAULT_EPOCHS = 3

#: Default thresholds of the published code for GradTS-thres and GradTS-fg (Ma et al. 2021).
PUBLISHED_THRESHOLD = 0.47
PUBLISHED_INSTANCE_THRESHOLD = 0.62


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
        sampler: `host` is the container's own; `epoch` takes every batch of every task once per
            epoch in random task order (MT-DNN).
        evaluations: how often the primary's dev set is scored; None: once an epoch (at least once).
        precision: bf16 trains under autocast.
    """

    recipe: Literal["jiant", "mt-dnn"] = "jiant"
    epochs: Annotated[float, Field(gt=0)] | None = None
    max_steps: Annotated[int, Field(gt=0)] | None = None
    batch_size: Annotated[int, Field(gt=0)] | None = None
    gradient_accumulation_steps: Annotated[int, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    optimizer: Literal["adamw", "adamax", "radam"] = "adamw"
    warmup_proportion: Annotated[float, Field(ge=0, le=1)] | None = None
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    clip_once_per_step: bool = True
    sampler: Literal["host", "epoch"] = "host"
    evaluations: Annotated[int, Field(gt=0)] | None = None
    precision: Precision = "fp32"

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
MT_DNN_RECIPE: Mapping[str, Any] = {
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


class ProbingSettings(Settings):
    """How head importance is measured."""

    importance: str = "rows"
    train_mode: bool = False
    precision: Precision = "fp32"
    batch_size: Annotated[int, Field(gt=0)] = 32
    max_instances: Annotated[int, Field(gt=0)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0


class RankingSettings(Settings):
    """How taus and their intervals are computed."""

    correlation: str = "kendall"
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0


class Quantile(Settings):
    """A threshold given as a quantile of the taus it is applied to."""

    quantile: Annotated[float, Field(ge=0, le=1)]


class TrialSettings(Settings):
    """How GradTS-trial goes through the ranking."""

    seeds: Annotated[int, Field(gt=0)] = 1
    patience: Annotated[int, Field(ge=0)] = 2
    max_auxiliaries: Annotated[int, Field(gt=0)] | None = None


class FineGrainedSettings(Settings):
    """Which auxiliary instances GradTS-fg keeps."""

    threshold: Annotated[float, Field(ge=-1, le=1)] | Quantile = Quantile(quantile=0.5)


class GradTSSettings(Settings):
    """The `gradts` block.

    Attributes:
        enabled: false leaves the host exactly as it is.
        primary_task: the task to help.
        candidate_tasks: where auxiliaries are sought; None: every other training task.
        method: selection method: thres, trial, fg, or one that a plugin adds.
        faithful: reproduce the published selectors, flaws included.
        seeds: fine-tuning seeds per task.
        seed: first seed; everything random derives from it.
        store: folder of the gradient store; None: inside the run's output.
        fine_tuning: training of one task alone before its probe.
        training: multi-task training in trials and the final run.
        probing: how head importance is measured.
        ranking: correlation and intervals.
        threshold: GradTS-thres: auxiliaries with at least this tau.
        trial: GradTS-trial.
        fine_grained: GradTS-fg.
        seeded_sampler: the host's task order follows the seed.
        reshuffle_epochs: epochs after the first get an order of their own.
        trim_batches: batches are trimmed to their longest row.
        exact_resume: a resumed run goes on with schedule, sampler and data order.
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
    threshold: Annotated[float, Field(ge=-1, le=1)] | Quantile = Quantile(quantile=0.75)
    trial: TrialSettings = TrialSettings()
    fine_grained: FineGrainedSettings = FineGrainedSettings()
    seeded_sampler: bool = True
    reshuffle_epochs: bool = True
    trim_batches: bool = True
    exact_resume: bool = True

    @model_validator(mode="before")
    @classmethod
    def _published_thresholds(cls, given: Any) -> Any:
        # They belong to the published measure; with the true heads a quantile fits better.
        if isinstance(given, Mapping) and given.get("faithful") is True:
            fine_grained = given.get("fine_grained", {})
            if isinstance(fine_grained, Mapping):
                fine_grained = {"threshold": PUBLISHED_INSTANCE_THRESHOLD, **fine_grained}
            return {"threshold": PUBLISHED_THRESHOLD, **given, "fine_grained": fine_grained}
        return given

    @field_validator("candidate_tasks")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        repeated = sorted({name for name in names or () if (names or ()).count(name) > 1})
        if repeated:
            raise ValueError(f"task {repeated[0]!r} is named twice")
        return names

    @model_validator(mode="after")
    def _primary_is_no_candidate(self) -> GradTSSettings:
        if self.candidate_tasks and self.primary_task in self.candidate_tasks:
            raise ValueError(f"the primary task {self.primary_task!r} is its own candidate")
        return self


class ModelSettings(Settings):
    """The encoder of a run file: a hub name or a local folder."""

    name_or_path: str
    max_seq_length: Annotated[int, Field(ge=8, le=8192)] = 128


class RunFile(GradTSSettings):
    """`gradts-select run run.yaml`: the settings, and what jiant has to be prepared with.

    Attributes:
        model: the encoder.
        tasks: shipped task names or paths of task config JSON files.
        data_dir: folder that relative data paths of shipped task configs start from.
        output_dir: everything the run writes.
        max_train_examples: cap on training rows per task (a seeded sample); None: all.
    """

    training: TrainingSettings = TrainingSettings(epochs=DEFAULT_EPOCHS)
    model: ModelSettings
    tasks: Annotated[tuple[str, ...], Field(min_length=2)]
    data_dir: Path | None = None
    output_dir: Path
    max_train_examples: Annotated[int, Field(gt=0)] | None = None

    @field_validator("training")
    @classmethod
    def _has_a_length(cls, training: TrainingSettings) -> TrainingSettings:
        # There is no container config yet that could say how long to train.
        if training.epochs is None and training.max_steps is None:
            return training.model_copy(update={"epochs": DEFAULT_EPOCHS})
        return training


SettingsT = TypeVar("SettingsT", bound=BaseModel)


def parse_settings(model: type[SettingsT], values: Any, *, where: str) -> SettingsT:
    """Checks values against a settings class.

    Args:
        model: the class.
        values: what was read.
        where: file or place, for the message.

    Returns:
        The settings.

    Raises:
        ConfigError: one line with the key, what was found and the nearest valid choice.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected a mapping of settings, found {type(values).__name__}")
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(model, error)}") from error


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    # Unknown keys first: a misspelt key often also shows up as a missing one.
    problems = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    problem = problems[0]
    location = [str(part) for part in problem["loc"]]
    place = ".".join(location)
    if problem["type"] == "extra_forbidden":
        keys = _keys_at(model, location[:-1])
        return f"unknown key {place!r}; {nearest(location[-1], keys)}"
    if problem["type"] == "missing":
        return f"key {place!r} is missing"
    if problem["type"] == "literal_error":
        expected = problem.get("ctx", {}).get("expected", "")
        valid = [word.strip("' ") for word in expected.replace(" or ", ", ").split(",")]
        found = problem["input"]
        return f"{place}: unknown value {found!r}; {nearest(str(found), valid)}"
    message = problem["msg"].removeprefix("Value error, ")
    if not place:
        return message
    found = "" if isinstance(problem["input"], Mapping) else f", found {problem['input']!r}"
    return f"{place}: {message[:1].lower()}{message[1:]}{found}"


def _keys_at(model: type[BaseModel], location: Iterable[str]) -> list[str]:
    """Field names valid at a nested location of a settings class."""
    current: type[BaseModel] = model
    for part in location:
        field = current.model_fields.get(part)
        nested = [
            candidate
            for candidate in _classes_in(field.annotation if field else None)
            if issubclass(candidate, BaseModel)
        ]
        if nested:
            current = nested[0]
    return [info.alias or name for name, info in current.model_fields.items()]


def _classes_in(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [
        found for argument in getattr(annotation, "__args__", ()) for found in _classes_in(argument)
    ]


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ConfigError: the file is missing or broken; says the line.
    """
    try:
        return json.loads(_read_text(path))
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}, line {error.lineno}: broken JSON: {error.msg}") from error


def read_yaml(path: Path) -> Any:
    """Reads a YAML file (safe loading only).

    Raises:
        ConfigError: the file is missing or broken; says the line.
    """
    try:
        return yaml.safe_load(_read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"{path}{line}: broken YAML: {problem}") from error


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder, a file is needed") from error
    except PermissionError as error:
        raise ConfigError(f"{path}: may not be read") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from error
