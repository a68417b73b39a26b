"""jiant's preparation for those who have none yet: export, tokenise, cache, container config."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from gradts_plugin import task_configs
from gradts_plugin.errors import ConfigError, DataError, GradTSError, HostError, nearest
from gradts_plugin.hosts.jiant.compat import apply_mends, require_supported_encoder
from gradts_plugin.hosts.jiant.training import HostArguments
from gradts_plugin.settings.reading import read_json
from gradts_plugin.settings.run_file import ModelSettings, RunFile
from gradts_plugin.settings.training import DEFAULT_EPOCHS
from gradts_plugin.stores.files import check_folder_name, write_json_atomic

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main import export_model, tokenize_and_cache
from jiant.shared import caching
from jiant.tasks import retrieval
from transformers import AutoTokenizer

from gradts_plugin.hosts.jiant.host import read_model_type, require_tokenizer

#: Rows per cache file. Small, so that a probe holds few rows at a time.
CHUNK_SIZE = 1000

#: Learning rate of run files that give none (Ma et al. 2021, section 4).
DEFAULT_LEARNING_RATE = 5e-5

DEFAULT_BATCH_SIZE = 32

#: Marks a finished folder of caches and says what it was made from.
PREPARED = "prepared.json"


def task_config_values(
    name_or_path: str, run_file: RunFile, extra: Mapping[str, Path]
) -> dict[str, Any]:
    """The task config of a run file's task, ready to be put anywhere.

    Args:
        name_or_path: shipped or added name, or a path.
        run_file: gives the data folder and the cap on training rows.
        extra: task configs that plugins add.

    Returns:
        The config with absolute data paths.

    Raises:
        ConfigError, DataError: see `task_configs`.
    """
    path = task_configs.resolve_task_config(name_or_path, extra=extra)
    values = read_json(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a task config is a JSON object, not {type(values).__name__}")
    named = not Path(name_or_path).is_file()
    base = (run_file.data_dir if named and run_file.data_dir else path.parent).absolute()
    if not task_configs.is_custom(values):
        # One of jiant's own: only its paths are made absolute.
        given = values.get("paths", {})
        if not isinstance(given, dict):
            raise ConfigError(f"{path}: paths: a JSON object is needed, found {given!r:.60}")
        paths = {
            phase: str(base / file) if isinstance(file, str) else file
            for phase, file in given.items()
        }
        return {**values, "paths": paths} if "paths" in values else values
    config = task_configs.settled_paths(
        task_configs.parse_task_config(values, where=str(path)), base
    )
    if run_file.max_train_examples is not None and config.max_train_examples is None:
        config = config.model_copy(
            update={
                "max_train_examples": run_file.max_train_examples,
                "sample_seed": run_file.seed,
            }
        )
    return task_configs.to_json_values(config)


def read_task_configs(
    run_file: RunFile, extra_task_configs: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """The task configs of a run file.

    Args:
        run_file: the run.
        extra_task_configs: task configs that plugins add, by name.

    Returns:
        Task name -> its config with absolute data paths, in the order of the run file.

    Raises:
        ConfigError: a task config is missing, broken or wrong, or two tasks have one name.
    """
    configs: dict[str, dict[str, Any]] = {}
    for name_or_path in run_file.tasks:
        values = task_config_values(name_or_path, run_file, extra_task_configs)
        if not isinstance(values.get("name"), str):
            raise ConfigError(f"task config {name_or_path}: key 'name' is missing")
        name = check_folder_name(values["name"])
        if name in configs:
            raise ConfigError(f"tasks: two tasks are named {name!r}; give one another name")
        configs[name] = values
    return configs


def check_data(run_file: RunFile, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Reads the training and dev data of each task that is not tokenised yet; writes nothing.

    Args:
        run_file: the run.
        configs: from `read_task_configs`.

    Raises:
        ConfigError, DataError: a task cannot be made or its data cannot be read.
    """
    for name, values in configs.items():
        if _is_prepared(_cache_folder(run_file, name), cache_identity(values, run_file.model)):
            continue
        task = retrieval.create_task_from_config(copy.deepcopy(dict(values)), base_path=".")
        for split in ("train", "val"):
            _check_split(task, split, explained=task_configs.is_custom(values))
        if run_file.score_test and name in run_file.scored_tasks and _has_test_file(values):
            as_dev = copy.deepcopy(_test_as_dev(values))
            task = retrieval.create_task_from_config(as_dev, base_path=".")
            _check_split(task, "val", explained=task_configs.is_custom(values))


