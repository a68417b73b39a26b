"""The task configs of a run file, ready to be put anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gradts_plugin.errors import ConfigError
from gradts_plugin.settings.reading import read_json
from gradts_plugin.settings.run_file import RunFile
from gradts_plugin.stores.files import check_folder_name
from gradts_plugin.tasks import shipped, task_configs
from gradts_plugin.tasks.task_configs import TaskValues


def task_config_values(
    name_or_path: str, run_file: RunFile, extra: Mapping[str, Path]
) -> TaskValues:
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
    path = shipped.resolve_task_config(name_or_path, extra=extra)
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
) -> dict[str, TaskValues]:
    """The task configs of a run file.

    Args:
        run_file: the run.
        extra_task_configs: task configs that plugins add, by name.

    Returns:
        Task name -> its config with absolute data paths, in the order of the run file.

    Raises:
        ConfigError: a task config is missing, broken or wrong, or two tasks have one name.
    """
    configs: dict[str, TaskValues] = {}
    for name_or_path in run_file.tasks:
        values = task_config_values(name_or_path, run_file, extra_task_configs)
        if not isinstance(values.get("name"), str):
            raise ConfigError(f"task config {name_or_path}: key 'name' is missing")
        name = check_folder_name(values["name"])
        if name in configs:
            raise ConfigError(f"tasks: two tasks are named {name!r}; give one another name")
        configs[name] = values
    return configs


def has_test_file(values: TaskValues) -> bool:
    """Whether a task config names files for a test split, or holds one out."""
    return any((values.get(key) or {}).get("test") for key in ("paths", "held_out"))


def test_as_dev(values: TaskValues) -> TaskValues:
    """A task config whose dev split is the test split, which is read with its labels then.

    The dev split becomes the test split: labels are inferred from the same files.
    """
    changed = {
        key: {**values[key], "val": values[key].get("test"), "test": values[key].get("val")}
        for key in ("paths", "columns", "skip_rows", "held_out")
        if isinstance(values.get(key), dict)
    }
    if "held_out" in changed:  # the same rows under the other names
        first = values["held_out"].get("drawn_first", "test")
        changed["held_out"]["drawn_first"] = "test" if first == "val" else "val"
    return {
        **values,
        **{
            key: {split: value for split, value in by_split.items() if value is not None}
            for key, by_split in changed.items()
        },
    }
