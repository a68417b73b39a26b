"""jiant as the pipeline's host: tasks, training, probing batches, rewritten configs."""

from __future__ import annotations

import contextlib
import copy
import gc
import hashlib
import importlib.metadata
import io
import logging
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from gradts_plugin.errors import ConfigError, DataError, GradTSError, HostError, nearest
from gradts_plugin.hosts.jiant import faults
from gradts_plugin.hosts.jiant.compat import apply_mends, require_supported_encoder
from gradts_plugin.protocols import ProbeTarget, Schedule
from gradts_plugin.records import (
    IntArray,
    KeptInstances,
    ProbeBatch,
    Selection,
    TaskInfo,
    TrainingPlan,
    TrainingResult,
    TrainStep,
)
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.settings.training import TrainingSettings
from gradts_plugin.stores.files import disk_errors, write_json_atomic

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main.components import container_setup
from jiant.proj.main.modeling import model_setup as jiant_model_setup
from jiant.shared import caching
from jiant.utils import torch_utils
from transformers import AutoConfig, AutoModel, AutoTokenizer

from gradts_plugin.hosts.jiant.losses import hidden_states, instance_losses, labels_of
from gradts_plugin.hosts.jiant.training import (
    FaultSwitches,
    HostArguments,
    TrainedRun,
    resolve_recipe,
    restrict_sampler_config,
    set_up,
    specified_sampler,
    train,
)

#: Top-level keys that jiant's task-container config must have.
CONTAINER_KEYS = (
    "task_config_path_dict",
    "task_cache_config_dict",
    "sampler_config",
    "global_train_config",
    "task_specific_configs_dict",
    "taskmodels_config",
    "task_run_config",
    "metric_aggregator_config",
)

#: What this plugin reads below some of them.
_NEEDED_BELOW: Mapping[str, tuple[str, ...]] = {
    "sampler_config": ("sampler_type",),
    "global_train_config": ("max_steps", "warmup_steps"),
    "taskmodels_config": ("task_to_taskmodel_map",),
    "task_run_config": ("train_task_list",),
}

StepListener = Callable[[TrainingPlan, TrainStep], None]


@dataclass
class _Lent:
    """A jiant model and the tasks' cached instances (see `records.ProbeTarget`)."""

    model: nn.Module
    encoder: nn.Module
    result: TrainingResult
    _own_task: str
    _tasks: Mapping[str, Any]
    _caches: Mapping[str, Mapping[str, str]]
    _device: Any

    def batches(
        self,
        *,
        batch_size: int,
        max_instances: int | None,
        seed: int,
        task_name: str | None = None,
        phase: Literal["train", "val"] = "train",
    ) -> Iterator[ProbeBatch]:
        """Yields a task's instances chunk by chunk, sorted by length within a chunk."""
        name = task_name or self._own_task
        cache = open_cache(name, phase, self._caches[name][phase])
        wanted = sample_indices(len(cache), max_instances, seed, name)
        for chunk_index in range(cache.num_chunks):
            first = chunk_index * cache.chunk_size
            inside = wanted[(wanted >= first) & (wanted < first + cache.chunk_size)] - first
            if not len(inside):
                continue
            chunk = cache.load_chunk(chunk_index)
            rows = sorted((chunk[index] for index in inside), key=_row_length)
            del chunk
            for start in range(0, len(rows), batch_size):
                yield self._batch(self._tasks[name], rows[start : start + batch_size])

    def _batch(self, task: Any, rows: list[dict[str, Any]]) -> ProbeBatch:
        batch, metadata = task.collate_fn(rows)
        batch = faults.trim_batch(batch).to(self._device)
        return ProbeBatch(
            example_ids=np.asarray(metadata["example_id"], dtype=np.int64),
            instance_losses=lambda: instance_losses(self.model, batch, task),
            attention_mask=batch.input_mask.bool(),
            hidden_states=lambda: hidden_states(self.model, batch),
            labels=labels_of(batch),
        )


def sample_indices(num_rows: int, max_instances: int | None, seed: int, task_name: str) -> IntArray:
    """Row numbers to probe, ascending: all, or a sample that depends on the seed and the task."""
    if max_instances is None or max_instances >= num_rows:
        return np.arange(num_rows)
    generator = np.random.default_rng([seed, zlib.crc32(task_name.encode())])
    return np.sort(generator.choice(num_rows, size=max_instances, replace=False))


