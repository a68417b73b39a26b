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

#: AUTOSEM's first stage as the authors of GradTS reproduced it.
PUBLISHED_BANDIT: Mapping[str, int] = {"rounds": 200, "steps_per_round": 10}


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
        precision: bf16 trains under autocast; auto does so where the hardware has bf16, and trains
            in fp32 where it would only be emulated.
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

    model: Literal["frozen", "fine-tuned"] = "frozen"
    importance: str = "rows"
    train_mode: bool = False
    precision: Precision = "fp32"
    batch_size: Annotated[int, Field(gt=0)] = 32
    max_instances: Annotated[int, Field(gt=0)] | None = 1000
    seed: Annotated[int, Field(ge=0)] = 0
    shuffled_controls: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _controls_need_a_fitted_head(self) -> ProbingSettings:
        if self.shuffled_controls and self.model != "frozen":
            raise ValueError("shuffled_controls needs model: frozen")
        return self


class RankingSettings(Settings):
    """How the candidates are ranked, and how taus and their intervals are computed.

    Attributes:
        ranker: heads is GradTS; size, random, embedding, logme and gradients are what it is
            compared with; or one that a plugin adds.
        common: `remove` divides every task's profile by the mean profile of all tasks before
            correlating, because every task on one encoder shares the encoder's own profile;
            `keep` is the published correlation.
        correlation: correlates head importance.
        bootstrap: draws for the intervals.
        confidence: level of the intervals.
        seed: of the draws, and of the sample below.
        max_instances: embedding, logme and gradients look at so many instances of a task (a seeded
            sample); None: all.
    """

    ranker: str = "heads"
    common: Literal["keep", "remove"] = "keep"
    correlation: str = "kendall"
    bootstrap: Annotated[int, Field(ge=100)] = 1000
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: Annotated[int, Field(ge=0)] = 0
    max_instances: Annotated[int, Field(gt=0)] | None = 400


class Quantile(Settings):
    """A threshold given as a quantile of the taus it is applied to."""

    quantile: Annotated[float, Field(ge=0, le=1)]


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
        score_test: also score the primary's labelled test split after each training; it is
            reported, and never used to select.
    """

    training: TrainingSettings = TrainingSettings(epochs=DEFAULT_EPOCHS)
    model: ModelSettings
    tasks: Annotated[tuple[str, ...], Field(min_length=2)]
    data_dir: Path | None = None
    output_dir: Path
    max_train_examples: Annotated[int, Field(gt=0)] | None = None
    score_test: bool = False

    @property
    def scored_tasks(self) -> tuple[str, ...]:
        """The tasks whose dev (and test) sets are scored."""
        return (self.primary_task,)

    @field_validator("training")
    @classmethod
    def _has_a_length(cls, training: TrainingSettings) -> TrainingSettings:
        # There is no container config yet that could say how long to train.
        if training.epochs is None and training.max_steps is None:
            return training.model_copy(update={"epochs": DEFAULT_EPOCHS})
        return training


#: What `gradts-select compare` runs where a compare file names no methods of its own.
DEFAULT_COMPARED_METHODS: Mapping[str, Mapping[str, Any]] = {
    "alone": {"method": "alone"},
    "all": {"method": "all"},
    "random": {"method": "top", "ranking": {"ranker": "random"}},
    "largest": {"method": "top", "ranking": {"ranker": "size"}},
    "embedding": {"method": "top", "ranking": {"ranker": "embedding"}},
    "logme": {"method": "top", "ranking": {"ranker": "logme"}},
    "gradients": {"method": "top", "ranking": {"ranker": "gradients"}},
    "gradts-thres": {"method": "thres"},
    "gradts-checked": {"method": "trial", "trial": {"prefixes": "threshold"}},
    "gradts-trial": {"method": "trial"},
    "gradts-fg": {"method": "fg"},
    "autosem-p1": {"method": "autosem-p1"},
    "autosem": {"method": "autosem"},
}


class CompareFile(RunFile):
    """`gradts-select compare compare.yaml`: a run file for several primaries and methods.

    Attributes:
        primaries: the tasks to help, one after the other; all other tasks are candidates.
        methods: name -> settings that differ from the file's own; `method` at least.
        evaluation_seeds: training seeds, from `seed` on, over which every selection is scored;
            methods choose with the seeds after them.
        oracle: also train the subsets an oracle would look at.
    """

    primaries: Annotated[tuple[str, ...], Field(min_length=1)]
    methods: Annotated[Mapping[str, Mapping[str, Any]], Field(min_length=1)] = (
        DEFAULT_COMPARED_METHODS
    )
    evaluation_seeds: Annotated[int, Field(gt=0)] = 3
    oracle: bool = True

    @model_validator(mode="before")
    @classmethod
    def _no_single_primary(cls, given: Any) -> Any:
        for key, instead in (("primary_task", "primaries"), ("method", "methods")):
            if isinstance(given, Mapping) and key in given:
                raise ValueError(f"a compare file has {instead!r}, not {key!r}")
        return given

    @field_validator("primaries")
    @classmethod
    def _distinct_primaries(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"task {repeated[0]!r} is named twice")
        return names

    @property
    def scored_tasks(self) -> tuple[str, ...]:
        """The primaries."""
        return self.primaries


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