def _check_split(task: Any, split: str, *, explained: bool) -> None:
    """Reads one split; `explained`: the task's own errors say what is wrong."""
    read = task.get_train_examples if split == "train" else task.get_val_examples
    try:
        examples = list(read())
    except GradTSError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"task {task.name!r}: {error.filename}: no such file") from error
    except KeyError as error:
        # jiant's own tasks: a split or a field has no entry.
        raise DataError(f"task {task.name!r}, {split} split: {error} is missing") from error
    except Exception as error:  # jiant's readers trip over broken data in many ways
        if explained:
            raise
        message = f"task {task.name!r}: its {split} split cannot be read: {error}"
        raise DataError(message) from error
    if not examples:
        raise DataError(f"task {task.name!r}: the {split} split is empty")
    known: Mapping[Any, int] = getattr(task, "LABEL_TO_ID", {})
    for number, example in enumerate(() if explained or not known else examples, start=1):
        label = getattr(example, "label", None)
        if isinstance(label, str) and label not in known:
            raise DataError(
                f"task {task.name!r}: {split} row {number} has the unknown label {label!r}; "
                f"{nearest(label, map(str, known))}"
            )


def prepare(
    run_file: RunFile,
    configs: Mapping[str, Mapping[str, Any]],
    *,
    encoder: str,
    hook: Any,
    log_file: Path,
) -> tuple[dict[str, Any], HostArguments]:
    """Does all of jiant's preparation for a run file; what is already there and fits is kept.

    Args:
        run_file: the run.
        configs: from `read_task_configs`.
        encoder: from `check_encoder`.
        hook: the hooks.
        log_file: where jiant's output goes.

    Returns:
        jiant's task-container config, and the arguments to start jiant with.

    Raises:
        ConfigError, DataError, HostError: the run file, its data or its encoder is wrong.
    """
    output_dir = run_file.output_dir.absolute()
    arguments = export_encoder(encoder, output_dir / "encoder", log_file)
    sizes: dict[str, dict[str, int]] = {}
    caches: dict[str, dict[str, str]] = {}
    paths: dict[str, str] = {}
    for name, values in configs.items():
        hook.before_task_prepared(task_name=name)
        config_path = output_dir / "task_configs" / f"{name}.json"
        write_json_atomic(config_path, values)
        folder = _cache_folder(run_file, name)
        reused = _tokenise(config_path, values, folder, run_file.model, log_file)
        caches[name] = {phase: str(folder / phase) for phase in ("train", "val", "val_labels")}
        if run_file.score_test and name in run_file.scored_tasks:
            caches[name] |= _tokenise_test(values, output_dir, run_file.model, log_file)
        sizes[name] = {
            phase: len(caching.ChunkedFilesDataCache(caches[name][phase]))
            for phase in ("train", "val")
        }
        paths[name] = str(config_path)
        hook.after_task_prepared(task_name=name, num_train=sizes[name]["train"], reused=reused)
    config = _container_config(paths, caches, sizes, run_file)
    write_json_atomic(output_dir / "container_config.json", config)
    return config, arguments


