"""What jiant's task-container config and arguments may hold: all that jiant trips over later."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from gradts_plugin.errors import nearest
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.settings.parsing import Settings

Count = Annotated[int, Field(strict=True, ge=1)]
Weight = Annotated[float, Field(strict=True, ge=0)]
Steps = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[float, Field(strict=True, gt=0)]


class _Tagged(BaseModel):
    """Settings of which one key says which they are; the checks of others do not go with that."""

    model_config = Settings.model_config


class TaskCaches(Settings):
    """Folders of a task's tokenised rows; `test_labels` is the plugin's own."""

    train: str = ""
    val: str = ""
    val_labels: str = ""
    test: str = ""
    test_labels: str = ""


class TaskSizes(Settings):
    """How a task is batched."""

    train_batch_size: Count
    eval_batch_size: Count
    gradient_accumulation_steps: Count
    eval_subset_num: Count | None


class GlobalTrainConfig(Settings):
    """How long is trained."""

    max_steps: Count
    warmup_steps: Steps

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.warmup_steps > self.max_steps:
            raise ValueError(
                f"global_train_config.warmup_steps is {self.warmup_steps}, more than max_steps, "
                f"{self.max_steps}"
            )
        return self


class TaskmodelsConfig(Settings):
    """Which head serves which task."""

    task_to_taskmodel_map: dict[str, str]
    taskmodel_config_map: dict[str, JsonObject | None] | None = None


class TaskRunConfig(Settings):
    """Which tasks are trained, scored while training, scored in the end, predicted."""

    train_task_list: Annotated[list[str], Field(min_length=1)]
    train_val_task_list: list[str]
    val_task_list: list[str]
    test_task_list: list[str]


class UniformSampler(_Tagged):
    """Every task alike."""

    sampler_type: Literal["UniformMultiTaskSampler"]


class ProportionalSampler(_Tagged):
    """Every task by its size."""

    sampler_type: Literal["ProportionalMultiTaskSampler"]


class SpecifiedProbSampler(_Tagged):
    """Every task by a weight."""

    sampler_type: Literal["SpecifiedProbMultiTaskSampler"]
    task_to_unweighted_probs: dict[str, Weight]


class TemperatureSampler(_Tagged):
    """Every task by a root of its size."""

    sampler_type: Literal["TemperatureMultiTaskSampler"]
    temperature: Positive
    examples_cap: Count | None


class TimeDependentProbSampler(_Tagged):
    """Every task by a formula of the step `t`."""

    sampler_type: Literal["TimeDependentProbMultiTaskSampler"]
    task_to_unnormalized_prob_funcs_dict: dict[str, str]
    max_steps: Count | None


Sampler = Annotated[
    UniformSampler
    | ProportionalSampler
    | SpecifiedProbSampler
    | TemperatureSampler
    | TimeDependentProbSampler,
    Field(discriminator="sampler_type"),
]


class EqualAggregator(_Tagged):
    """The mean of the tasks' metrics."""

    metric_aggregator_type: Literal["EqualMetricAggregator"]


class WeightedAggregator(_Tagged):
    """Their weighted mean."""

    metric_aggregator_type: Literal["WeightedMetricAggregator"]
    weights_dict: dict[str, Weight]


