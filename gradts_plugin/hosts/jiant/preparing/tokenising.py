"""Tokenises and caches tasks with jiant's own script; what fits is kept."""

from __future__ import annotations

import hashlib
from pathlib import Path

from gradts_plugin.errors import DataError, GradTSError
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.preparing.sharing import SharedCaches
from gradts_plugin.hosts.jiant.preparing.task_values import has_test_file, test_as_dev
from gradts_plugin.hosts.jiant.quiet import silenced
from gradts_plugin.hosts.jiant.saving import refusals_told
from gradts_plugin.json_forms import JsonObject
from gradts_plugin.settings.run_file import ModelSettings, RunFile
from gradts_plugin.stores.checksums import is_made_from, publish_made, sha256_of_files
from gradts_plugin.stores.files import folder_in_the_making, write_json_atomic
from gradts_plugin.tasks.task_configs import TaskValues

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main import tokenize_and_cache

#: Rows per cache file. Small, so that a probe holds few rows at a time.
CHUNK_SIZE = 1000

#: Bytes of a data file that are held at a time.
_BLOCK = 1 << 20


def tokenise(
    config_path: Path,
    values: TaskValues,
    folder: Path,
    model: ModelSettings,
    log_file: Path,
    shared: SharedCaches | None = None,
) -> bool:
    """Tokenises and caches a task with jiant's own script; True where that was done before.

    Args:
        config_path: of the task, for jiant.
        values: what stands in it.
        folder: where the caches go.
        model: the encoder.
        log_file: where jiant's output goes.
        shared: where other runs may have left the same caches.
    """
    identity = cache_identity(values, model)
    if is_made_from(folder, identity) or (shared is not None and shared.give(identity, folder)):
        return True
    with folder_in_the_making(folder.parent) as partial:
        _tokenise(config_path, values, partial, model, log_file)
        publish_made(partial, folder, identity)
    if shared is not None:
        shared.take(identity, folder)
    return False


def _tokenise(
    config_path: Path,
    values: TaskValues,
    folder: Path,
    model: ModelSettings,
    log_file: Path,
) -> None:
    with silenced(log_file), refusals_told(folder.parent):
        try:
            tokenize_and_cache.main(
                tokenize_and_cache.RunConfiguration(
                    task_config_path=str(config_path),
                    hf_pretrained_model_name_or_path=model.name_or_path,
                    output_dir=str(folder),
                    phases="train,val",
                    max_seq_length=model.max_seq_length,
                    chunk_size=CHUNK_SIZE,
                    skip_write_output_paths=True,
                    do_iter=True,  # the same files, without all tokenised rows in memory
                )
            )
        except GradTSError:
            raise
        except FileNotFoundError as error:
            raise DataError(f"task {values['name']!r}: {error.filename}: no such file") from error
        except KeyError as error:
            # jiant's own tasks: a path, field or label is missing.
            raise DataError(f"task {values['name']!r}: {error} is missing or unknown") from error


def tokenise_test(
    values: TaskValues,
    output_dir: Path,
    model: ModelSettings,
    log_file: Path,
    shared: SharedCaches | None = None,
) -> dict[str, str]:
    """Caches a task's test split, if any, like a dev split: jiant itself leaves its labels out."""
    name = values["name"]
    if not has_test_file(values):
        return {}
    as_dev = test_as_dev(values)
    config_path = output_dir / "task_configs" / "test" / f"{name}.json"
    write_json_atomic(config_path, as_dev)
    folder = test_cache_folder(output_dir, name)
    tokenise(config_path, as_dev, folder, model, log_file, shared)
    return {"test": str(folder / "val"), "test_labels": str(folder / "val_labels")}


def cache_folder(run_file: RunFile, name: str) -> Path:
    """Where a task's caches lie."""
    return run_file.output_dir.absolute() / "caches" / name


def test_cache_folder(output_dir: Path, name: str) -> Path:
    """Where the caches of a task's test split lie: apart, since a task may be named "test"."""
    return output_dir.absolute() / "test_caches" / name


def cache_identity(values: TaskValues, model: ModelSettings) -> JsonObject:
    """What a task's caches were made from, as JSON values."""
    return {
        "task_config": values,
        "data": _data_digest(values),
        "encoder": model.name_or_path,
        "max_seq_length": model.max_seq_length,
    }


def _data_digest(values: TaskValues) -> str:
    """sha256 over the data files; hub datasets are identified by the config alone."""
    dataset = Path(str((values.get("dataset") or {}).get("path", "")))
    if dataset.is_absolute() and dataset.is_dir():
        return sha256_of_files(dataset, (path for path in dataset.rglob("*") if path.is_file()))
    digest = hashlib.sha256()
    for given in (values.get("paths") or {}).values():
        for path in given if isinstance(given, (list, tuple)) else (given,):
            if isinstance(path, str) and Path(path).is_file():
                with Path(path).open("rb") as stream:
                    while block := stream.read(_BLOCK):
                        digest.update(block)
    return digest.hexdigest()
