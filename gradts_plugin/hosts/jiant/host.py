"""jiant as a host: tasks, training, probing batches, rewritten configs."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib.metadata
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.caches import open_cache
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.container import (
    ContainerConfig,
    check_container_config,
    steps_sampler,
)
from gradts_plugin.hosts.jiant.encoder import check_encoder, fingerprint_encoder
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches
from gradts_plugin.hosts.jiant.launch import training_command
from gradts_plugin.hosts.jiant.lending import LentModel, sampled_ids, shared_by_all
from gradts_plugin.hosts.jiant.original_config import original_parts
from gradts_plugin.hosts.jiant.pretrained import read_config
from gradts_plugin.hosts.jiant.quiet import silenced
from gradts_plugin.hosts.jiant.reading import describe_task, read_texts
from gradts_plugin.hosts.jiant.rewriting import with_filtered_caches
from gradts_plugin.hosts.jiant.shares import shares_of
from gradts_plugin.hosts.jiant.training.recipe import global_train_config, resolve_recipe
from gradts_plugin.hosts.jiant.training.starts import FirstPart, Starts, start_digest
from gradts_plugin.hosts.jiant.training.train import WEIGHTS_FILE, TrainedRun, set_up, train
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.protocols import Looks, ProbeTarget, Schedule
from gradts_plugin.records import (
    IntArray,
    KeptInstances,
    Recipe,
    Selection,
    TaskInfo,
    TaskShares,
    TrainingPlan,
    TrainingResult,
    TrainStep,
)
from gradts_plugin.settings.training import TrainingSettings

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.components import container_setup
from jiant.utils import torch_utils

StepListener = Callable[[TrainingPlan, TrainStep], None]


class JiantHost:
    """jiant 2.2.0, started from a task-container config and jiant's own arguments."""

    def __init__(
        self,
        container_config: ContainerConfig,
        arguments: HostArguments,
        *,
        switches: FaultSwitches,
        further_tasks: Collection[str] = (),
        work_dir: Path,
        on_step: StepListener,
        rewrite_config: Callable[[ContainerConfig, Selection, Path], ContainerConfig],
        log_file: Path | None = None,
        starts: Starts | None = None,
    ) -> None:
        check_container_config(container_config)
        self._config = copy.deepcopy(container_config)
        self._arguments = arguments
        self._work_dir = work_dir
        self._on_step = on_step
        self._rewrite_config = rewrite_config
        self._log_file = log_file
        self._starts = starts
        self._streams = sys.stdout, sys.stderr
        self._switches = switches
        encoder = check_encoder(arguments.hf_pretrained_model_name_or_path)
        self._model_type = read_config(encoder).model_type
        for name in ("model_path", "model_config_path"):
            path = getattr(arguments, name)
            if path is not None and not Path(path).is_file():
                raise HostError(f"{name} {path}: no such file")
        with silenced(None):  # nothing is written before all is checked
            self._tasks = container_setup.create_task_dict(
                self._config["task_config_path_dict"], verbose=False
            )
        # Tasks that the container only evaluates need no training cache.
        used = {*self._config["task_run_config"]["train_task_list"], *further_tasks}
        caches = self._config["task_cache_config_dict"]
        self._infos = tuple(
            describe_task(task, caches.get(name, {}), trimmed=switches.trim_batches)
            for name, task in self._tasks.items()
            if name in used
        )
        self._encoder_fingerprint: str | None = None

    @property
    def container_config(self) -> ContainerConfig:
        """jiant's task-container config that this host was made from."""
        return self._config

    @property
    def arguments(self) -> HostArguments:
        """jiant's arguments that this host was made from."""
        return self._arguments

    # --- records.Host ---------------------------------------------------------------------------

    @property
    def encoder_fingerprint(self) -> str:
        """sha256 over the architecture and the weights that a run starts from."""
        if self._encoder_fingerprint is None:
            with self._quiet():
                self._encoder_fingerprint = fingerprint_encoder(self._arguments)
        return self._encoder_fingerprint

    @property
    def provenance(self) -> JsonObject:
        """Versions and the encoder's name."""
        return {
            "host": "jiant",
            "encoder": self._arguments.hf_pretrained_model_name_or_path,
            "encoder_architecture": self._model_type,
            "versions": {
                name: importlib.metadata.version(name)
                for name in ("gradts-plugin", "jiant", "torch", "transformers", "numpy")
            },
        }

    def tasks(self) -> Sequence[TaskInfo]:
        """Training tasks of the container config, and what the settings name, in its order."""
        return self._infos

    def nothing_to_learn(
        self, task_name: str, *, max_instances: int | None, seed: int
    ) -> str | None:
        """What all instances of a task have in common, by its cached rows."""
        folder = self._config["task_cache_config_dict"][task_name]["train"]
        return shared_by_all(self._tasks[task_name], folder, max_instances, seed)

    def recipe(
        self,
        settings: TrainingSettings,
        train_tasks: Sequence[str],
        kept_instances: KeptInstances,
    ) -> Recipe:
        """The complete training settings of a run over these tasks."""
        num_train = {info.name: info.num_train for info in self._infos}
        num_train |= {name: len(ids) for name, ids in kept_instances.items()}
        return resolve_recipe(settings, self._config, self._arguments, train_tasks, num_train)

    @contextlib.contextmanager
    def fine_tuned(self, plan: TrainingPlan, looks: Looks | None = None) -> Iterator[ProbeTarget]:
        """Trains tasks and lends the trained model, and while it is trained where that is asked."""
        looked_at = looks.steps(plan.recipe.max_steps) if looks else set()

        def after_step(run: TrainedRun, step: int) -> None:
            if looks and step in looked_at:
                looks.look(self._lend(run))

        run = self._train(plan, self._config, output_dir=None, after_step=after_step)
        try:
            yield self._lend(run)
        finally:
            del run
            gc.collect()  # jiant's models and runners refer to each other

    @contextlib.contextmanager
    def untrained(self, task_names: Sequence[str], seed: int) -> Iterator[ProbeTarget]:
        """Lends the pretrained encoder with fresh heads."""
        recipe = self.recipe(TrainingSettings(max_steps=1), task_names, {})
        with self._quiet():
            run = set_up(
                self._config,
                recipe,
                self._arguments,
                train_tasks=task_names,
                seed=seed,
                switches=self._switches,
            )
        try:
            yield self._lend(run)
        finally:
            del run
            gc.collect()  # jiant's models and runners refer to each other

    def _lend(self, run: TrainedRun) -> LentModel:
        model = torch_utils.get_model_for_saving(run.runner.jiant_model)
        return LentModel(
            model=model,
            encoder=model.encoder,
            result=run.result,
            _own_task=run.runner.jiant_task_container.task_run_config.train_task_list[0],
            _tasks=self._tasks,
            _caches=self._config["task_cache_config_dict"],
            _device=run.runner.device,
        )

    def train(
        self, plan: TrainingPlan, output_dir: Path, schedule: Schedule | None = None
    ) -> TrainingResult:
        """Runs a plan from the pretrained weights; writes the kept ones to output_dir."""
        config = self._config
        if plan.kept_instances:
            config = self.subset(config, plan.kept_instances)
        result = self._train(plan, config, output_dir=output_dir, schedule=schedule).result
        gc.collect()  # jiant's models and runners refer to each other
        return result

    def weights_of(self, output_dir: Path) -> Path:
        """jiant's file of a training's kept weights."""
        return output_dir / WEIGHTS_FILE

    def rewrite(self, selection: Selection, recipe: Recipe, output_dir: Path) -> ContainerConfig:
        """The container config that trains exactly the selection.

        It records under `gradts.selection.original` what was changed, so that selecting on it
        again starts from the original.
        """
        rewritten = self._rewrite_config(self._config, selection, output_dir)
        rewritten["global_train_config"] = global_train_config(recipe)
        if recipe.task_steps:
            rewritten["sampler_config"] = steps_sampler(recipe.task_steps, recipe.last_task)
        for name, sizes in recipe.batches.items():
            rewritten["task_specific_configs_dict"][name].update(vars(sizes))
        original = original_parts(self._config, tuple(selection.kept_instances))
        rewritten["gradts"] = {"selection": {"original": original}}
        return rewritten

    def task_shares(
        self,
        rewritten: ContainerConfig | None = None,
        kept_instances: KeptInstances | None = None,
    ) -> TaskShares | None:
        """The expected shares of a container config's sampler."""
        sizes = {info.name: info.num_train for info in self._infos}
        sizes |= {name: len(ids) for name, ids in (kept_instances or {}).items()}
        return shares_of(rewritten or self._config, sizes)

    def training_command(
        self,
        config_path: Path,
        training: TrainingSettings,
        *,
        seed: int,
        output_dir: Path,
        shown: Callable[[Path], str] = str,
    ) -> str:
        """jiant's run script through the plugin, with the arguments it was opened with."""
        return training_command(
            Path(shown(config_path)),
            self._arguments.with_paths(shown),
            training,
            seed=seed,
            output_dir=Path(shown(output_dir)),
        )

    def sampled_ids(self, task_name: str, *, max_instances: int | None, seed: int) -> IntArray:
        """Example ids of the sampled rows of the training cache."""
        folder = self._config["task_cache_config_dict"][task_name]["train"]
        return sampled_ids(task_name, folder, max_instances, seed)

    def instance_texts(self, task_name: str, example_ids: Sequence[int]) -> dict[int, str]:
        """Decodes rows of the training cache; a bar sets texts of a pair, or choices, apart."""
        folder = self._config["task_cache_config_dict"][task_name]["train"]
        encoder = self._arguments.hf_pretrained_model_name_or_path
        return read_texts(open_cache(task_name, "train", folder), example_ids, encoder)

    # --- jiant's side -----------------------------------------------------------------------------

    def subset(self, config: ContainerConfig, kept: KeptInstances) -> ContainerConfig:
        """A config whose training caches of some tasks hold only the kept instances."""
        return with_filtered_caches(config, kept, self._work_dir / "subsets")

    def _train(
        self,
        plan: TrainingPlan,
        config: ContainerConfig,
        output_dir: Path | None,
        schedule: Schedule | None = None,
        after_step: Callable[[TrainedRun, int], None] = lambda *_: None,
    ) -> TrainedRun:
        with self._quiet():
            return train(
                config,
                plan,
                self._arguments,
                switches=self._switches,
                observe=lambda step: self._tell(plan, step),
                output_dir=output_dir,
                schedule=schedule,
                after_step=after_step,
                first_part_of=lambda runner: self._first_part(plan, runner),
            )

    def _first_part(self, plan: TrainingPlan, runner: Any) -> FirstPart | None:
        if self._starts is None:
            return None
        digest = start_digest(
            plan,
            self._switches,
            encoder=self.encoder_fingerprint,
            task_data={info.name: info.fingerprint for info in self._infos},
            device=runner.device.type,
        )
        return None if digest is None else FirstPart(runner, plan, self._starts, digest)

    def _tell(self, plan: TrainingPlan, step: TrainStep) -> None:
        """Tells of a step; what listeners print is no noise of jiant's."""
        out, err = self._streams
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self._on_step(plan, step)

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Silences jiant; `_tell` still reaches the streams of before."""
        self._streams = sys.stdout, sys.stderr
        with silenced(self._log_file):
            yield