class Container(Settings):
    """jiant's task-container config.

    Attributes:
        gradts: the plugin's own block, which is checked as settings.
    """

    task_config_path_dict: dict[str, str]
    task_cache_config_dict: dict[str, TaskCaches]
    sampler_config: Sampler
    global_train_config: GlobalTrainConfig
    task_specific_configs_dict: dict[str, TaskSizes]
    taskmodels_config: TaskmodelsConfig
    task_run_config: TaskRunConfig
    metric_aggregator_config: Annotated[
        EqualAggregator | WeightedAggregator, Field(discriminator="metric_aggregator_type")
    ]
    gradts: JsonObject = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        names = list(self.task_config_path_dict)
        for key in ("task_cache_config_dict", "task_specific_configs_dict"):
            _require_entries(key, getattr(self, key), names)
            _require_known(key, getattr(self, key), names)
        heads = self.taskmodels_config.task_to_taskmodel_map
        _require_known("task_to_taskmodel_map", heads, names)
        for key, listed in self.task_run_config:
            _require_known(key, listed, names)
            _require_entries("task_to_taskmodel_map", heads, listed)
            twice = [name for name in listed if listed.count(name) > 1]
            if twice:
                raise ValueError(f"{key} names task {twice[0]!r} twice")
        for name, path in self.task_config_path_dict.items():
            if not Path(path).is_file():
                raise ValueError(f"task {name!r}: {path}: no such file")
        return self

    @model_validator(mode="after")
    def _scored_tasks_have_caches(self) -> Self:
        run = self.task_run_config
        for key, listed in (("train_val", run.train_val_task_list), ("val", run.val_task_list)):
            for name in listed:
                for phase in ("val", "val_labels"):
                    if not getattr(self.task_cache_config_dict[name], phase):
                        raise ValueError(f"{key}_task_list: task {name!r} has no {phase} cache")
        return self

    @model_validator(mode="after")
    def _sampler_serves_the_training(self) -> Self:
        sampler, trained = self.sampler_config, self.task_run_config.train_task_list
        if isinstance(sampler, SpecifiedProbSampler):
            key = "task_to_unweighted_probs"
            _require_entries(key, sampler.task_to_unweighted_probs, trained)
            _require_known(key, sampler.task_to_unweighted_probs, self.task_config_path_dict)
            # Each is also trained alone.
            for name in trained:
                if not sampler.task_to_unweighted_probs[name]:
                    raise ValueError(f"{key}.{name} is 0: the task would never be trained")
        if isinstance(sampler, TimeDependentProbSampler):
            key = "task_to_unnormalized_prob_funcs_dict"
            _require_entries(key, sampler.task_to_unnormalized_prob_funcs_dict, trained)
            steps = self.global_train_config.max_steps
            if sampler.max_steps is not None and sampler.max_steps < steps:
                raise ValueError(
                    f"sampler_config.max_steps is {sampler.max_steps}, fewer than the {steps} "
                    "steps of global_train_config"
                )
        return self

    @model_validator(mode="after")
    def _scores_have_weights(self) -> Self:
        aggregator, run = self.metric_aggregator_config, self.task_run_config
        if isinstance(aggregator, WeightedAggregator):
            listed = [*run.train_val_task_list, *run.val_task_list]
            _require_entries("weights_dict", aggregator.weights_dict, listed)
            _require_known("weights_dict", aggregator.weights_dict, self.task_config_path_dict)
            if not sum(aggregator.weights_dict.values()):
                raise ValueError("metric_aggregator_config.weights_dict: all weights are 0")
        return self


def _require_entries(key: str, entries: Iterable[str], names: Iterable[str]) -> None:
    given = set(entries)
    for name in names:
        if name not in given:
            raise ValueError(f"{key} has no entry for task {name!r}; {nearest(name, given)}")


def _require_known(key: str, entries: Iterable[str], names: Iterable[str]) -> None:
    known = set(names)
    for name in entries:
        if name not in known:
            raise ValueError(f"{key} names unknown task {name!r}; {nearest(name, known)}")


class ModelArguments(Settings):
    """jiant's arguments that every command on a set-up takes (see `HostArguments`)."""

    hf_pretrained_model_name_or_path: Annotated[str, Field(min_length=1)]
    model_path: str
    model_config_path: str | None
    model_load_mode: Literal[
        "from_transformers",
        "from_transformers_with_mlm",
        "all",
        "encoder_only",
        "partial_weights",
        "partial_heads",
        "partial",
    ]
    learning_rate: Positive
    max_grad_norm: Positive
    no_cuda: bool


class RunArguments(ModelArguments):
    """What jiant's run script takes beside, as far as it has to fit."""

    do_val: bool
    write_val_preds: bool
    write_test_preds: bool
    eval_every_steps: Steps
    save_every_steps: Steps
    save_checkpoint_every_steps: Steps
    no_improvements_for_n_evals: Steps
    seed: Annotated[int, Field(ge=-1, lt=2**32)]
    adam_epsilon: Positive
    optimizer_type: Literal["adam", "radam"]
    fp16: bool
    local_rank: int

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        if self.write_val_preds and not self.do_val:
            raise ValueError("--write_val_preds needs --do_val")
        if self.fp16:
            raise ValueError("--fp16 is not offered; training.precision: bf16 is")
        if self.local_rank != -1:
            raise ValueError(
                f"--local_rank is {self.local_rank}: distributed training is not offered"
            )
        return self
