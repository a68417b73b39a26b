"""jiant's preparation for those who have none yet: export, tokenise, cache, container config."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.container import ContainerConfig
from gradts_plugin.hosts.jiant.preparing.export import encoder_folder, export_encoder
from gradts_plugin.hosts.jiant.preparing.sharing import SharedCaches
from gradts_plugin.hosts.jiant.preparing.tokenising import (
    cache_folder,
    cache_identity,
    tokenise,
    tokenise_test,
)
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.settings.training import DEFAULT_EPOCHS
from gradts_plugin.stores.checksums import is_made_from, made_from
from gradts_plugin.stores.files import write_json_atomic
from gradts_plugin.tasks.task_configs import TaskValues

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.shared import caching

DEFAULT_BATCH_SIZE = 32


def prepare(
    run_file: RunFile,
    configs: Mapping[str, TaskValues],
    *,
    encoder: str,
    hook: Any,
    log_file: Path,
    shared: SharedCaches,
    made_now: Collection[str] = (),
) -> tuple[ContainerConfig, HostArguments]:
    """Does all of jiant's preparation for a run file; what is already there and fits is kept.

    Args:
        run_file: the run.
        configs: from `read_task_configs`.
        encoder: from `check_encoder`.
        hook: the hooks.
        log_file: where jiant's output goes.
        shared: where other runs may have left the same caches.
        made_now: tasks that this run prepared already.

    Returns:
        jiant's task-container config, and the arguments to start jiant with.

    Raises:
        ConfigError, DataError, HostError: the run file, its data or its encoder is wrong.
    """
    output_dir = run_file.output_dir.absolute()
    arguments = export_encoder(encoder, encoder_folder(output_dir), log_file)
    sizes: dict[str, dict[str, int]] = {}
    caches: dict[str, dict[str, str]] = {}
    paths: dict[str, str] = {}
    for name, values in configs.items():
        hook.before_task_prepared(task_name=name)
        reused, caches[name] = prepare_task(name, values, run_file, log_file, shared)
        reused = reused and name not in made_now
        sizes[name] = {
            phase: len(caching.ChunkedFilesDataCache(caches[name][phase]))
            for phase in ("train", "val")
        }
        paths[name] = str(_config_path(run_file, name))
        hook.after_task_prepared(task_name=name, num_train=sizes[name]["train"], reused=reused)
    config = _container_config(paths, caches, sizes, run_file)
    write_json_atomic(output_dir / "container_config.json", config)
    return config, arguments


def prepare_task(
    name: str, values: TaskValues, run_file: RunFile, log_file: Path, shared: SharedCaches
) -> tuple[bool, dict[str, str]]:
    """Tokenises and caches a task, and where its test scores are asked for also its test split.

    Returns:
        Whether that was done before, and jiant's names of the caches -> their folders.
    """
    config_path, folder = _config_path(run_file, name), cache_folder(run_file, name)
    write_json_atomic(config_path, values)
    reused = tokenise(config_path, values, folder, run_file.model, log_file, shared)
    caches = {phase: str(folder / phase) for phase in ("train", "val", "val_labels")}
    if run_file.score_test and name in run_file.scored_tasks:
        output_dir = run_file.output_dir.absolute()
        caches |= tokenise_test(values, output_dir, run_file.model, log_file, shared)
    return reused, caches


def _config_path(run_file: RunFile, name: str) -> Path:
    return run_file.output_dir.absolute() / "task_configs" / f"{name}.json"


def unprepared(run_file: RunFile, configs: Mapping[str, TaskValues]) -> tuple[str, ...]:
    """The tasks that `prepare_task` would tokenise."""
    shared = SharedCaches.of(run_file)
    identities = {name: cache_identity(values, run_file.model) for name, values in configs.items()}
    return tuple(
        name
        for name, identity in identities.items()
        if not shared.are_in(cache_folder(run_file, name), identity)
    )


def link_prepared(source: Path, run_file: RunFile, configs: Mapping[str, TaskValues]) -> None:
    """Lets an output folder use what another one holds, as links: encoder and fitting caches.

    What it holds itself stays; links of an earlier start are made anew.

    Args:
        source: the output folder of a run that was prepared before, or of none.
        run_file: the run, with the output folder.
        configs: from `read_task_configs`.
    """
    links = {
        source / "caches" / name: cache_folder(run_file, name)
        for name, values in configs.items()
        if is_made_from(source / "caches" / name, cache_identity(values, run_file.model))
    }
    if made_from(encoder_folder(source)) is not None:
        links[encoder_folder(source)] = encoder_folder(run_file.output_dir)
    for folder, link in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        if not link.exists():
            link.symlink_to(folder, target_is_directory=True)


def _container_config(
    paths: Mapping[str, str],
    caches: Mapping[str, Mapping[str, str]],
    sizes: Mapping[str, Mapping[str, int]],
    run_file: RunFile,
) -> ContainerConfig:
    """jiant's task-container config over all tasks of a run file."""
    training = run_file.training
    batch_size = training.batch_size or run_file.fine_tuning.batch_size or DEFAULT_BATCH_SIZE
    accumulation = training.gradient_accumulation_steps or 1
    steps = sum(-(-size["train"] // (batch_size * accumulation)) for size in sizes.values())
    max_steps = training.max_steps or round((training.epochs or DEFAULT_EPOCHS) * steps)
    warmup = training.warmup_proportion if training.warmup_proportion is not None else 0.1
    names = list(paths)
    return {
        "task_config_path_dict": dict(paths),
        "task_cache_config_dict": {name: dict(caches[name]) for name in names},
        "sampler_config": {"sampler_type": "ProportionalMultiTaskSampler"},
        "global_train_config": {"max_steps": max_steps, "warmup_steps": round(warmup * max_steps)},
        "task_specific_configs_dict": {
            name: {
                "train_batch_size": batch_size,
                "eval_batch_size": 2 * batch_size,
                "gradient_accumulation_steps": accumulation,
                "eval_subset_num": sizes[name]["val"],
            }
            for name in names
        },
        "taskmodels_config": {
            "task_to_taskmodel_map": {name: name for name in names},
            "taskmodel_config_map": None,
        },
        "task_run_config": {
            "train_task_list": names,
            "train_val_task_list": [run_file.primary_task],
            "val_task_list": [run_file.primary_task],
            "test_task_list": [],
        },
        "metric_aggregator_config": {"metric_aggregator_type": "EqualMetricAggregator"},
    }