def _row_length(row: Mapping[str, Any]) -> int:
    mask = getattr(row["data_row"], "input_mask", None)
    # Multiple choice rows hold one mask per choice; the longest decides.
    return 0 if mask is None else int(np.asarray(mask).sum(axis=-1).max())


class JiantHost:
    """jiant 2.2.0, started from a task-container config and jiant's own arguments."""

    def __init__(
        self,
        container_config: Mapping[str, Any],
        arguments: HostArguments,
        settings: GradTSSettings,
        *,
        work_dir: Path,
        on_step: StepListener,
        rewrite_config: Callable[[Mapping[str, Any], Selection, Path], dict[str, Any]],
        log_file: Path | None = None,
    ) -> None:
        check_container_config(container_config)
        self._config = copy.deepcopy(dict(container_config))
        self._arguments = arguments
        self._settings = settings
        self._work_dir = work_dir
        self._on_step = on_step
        self._rewrite_config = rewrite_config
        self._log_file = log_file
        self._streams = sys.stdout, sys.stderr
        self._switches = FaultSwitches(
            seeded_sampler=settings.seeded_sampler,
            reshuffle_epochs=settings.reshuffle_epochs,
            trim_batches=settings.trim_batches,
            exact_resume=settings.exact_resume,
        )
        self._model_type = read_model_type(arguments.hf_pretrained_model_name_or_path)
        require_supported_encoder(self._model_type)
        require_tokenizer(arguments.hf_pretrained_model_name_or_path)
        if not Path(arguments.model_path).is_file():
            raise HostError(f"model_path {arguments.model_path}: no such file")
        with self._quiet():
            self._tasks = container_setup.create_task_dict(
                self._config["task_config_path_dict"], verbose=False
            )
        # Tasks that the container only evaluates need no training cache.
        used = {
            *self._config["task_run_config"]["train_task_list"],
            settings.primary_task,
            *(settings.candidate_tasks or ()),
        }
        self._infos = tuple(self._describe(name) for name in self._tasks if name in used)
        self._encoder_fingerprint: str | None = None

    @property
    def container_config(self) -> Mapping[str, Any]:
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
    def provenance(self) -> Mapping[str, Any]:
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

    def recipe(
        self,
        settings: TrainingSettings,
        train_tasks: Sequence[str],
        kept_instances: KeptInstances,
    ) -> dict[str, Any]:
        """The complete training settings of a run over these tasks."""
        num_train = {info.name: info.num_train for info in self._infos}
        num_train |= {name: len(ids) for name, ids in kept_instances.items()}
        recipe = resolve_recipe(settings, self._config, self._arguments, train_tasks, num_train)
        heads = self._config["taskmodels_config"]
        shared = {name: heads["task_to_taskmodel_map"][name] for name in train_tasks}
        options = heads.get("taskmodel_config_map") or {}
        used = {name: options[name] for name in shared.values() if options.get(name)}
        if used or len(set(shared.values())) < len(shared):
            recipe["heads"] = {"task_to_taskmodel_map": shared, "taskmodel_config_map": used}
        return recipe

    @contextlib.contextmanager
    def fine_tuned(self, plan: TrainingPlan) -> Iterator[ProbeTarget]:
        """Trains one task alone and lends the trained model."""
        run = self._train(plan, self._config, output_dir=None)
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

    def _lend(self, run: TrainedRun) -> _Lent:
        model = torch_utils.get_model_for_saving(run.runner.jiant_model)
        return _Lent(
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
        """Runs a plan from the pretrained weights; writes best_model.p to output_dir."""
        config = self._config
        if plan.kept_instances:
            config = self.subset(config, plan.kept_instances)
        result = self._train(plan, config, output_dir=output_dir, schedule=schedule).result
        gc.collect()  # jiant's models and runners refer to each other
        return result

    def rewrite(self, selection: Selection, output_dir: Path) -> dict[str, Any]:
        """The container config that trains exactly the selection.

        It records under `gradts.selection.original` what was changed, so that selecting on it
        again starts from the original.
        """
        rewritten = self._rewrite_config(self._config, selection, output_dir)
        if self._settings.training.epochs or self._settings.training.max_steps:
            tasks = (selection.primary_task, *selection.auxiliary_tasks)
            recipe = self.recipe(self._settings.training, tasks, selection.kept_instances)
            rewritten["global_train_config"] = {
                "max_steps": recipe["max_steps"],
                "warmup_steps": recipe["warmup_steps"],
            }
        original = {
            "task_run_config": self._config["task_run_config"],
            "sampler_config": self._config["sampler_config"],
            "global_train_config": self._config["global_train_config"],
            "train_caches": {
                name: self._config["task_cache_config_dict"][name]["train"]
                for name in selection.kept_instances
            },
        }
        rewritten["gradts"] = {"selection": {"original": original}}
        return rewritten

    def instance_texts(self, task_name: str, example_ids: Sequence[int]) -> dict[int, str]:
        """Decodes rows of the training cache; a bar sets texts of a pair, or choices, apart."""
        wanted = set(example_ids)
        texts: dict[int, str] = {}
        tokenizer = AutoTokenizer.from_pretrained(self._arguments.hf_pretrained_model_name_or_path)
        folder = self._config["task_cache_config_dict"][task_name]["train"]
        for row in open_cache(task_name, "train", folder).iter_all():
            if len(texts) == len(wanted):
                break
            example_id = int(row["metadata"]["example_id"])
            if example_id in wanted:
                texts[example_id] = _decode(tokenizer, row["data_row"].input_ids)
        return texts

    # --- jiant's side -----------------------------------------------------------------------------

    def subset(self, config: Mapping[str, Any], kept: KeptInstances) -> dict[str, Any]:
        """A config whose training caches of some tasks hold only the kept instances."""
        return with_filtered_caches(config, kept, self._work_dir / "subsets")

    def _train(
        self,
        plan: TrainingPlan,
        config: Mapping[str, Any],
        output_dir: Path | None,
        schedule: Schedule | None = None,
    ) -> TrainedRun:
        with self._quiet():
            return train(
                config,
                plan.recipe,
                self._arguments,
                purpose=plan.purpose,
                train_tasks=plan.train_tasks,
                primary_task=plan.primary_task,
                seed=plan.seed,
                switches=self._switches,
                observe=lambda step: self._tell(plan, step),
                output_dir=output_dir,
                schedule=schedule,
            )

    def _tell(self, plan: TrainingPlan, step: TrainStep) -> None:
        """Tells of a step; what listeners print is no noise of jiant's."""
        out, err = self._streams
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self._on_step(plan, step)

    def _describe(self, name: str) -> TaskInfo:
        caches = self._config["task_cache_config_dict"].get(name, {})
        for phase in ("train", "val", "val_labels"):
            if phase not in caches:
                raise DataError(
                    f"task {name!r} has no {phase} cache in task_cache_config_dict; "
                    f"tokenise its {phase.removesuffix('_labels')} split first"
                )
        train_cache = open_cache(name, "train", caches["train"])
        if not len(train_cache):
            raise DataError(f"task {name!r}: the train split is empty")
        return TaskInfo(
            name=name,
            kind=self._tasks[name].TASK_TYPE.value,
            num_train=len(train_cache),
            num_dev=len(open_cache(name, "val", caches["val"])),
            fingerprint=_hash_cache(caches["train"]),
            dev_fingerprint=_hash_text(
                _hash_cache(caches["val"], caches["val_labels"]), _metric_of(self._tasks[name])
            ),
            test_fingerprint=(
                _hash_cache(caches["test"], caches["test_labels"])
                if "test_labels" in caches
                else ""
            ),
        )

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        """Sends what jiant prints and warns of to the log file."""
        with contextlib.ExitStack() as stack:
            if self._log_file is not None:
                with disk_errors("write", self._log_file):
                    self._log_file.parent.mkdir(parents=True, exist_ok=True)
                stream: Any = stack.enter_context(self._log_file.open("a", encoding="utf-8"))
            else:
                stream = io.StringIO()
            self._streams = sys.stdout, sys.stderr
            stack.enter_context(contextlib.redirect_stdout(stream))
            stack.enter_context(contextlib.redirect_stderr(stream))
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            stack.callback(silence_transformers())
            yield


def silence_transformers() -> Callable[[], None]:
    """Keeps transformers' loading notes off the terminal; returns what restores it."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def restore() -> None:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]

    return restore


def fingerprint_encoder(arguments: HostArguments) -> str:
    """sha256 (hex) of the encoder that jiant starts from.

    The encoder is loaded as jiant loads it: the exported file also holds heads that the checkpoint
    lacked and that were made at random, so the file's own hash says nothing.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)  # a pooler that the checkpoint lacks is made at random, too
        encoder = AutoModel.from_pretrained(arguments.hf_pretrained_model_name_or_path)
    try:
        weights = torch.load(arguments.model_path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        first_sentence = str(error).split(". ", maxsplit=1)[0]
        raise HostError(f"{arguments.model_path} holds no weights: {first_sentence}") from error
    digest = hashlib.sha256(arguments.model_load_mode.encode())
    digest.update(type(encoder).__name__.encode())
    if arguments.model_load_mode.startswith("from_transformers"):
        jiant_model_setup.load_encoder_from_transformers_weights(encoder, weights)
        weights = encoder.state_dict()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().float().numpy().tobytes())
    return digest.hexdigest()


#: A tokenizer lies in a model folder under one of these names.
TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
)


