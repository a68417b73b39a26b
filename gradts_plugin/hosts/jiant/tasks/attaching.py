"""The two places where jiant learns of custom tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gradts_plugin.errors import ConfigError, nearest
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.tasks.custom import create_task
from gradts_plugin.settings.reading import read_json
from gradts_plugin.tasks.task_configs import TaskValues, is_custom

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.tasks import evaluate, retrieval
from jiant.utils.python import io as py_io

LoadTask = Callable[[TaskValues, Path], Any | None]


def _no_task(config: TaskValues, base_path: Path) -> None:
    """Leaves every config to others."""
    del config, base_path


def attach(load_task: LoadTask = _no_task) -> None:
    """Lets jiant load custom tasks and score them. Attaching again replaces `load_task`.

    Args:
        load_task: asked first for each task config; None: not its own. A task it returns is scored
            by its method `evaluation_scheme`, where it has one, else as jiant scores its class.
    """
    detach()
    create, score = retrieval.create_task_from_config, evaluate.core.get_evaluation_scheme_for_task

    def create_task_from_config(
        config: Any, base_path: str | None = None, verbose: bool = False
    ) -> Any:
        if not isinstance(config, Mapping):
            raise ConfigError(f"a task config is a JSON object, not {type(config).__name__}")
        folder = Path(base_path or ".")
        task = load_task(config, folder)
        if task is not None:
            return task
        if is_custom(config):
            return create_task(config, folder)
        _check_host_task(config)
        try:
            return create(config, base_path=base_path, verbose=verbose)
        except Exception as error:  # each task's class takes its arguments in its own way
            raise ConfigError(
                f"task config {config['name']!r}: jiant cannot make its task {config['task']!r}: "
                f"{error} (paths: {config['paths']!r:.80}, kwargs: {config.get('kwargs')!r:.80})"
            ) from error

    def get_evaluation_scheme_for_task(task: Any) -> Any:
        scheme = getattr(task, "evaluation_scheme", None)
        return score(task) if scheme is None else scheme()

    create_task_from_config.jiant_original = create  # type: ignore[attr-defined]
    get_evaluation_scheme_for_task.jiant_original = score  # type: ignore[attr-defined]
    _install(create_task_from_config, get_evaluation_scheme_for_task)
    retrieval.read_json = lambda path: read_json(Path(path))  # says file and line of a mistake


def detach() -> None:
    """Gives jiant its own functions back; does nothing where nothing is attached."""
    create, score = retrieval.create_task_from_config, evaluate.core.get_evaluation_scheme_for_task
    _install(getattr(create, "jiant_original", create), getattr(score, "jiant_original", score))
    retrieval.read_json = py_io.read_json


def _install(create: Callable[..., Any], score: Callable[..., Any]) -> None:
    retrieval.create_task_from_config = create
    # jiant's modules call the name of the package, which has copied it from core.
    evaluate.core.get_evaluation_scheme_for_task = score
    evaluate.get_evaluation_scheme_for_task = score


def _check_host_task(config: TaskValues) -> None:
    """Explains what jiant would answer with a KeyError.

    Raises:
        ConfigError: neither a custom task nor one that jiant knows.
    """
    for key in ("task", "name", "paths"):
        if key not in config:
            raise ConfigError(
                f"task config {config.get('name', '')!r}: key {key!r} is missing; a custom task "
                "names its 'kind', one of jiant's own its 'task', 'name' and 'paths'"
            )
    if str(config["task"]) not in retrieval.TASK_DICT:
        raise ConfigError(
            f"task config {config['name']!r}: jiant has no task {config['task']!r}; "
            f"{nearest(str(config['task']), retrieval.TASK_DICT)}"
        )
