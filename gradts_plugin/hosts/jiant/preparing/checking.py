"""Whether the data of tasks can be read, before anything is written."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.errors import DataError, GradTSError, nearest
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.preparing.sharing import SharedCaches
from gradts_plugin.hosts.jiant.preparing.task_values import has_test_file, test_as_dev
from gradts_plugin.hosts.jiant.preparing.tokenising import (
    cache_folder,
    cache_identity,
    test_cache_folder,
)
from gradts_plugin.hosts.jiant.rehearsal import Sample
from gradts_plugin.settings.reading import is_special, no_file
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.tasks import task_configs
from gradts_plugin.tasks.task_configs import TaskValues

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.tasks import retrieval

#: So many examples of a task are tokenised before the others.
SAMPLE_SIZE = 32


def check_data(run_file: RunFile, configs: Mapping[str, TaskValues]) -> list[Sample]:
    """Reads the data of each task that is not tokenised yet; writes nothing.

    Of the tasks whose test scores are asked for, the test data too.

    Args:
        run_file: the run.
        configs: from `read_task_configs`.

    Returns:
        These tasks, with their first training examples.

    Raises:
        ConfigError, DataError: a task cannot be made or its data cannot be read.
    """
    samples: list[Sample] = []
    shared = SharedCaches.of(run_file)
    for name, values in configs.items():
        explained = task_configs.is_custom(values)
        for path in (values.get("paths") or {}).values() if not explained else ():
            if isinstance(path, str) and Path(path).exists() and is_special(Path(path)):
                raise DataError(f"task {name!r}: {no_file(Path(path))}")
        identity = cache_identity(values, run_file.model)
        if not shared.are_in(cache_folder(run_file, name), identity):
            task = retrieval.create_task_from_config(copy.deepcopy(values), base_path=".")
            examples = _check_split(task, "train", explained=explained)
            samples.append((task, examples))
            _check_split(task, "val", explained=explained)
        if not (run_file.score_test and name in run_file.scored_tasks and has_test_file(values)):
            continue
        as_dev, folder = test_as_dev(values), test_cache_folder(run_file.output_dir, name)
        identity = cache_identity(as_dev, run_file.model)
        if not shared.are_in(folder, identity):
            task = retrieval.create_task_from_config(copy.deepcopy(as_dev), base_path=".")
            _check_split(task, "val", explained=explained)
    return samples


def _check_split(task: Any, split: str, *, explained: bool) -> list[Any]:
    """Reads one split; its first rows. `explained`: the task's own errors say what is wrong."""
    read = task.get_train_examples if split == "train" else task.get_val_examples
    known: Mapping[Any, int] = {} if explained else getattr(task, "LABEL_TO_ID", {})
    first: list[Any] = []
    try:
        for number, example in enumerate(read(), start=1):
            label = getattr(example, "label", None)
            if known and isinstance(label, str) and label not in known:
                raise DataError(
                    f"task {task.name!r}: {split} row {number} has the unknown label {label!r}; "
                    f"{nearest(label, map(str, known))}"
                )
            if number <= SAMPLE_SIZE:
                first.append(example)
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
    if not first:
        raise DataError(f"task {task.name!r}: the {split} split is empty")
    return first