def require_tokenizer(name_or_path: str) -> None:
    """Refuses a local encoder folder without a tokenizer; transformers would make an empty one.

    Raises:
        HostError: there is none.
    """
    folder = Path(name_or_path)
    if folder.is_dir() and not any((folder / file).exists() for file in TOKENIZER_FILES):
        raise HostError(
            f"encoder folder {name_or_path} has no tokenizer; "
            "save it there with tokenizer.save_pretrained"
        )


def read_model_type(name_or_path: str) -> str:
    """The architecture of a hub name or local folder.

    Raises:
        HostError: it cannot be read.
    """
    folder = Path(name_or_path)
    if (folder.is_absolute() or name_or_path.startswith(".")) and not folder.is_dir():
        raise HostError(f"encoder folder {name_or_path}: no such folder")
    try:
        return str(AutoConfig.from_pretrained(name_or_path).model_type)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise HostError(f"encoder {name_or_path!r} cannot be read: {first_line}") from error


def check_container_config(config: Mapping[str, Any], where: str = "task-container config") -> None:
    """Checks what jiant itself would only trip over later.

    Raises:
        ConfigError: a key or a task's entry is missing.
    """
    _check_keys(config, where)
    names = list(config["task_config_path_dict"])
    for key in ("task_cache_config_dict", "task_specific_configs_dict"):
        for name in names:
            if name not in config[key]:
                raise ConfigError(f"{where}: {key} has no entry for task {name!r}")
            if not isinstance(config[key][name], Mapping):
                raise ConfigError(f"{where}: {key}.{name}: a JSON object is needed")
    train_tasks = config["task_run_config"]["train_task_list"]
    for name in train_tasks:
        if train_tasks.count(name) > 1:
            raise ConfigError(f"{where}: train_task_list names task {name!r} twice")
        if name not in names:
            raise ConfigError(
                f"{where}: train_task_list names unknown task {name!r}; {nearest(name, names)}"
            )
        if name not in config["taskmodels_config"]["task_to_taskmodel_map"]:
            raise ConfigError(f"{where}: task_to_taskmodel_map has no entry for task {name!r}")
    for name, path in config["task_config_path_dict"].items():
        if not Path(path).is_file():
            raise ConfigError(f"{where}: task {name!r}: {path}: no such file")


