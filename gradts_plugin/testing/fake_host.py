"""A host without a framework: scores are what a test says, probes look at a tiny real model."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch

from gradts_plugin.errors import HostError
from gradts_plugin.json_forms import JsonObject, to_json
from gradts_plugin.protocols import HostConfig, Looks, Schedule
from gradts_plugin.records import (
    BatchSize,
    IntArray,
    KeptInstances,
    Recipe,
    Selection,
    TaskInfo,
    TaskShares,
    TrainingPlan,
    TrainingResult,
)
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.stores.files import write_json_atomic
from gradts_plugin.testing.fake_model import FakeModel, FakeTarget, FakeTask, Phase, planted, sample
from gradts_plugin.testing.fake_training import Score, StepListener, additive_score, run_training

#: What a training's weights are called.
WEIGHTS_FILE = "best_model.p"

#: A training really takes so many steps at most, and says that it took all.
_MOST_REAL_STEPS = 3

#: Of a model that is not trained, or not yet.
_NOTHING = TrainingResult(0.0, {}, (), 0, 0, 0.0, None)


def _nobody(*_: object) -> None:
    """Listens to no step; by name, so that a host can go to another process."""


@dataclass
class FakeHost:
    """Implements `records.Host` over planted tasks.

    Attributes:
        planted_tasks: the tasks, in the host's order.
        score: gives every score.
        on_step: told of every step of a training.
        trained: the plan of every `train`, in order.
        fine_tunings: the plan of every `fine_tuned`, in order.
        asked: how often each method was called.
    """

    planted_tasks: Sequence[FakeTask]
    score: Score = additive_score
    on_step: StepListener = _nobody
    trained: list[TrainingPlan] = field(default_factory=list)
    fine_tunings: list[TrainingPlan] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)

    @property
    def encoder_fingerprint(self) -> str:
        """The same for all fake hosts: they start from one encoder."""
        return _sha256("fake encoder")

    @property
    def provenance(self) -> JsonObject:
        """Says that this is no real host."""
        return {"host": "fake", "encoder": "fake", "versions": {}}

    def tasks(self) -> Sequence[TaskInfo]:
        """The planted tasks."""
        self.asked["tasks"] += 1
        return [_info(task) for task in self.planted_tasks]

    def nothing_to_learn(
        self, task_name: str, *, max_instances: int | None, seed: int
    ) -> str | None:
        """The label that all of a planted task's instances were given, if any."""
        del max_instances, seed
        self.asked["nothing_to_learn"] += 1
        (task,) = (each for each in self.planted_tasks if each.name == task_name)
        return "all instances have the same label" if task.one_label else None

    def recipe(
        self,
        settings: TrainingSettings,
        train_tasks: Sequence[str],
        kept_instances: KeptInstances,
    ) -> Recipe:
        """Training settings with every default filled in."""
        self.asked["recipe"] += 1
        size, accumulation = settings.batch_size or 4, settings.gradient_accumulation_steps or 1
        num_train = {task.name: task.num_train for task in self.planted_tasks}
        num_train |= {name: len(ids) for name, ids in kept_instances.items()}
        epoch = sum(math.ceil(num_train[name] / (size * accumulation)) for name in train_tasks)
        said = {
            *("recipe", "epochs", "max_steps", "evaluations"),
            *("batch_size", "gradient_accumulation_steps"),
        }
        return Recipe(
            host="fake",
            host_version=1,
            max_steps=settings.max_steps or max(1, round((settings.epochs or 1) * epoch)),
            evaluations=settings.evaluations or max(1, math.ceil(settings.epochs or 1)),
            batches=dict.fromkeys(train_tasks, BatchSize(size, accumulation)),
            own=settings.model_dump(mode="json", exclude=said),
        )

    @contextmanager
    def fine_tuned(self, plan: TrainingPlan, looks: Looks | None = None) -> Iterator[FakeTarget]:
        """Lends a model that took a few real steps, and lends it after some of them, too."""
        self.asked["fine_tuned"] += 1
        self.fine_tunings.append(plan)
        result = self._run(plan, None)
        yield self._lend(self._trained_model(plan, looks), plan.train_tasks, result)

    @contextmanager
    def untrained(self, task_names: Sequence[str], seed: int) -> Iterator[FakeTarget]:
        """Lends the encoder with fresh heads."""
        self.asked["untrained"] += 1
        model = FakeModel([self._task(name) for name in task_names], seed)
        yield self._lend(model, task_names, _NOTHING)

    def train(
        self, plan: TrainingPlan, output_dir: Path, schedule: Schedule | None = None
    ) -> TrainingResult:
        """Scores a plan and writes its weights: a file that says what was trained."""
        self.asked["train"] += 1
        self.trained.append(plan)
        result = self._run(plan, output_dir, schedule)
        write_json_atomic(
            self.weights_of(output_dir), {"tasks": list(plan.train_tasks), "seed": plan.seed}
        )
        return result

    def weights_of(self, output_dir: Path) -> Path:
        """The file with a training's kept weights."""
        return output_dir / WEIGHTS_FILE

    def rewrite(self, selection: Selection, recipe: Recipe, output_dir: Path) -> HostConfig:
        """A configuration that names what is trained; writes the kept instances."""
        self.asked["rewrite"] += 1
        files = {}
        for name, ids in selection.kept_instances.items():
            files[name] = str(output_dir / "subsets" / f"{name}.json")
            write_json_atomic(Path(files[name]), {"example_ids": np.sort(ids).tolist()})
        return {
            "train_tasks": [selection.primary_task, *selection.auxiliary_tasks],
            "kept_instances": files,
            "recipe": to_json(recipe),
        }

    def training_command(
        self,
        config_path: Path,
        training: TrainingSettings,  # noqa: ARG002  # it stands in the configuration
        *,
        seed: int,
        output_dir: Path,
        shown: Callable[[Path], str] = str,
    ) -> str:
        """A command that nobody can type."""
        return f"fake-train {shown(config_path)} --seed {seed} --output {shown(output_dir)}"

    def task_shares(
        self,
        rewritten: HostConfig | None = None,
        kept_instances: KeptInstances | None = None,  # noqa: ARG002  # tasks take turns
    ) -> TaskShares:
        """Tasks are trained in turn, as often as mixing ratios say."""
        self.asked["task_shares"] += 1
        names = [task.name for task in self.planted_tasks]
        if rewritten is not None:
            names = rewritten["train_tasks"]
        recipe = (rewritten or {}).get("recipe", {})
        ratios = recipe.get("task_steps") or recipe.get("mixing_ratios") or dict.fromkeys(names, 1)
        total = sum(ratios.values())
        return TaskShares("in turn", {name: count / total for name, count in ratios.items()})

    def sampled_ids(self, task_name: str, *, max_instances: int | None, seed: int) -> IntArray:
        """Numbers of the sampled instances."""
        self.asked["sampled_ids"] += 1
        return np.array(sample(self._task(task_name).num_train, max_instances, seed))

    def instance_texts(self, task_name: str, example_ids: Sequence[int]) -> dict[int, str]:
        """Words that are the numbers of the tokens."""
        self.asked["instance_texts"] += 1
        tokens = planted(self._task(task_name), "train").tokens.flatten(1)
        return {
            number: " ".join(f"w{token}" for token in tokens[number].tolist() if token)
            for number in example_ids
        }

    def _task(self, name: str) -> FakeTask:
        for task in self.planted_tasks:
            if task.name == name:
                return task
        raise HostError(f"the fake host has no task {name!r}")

    def _lend(
        self, model: FakeModel, task_names: Sequence[str], result: TrainingResult
    ) -> FakeTarget:
        tasks = {task.name: task for task in self.planted_tasks}
        return FakeTarget(model, model.encoder, result, task_names[0], tasks)

    def _trained_model(self, plan: TrainingPlan, looks: Looks | None) -> FakeModel:
        tasks = [self._task(name) for name in plan.train_tasks]
        model = FakeModel(tasks, plan.seed)
        weights = list(model.parameters())
        num_steps = min(plan.recipe.max_steps, _MOST_REAL_STEPS)
        looked_at = looks.steps(num_steps) if looks else set()
        for step in range(1, num_steps + 1):
            losses = [model.instance_losses(task, planted(task, "train")).mean() for task in tasks]
            # By hand: an optimiser of torch imports its compiler, which takes seconds.
            gradients = torch.autograd.grad(torch.stack(losses).sum(), weights)
            with torch.no_grad():
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.sub_(0.1 * gradient)
            if looks and step in looked_at:
                looks.look(self._lend(model, plan.train_tasks, _NOTHING))
        return model

    def _run(
        self, plan: TrainingPlan, output_dir: Path | None, schedule: Schedule | None = None
    ) -> TrainingResult:
        primary = self._task(plan.primary_task)
        return run_training(
            plan,
            output_dir,
            schedule,
            score=self.score,
            on_step=self.on_step,
            num_dev=primary.num_dev,
            has_test=primary.has_test,
        )


@cache
def _info(task: FakeTask) -> TaskInfo:
    def fingerprint(phase: Phase) -> str:
        instances = planted(task, phase)
        return _sha256(str([instances.tokens.tolist(), instances.labels.tolist()]))

    return TaskInfo(
        name=task.name,
        kind=task.kind,
        num_train=task.num_train,
        num_dev=task.num_dev,
        fingerprint=fingerprint("train"),
        dev_fingerprint=fingerprint("val"),
        test_fingerprint=_sha256(f"{task.name} test") if task.has_test else "",
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