def check_encoder(model: ModelSettings) -> str:
    """Checks that an encoder and its tokenizer are there and supported; writes nothing.

    Args:
        model: hub name or local folder.

    Returns:
        The hub name, or the absolute path of the folder.

    Raises:
        HostError: the encoder cannot be read, has no tokenizer, or is of an unsupported kind.
    """
    name = model.name_or_path
    local = Path(name).expanduser()
    if local.is_dir():
        name = str(local.absolute())
        require_tokenizer(name)
        if not any((*local.glob("*.safetensors"), *local.glob("*.bin"))):
            raise HostError(
                f"encoder folder {model.name_or_path} has no weights (*.safetensors or *.bin); "
                f"save them there with model.save_pretrained"
            )
    require_supported_encoder(read_model_type(name))
    try:
        AutoTokenizer.from_pretrained(name, use_fast=False)
    except (OSError, ValueError, ImportError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise HostError(
            f"the tokenizer of encoder {model.name_or_path!r} cannot be read: {first_line}"
        ) from error
    return name


def export_encoder(name: str, folder: Path, log_file: Path) -> HostArguments:
    """Exports an encoder with jiant's own exporter, unless that was done before.

    Args:
        name: from `check_encoder`.
        folder: where jiant's `model/` and `tokenizer/` go.
        log_file: where jiant's output goes.

    Raises:
        HostError: the encoder cannot be read, or is another one than was exported here before.
    """
    weights = folder / "model" / "model.p"
    origin = folder / "origin.json"
    identity = {"encoder": name, "files": _folder_digest(Path(name))}
    if weights.exists():
        if origin.exists() and read_json(origin) != identity:
            raise HostError(
                f"encoder {name!r} has changed since {folder} was prepared from it; choose "
                "another output_dir"
            )
    else:
        partial = folder.with_name(folder.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with _log_output(log_file), torch.random.fork_rng():
            torch.manual_seed(0)  # heads that the checkpoint lacks are made at random
            try:
                export_model.export_model(
                    hf_pretrained_model_name_or_path=name, output_base_path=str(partial)
                )
            except (OSError, ValueError, ImportError) as error:
                first_line = str(error).strip().splitlines()[0]
                raise HostError(f"encoder {name!r}: {first_line}") from error
        write_json_atomic(partial / origin.name, identity)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    return HostArguments(
        hf_pretrained_model_name_or_path=name,
        model_path=str(weights),
        model_config_path=str(folder / "model" / "config.json"),
        learning_rate=DEFAULT_LEARNING_RATE,
    )


def _folder_digest(folder: Path) -> str:
    """sha256 over the files of a local encoder; empty for a hub name."""
    if not folder.is_dir():
        return ""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _tokenise(
    config_path: Path,
    values: Mapping[str, Any],
    folder: Path,
    model: ModelSettings,
    log_file: Path,
) -> bool:
    """Tokenises and caches a task with jiant's own script; True where that was done before."""
    identity = cache_identity(values, model)
    if _is_prepared(folder, identity):
        return True
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with _log_output(log_file):
        try:
            tokenize_and_cache.main(
                tokenize_and_cache.RunConfiguration(
                    task_config_path=str(config_path),
                    hf_pretrained_model_name_or_path=model.name_or_path,
                    output_dir=str(partial),
                    phases="train,val",
                    max_seq_length=model.max_seq_length,
                    chunk_size=CHUNK_SIZE,
                    skip_write_output_paths=True,
                )
            )
        except GradTSError:
            raise
        except FileNotFoundError as error:
            raise DataError(f"task {values['name']!r}: {error.filename}: no such file") from error
        except KeyError as error:
            # jiant's own tasks: a path, field or label is missing.
            raise DataError(f"task {values['name']!r}: {error} is missing or unknown") from error
    write_json_atomic(partial / PREPARED, identity)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return False


def _tokenise_test(
    values: Mapping[str, Any], output_dir: Path, model: ModelSettings, log_file: Path
) -> dict[str, str]:
    """Caches a task's test split, if any, like a dev split: jiant itself leaves its labels out."""
    name = values["name"]
    if not _has_test_file(values):
        return {}
    as_dev = _test_as_dev(values)
    config_path = output_dir / "task_configs" / "test" / f"{name}.json"
    write_json_atomic(config_path, as_dev)
    folder = output_dir / "caches" / "test" / name
    _tokenise(config_path, as_dev, folder, model, log_file)
    return {"test": str(folder / "val"), "test_labels": str(folder / "val_labels")}


def _has_test_file(values: Mapping[str, Any]) -> bool:
    return bool((values.get("paths") or {}).get("test"))


def _test_as_dev(values: Mapping[str, Any]) -> dict[str, Any]:
    """A task config whose dev split is the test split, which is read with its labels then."""
    paths = values["paths"]
    return {**values, "paths": {**paths, "val": paths["test"]}}


def _tree_digest(folder: Path) -> str:
    """sha256 over the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(folder)).encode())
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _cache_folder(run_file: RunFile, name: str) -> Path:
    return run_file.output_dir.absolute() / "caches" / name


def cache_identity(values: Mapping[str, Any], model: ModelSettings) -> dict[str, Any]:
    """What a task's caches were made from, as JSON values."""
    return {
        "task_config": dict(values),
        "data": _data_digest(values),
        "encoder": model.name_or_path,
        "max_seq_length": model.max_seq_length,
    }


def _is_prepared(folder: Path, identity: Mapping[str, Any]) -> bool:
    marker = folder / PREPARED
    return marker.exists() and bool(read_json(marker) == identity)


def link_prepared(
    source: Path, run_file: RunFile, configs: Mapping[str, Mapping[str, Any]]
) -> None:
    """Lets a new output folder use what another one holds, as links: encoder and fitting caches.

    Args:
        source: the output folder of a run that was prepared before, or of none.
        run_file: the run, with the new output folder.
        configs: from `read_task_configs`.
    """
    links = {
        source / "caches" / name: _cache_folder(run_file, name)
        for name, values in configs.items()
        if _is_prepared(source / "caches" / name, cache_identity(values, run_file.model))
    }
    if (source / "encoder" / "model" / "model.p").exists():
        links[source / "encoder"] = run_file.output_dir / "encoder"
    for folder, link in links.items():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder, target_is_directory=True)


def _data_digest(values: Mapping[str, Any]) -> str:
    """sha256 over the data files; hub datasets are identified by the config alone."""
    dataset = Path(str((values.get("dataset") or {}).get("path", "")))
    if dataset.is_absolute() and dataset.is_dir():
        return _tree_digest(dataset)
    digest = hashlib.sha256()
    for path in (values.get("paths") or {}).values():
        if isinstance(path, str) and Path(path).is_file():
            digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _container_config(
    paths: Mapping[str, str],
    caches: Mapping[str, Mapping[str, str]],
    sizes: Mapping[str, Mapping[str, int]],
    run_file: RunFile,
) -> dict[str, Any]:
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


@contextlib.contextmanager
def _log_output(log_file: Path) -> Iterator[None]:
    """Sends what jiant and transformers print to the log file."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    from gradts_plugin.hosts.jiant.host import silence_transformers

    with (
        log_file.open("a", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
        warnings.catch_warnings(),
        contextlib.ExitStack() as stack,
    ):
        warnings.simplefilter("ignore")
        stack.callback(silence_transformers())
        yield