def _check_keys(config: Mapping[str, Any], where: str) -> None:
    for key in CONTAINER_KEYS:
        if key not in config:
            raise ConfigError(f"{where}: key {key!r} is missing")
        if not isinstance(config[key], Mapping):
            raise ConfigError(f"{where}: {key}: a JSON object is needed, found {config[key]!r:.60}")
    for place, keys in _NEEDED_BELOW.items():
        for key in keys:
            if key not in config[place]:
                raise ConfigError(f"{where}: key '{place}.{key}' is missing")


def with_filtered_caches(
    config: Mapping[str, Any], kept: KeptInstances, folder: Path
) -> dict[str, Any]:
    """Writes training caches that hold only some instances, in jiant's format (GradTS-fg).

    Args:
        config: jiant's task-container config; it is not changed.
        kept: task name -> example ids, int64 (kept,).
        folder: where the caches go; one that is already there, for the same ids, is used.

    Returns:
        A new config that points to them, so that sampler proportions follow.
    """
    rewritten = copy.deepcopy(dict(config))
    for name, ids in kept.items():
        source = config["task_cache_config_dict"][name]["train"]
        digest = hashlib.sha256(np.sort(ids).astype("<i8").tobytes())
        digest.update(_hash_cache(source).encode())
        target = folder / f"{name}-{digest.hexdigest()[:16]}"
        if not (target / "data_args.p").exists():
            _write_filtered_cache(name, Path(source), target, ids)
        rewritten["task_cache_config_dict"][name]["train"] = str(target)
    return rewritten


def _write_filtered_cache(name: str, source: Path, target: Path, ids: IntArray) -> None:
    cache = open_cache(name, "train", str(source))
    wanted = set(ids.tolist())
    rows = [row for row in cache.iter_all() if row["metadata"]["example_id"] in wanted]
    if len(rows) != len(wanted):
        raise DataError(
            f"task {name!r}: {len(wanted)} instances are to be kept, but only {len(rows)} of them "
            f"are in {source}"
        )
    partial = target.with_name(target.name + ".partial")
    caching.chunk_and_save(
        data=rows, chunk_size=cache.chunk_size, data_args=cache.data_args, output_dir=str(partial)
    )
    partial.rename(target)


def rewrite_container_config(
    config: Mapping[str, Any],
    selection: Selection,
    output_dir: Path,
) -> dict[str, Any]:
    """jiant's container config that trains exactly the selection; everything else untouched.

    Args:
        config: the original config; it is not changed.
        selection: what to train.
        output_dir: where filtered caches are written.

    Returns:
        A config that plain jiant accepts.
    """
    rewritten = with_filtered_caches(config, selection.kept_instances, output_dir / "subsets")
    train_tasks = [selection.primary_task, *selection.auxiliary_tasks]
    run_lists = rewritten["task_run_config"]
    run_lists["train_task_list"] = train_tasks
    run_lists["train_val_task_list"] = [selection.primary_task]
    if selection.mixing_ratios:
        rewritten["sampler_config"] = specified_sampler(selection.mixing_ratios)
    else:
        rewritten["sampler_config"] = restrict_sampler_config(config["sampler_config"], train_tasks)
    return rewritten


def open_cache(name: str, phase: str, folder: str) -> Any:
    """jiant's cache of a task's tokenised rows.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return caching.ChunkedFilesDataCache(folder)
    except GradTSError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"task {name!r}: no {phase} cache at {folder}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(
            f"task {name!r}: the {phase} cache at {folder} is damaged: {error}"
        ) from error


def _decode(tokenizer: Any, input_ids: Any) -> str:
    """The text of token ids of shape (T,) or (C, T)."""
    parts: list[str] = []
    for ids in np.atleast_2d(input_ids):
        text = tokenizer.decode(ids[ids != tokenizer.pad_token_id])
        for mark in (tokenizer.cls_token, tokenizer.sep_token):
            text = text.replace(mark, "\n")
        parts += [part.strip() for part in text.split("\n") if part.strip()]
    return " | ".join(parts)


def _metric_of(task: Any) -> str:
    """What a task is scored by: our tasks say it in their config, jiant's own by their class."""
    config = getattr(task, "config", None)
    if config is None:
        return type(task).__name__
    return f"{config.metric} {config.positive_label}"


def _hash_text(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _hash_cache(*folders: str) -> str:
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(Path(folder).glob("data_*.chunk")):
            _hash_file(path, digest)
    return digest.hexdigest()


def _hash_file(path: Path, digest: Any) -> None:
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except FileNotFoundError as error:
        raise HostError(f"{path}: no such file") from error


def write_container_config(path: Path, config: Mapping[str, Any]) -> None:
    """Writes a container config atomically."""
    write_json_atomic(path, config)
