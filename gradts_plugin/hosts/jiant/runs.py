"""jiant's own runs: its run script, plain or with its faults mended and its steps observed."""

from __future__ import annotations

import contextlib
import io
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from gradts_plugin.errors import ConfigError
from gradts_plugin.hosts.jiant import pickles
from gradts_plugin.hosts.jiant.arguments import HostArguments
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.hosts.jiant.container_schema import RunArguments
from gradts_plugin.hosts.jiant.faults.mending import FaultSwitches, mended
from gradts_plugin.hosts.jiant.launch import predicting_command
from gradts_plugin.hosts.jiant.training.observing import StepObserver
from gradts_plugin.hosts.jiant.training.recipe import OwnSettings
from gradts_plugin.hosts.jiant.training.runner import observed_host_runs
from gradts_plugin.json_forms import from_json
from gradts_plugin.records import Recipe
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.reading import read_json
from gradts_plugin.settings.selection import GradTSSettings

apply_mends()  # jiant cannot be imported before its breaks are mended

# ruff: noqa: E402
from jiant.proj.main import runscript

MODES = ("run", "continue", "run_with_continue")


def split_arguments(arguments: Sequence[str]) -> tuple[str, list[str], Path | None]:
    """Takes jiant's mode and our `--gradts_config FILE` out of a command line.

    Returns:
        The mode ("run" where none is given), jiant's remaining arguments, and the file.

    Raises:
        ConfigError: `--gradts_config` without a file.
    """
    rest = list(arguments)
    mode = rest.pop(0) if rest and rest[0] in MODES else "run"
    gradts_config: Path | None = None
    for index, argument in enumerate(rest):
        if argument == "--gradts_config":
            if index + 1 >= len(rest):
                raise ConfigError("--gradts_config needs the path of a YAML file")
            gradts_config = Path(rest[index + 1])
            del rest[index : index + 2]
            break
        if argument.startswith("--gradts_config="):
            gradts_config = Path(argument.split("=", 1)[1])
            del rest[index]
            break
    return mode, rest, gradts_config


def parse_run_arguments(arguments: Sequence[str]) -> Any:
    """jiant's `RunConfiguration` from its own command line.

    Raises:
        ConfigError: jiant's parser refused it.
    """
    return _parse(runscript.RunConfiguration, arguments)


def _parse(configuration_class: Any, arguments: Sequence[str]) -> Any:
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            return configuration_class.default_run_cli(cl_args=list(arguments))
    except SystemExit as error:
        if error.code == 0:
            raise
        problem = refusal.getvalue().strip().splitlines()[-1:] or ["bad arguments"]
        raise ConfigError(
            f"jiant refused its arguments: {problem[0].split('error: ')[-1]}"
        ) from error


def host_arguments(configuration: Any) -> HostArguments:
    """What probes and trials take from jiant's own arguments.

    Raises:
        SettingsError: an argument has a value that jiant's run could not use.
    """
    given = {name: getattr(configuration, name) for name in RunArguments.model_fields}
    parse_settings(RunArguments, given, where="jiant's arguments")
    return HostArguments(
        **{field.name: getattr(configuration, field.name) for field in fields(HostArguments)}
    )


def following(configuration: Any, config_path: Path) -> str | None:
    """The command that predicts with what a run trained; None where it kept no weights.

    Args:
        configuration: jiant's `RunConfiguration` of the run.
        config_path: the container config that was trained.
    """
    folder = Path(configuration.output_dir)
    for name in ("best_model.p", "last_model.p"):
        if (folder / name).is_file():
            arguments = host_arguments(configuration)
            output_dir = folder / "predictions"
            return predicting_command(
                config_path, arguments, weights=folder / name, output_dir=output_dir
            )
    return None


def run_plainly(mode: str, arguments: Sequence[str]) -> None:
    """jiant's run script as it is."""
    if mode == "continue":
        runscript.run_resume(_parse(runscript.ResumeConfiguration, arguments))
    elif mode == "run_with_continue":
        runscript.run_with_continue(cl_args=list(arguments))
    else:
        runscript.run_loop(parse_run_arguments(arguments))


def run_mended(
    mode: str,
    configuration: Any,
    *,
    container_config_path: Path,
    settings: GradTSSettings,
    observe: StepObserver,
) -> None:
    """jiant's run script on another container config, its faults mended, its steps observed.

    Args:
        mode: run or run_with_continue.
        configuration: jiant's `RunConfiguration`.
        container_config_path: the rewritten config.
        settings: says which faults are mended.
        observe: told of every optimiser step.
    """
    configuration.jiant_task_container_config_path = str(container_config_path)
    if configuration.seed == -1:
        # jiant would draw one itself, too late for the parts that are seeded from it.
        configuration.seed = int(np.random.default_rng().integers(2**31))
    output_dir = Path(configuration.output_dir)
    checkpoint = output_dir / "checkpoint.p"
    if mode == "run_with_continue" and not configuration.force_overwrite:
        if (output_dir / "done_file").exists() or (output_dir / "val_metrics.json").exists():
            return
        if configuration.save_checkpoint_every_steps and checkpoint.exists():
            resume_mended(configuration, checkpoint, settings=settings, observe=observe)
            return
    with _as_tried(configuration, settings, observe):
        runscript.run_loop(configuration)


def checkpointed_run(arguments: Sequence[str]) -> tuple[Any, Path]:
    """The `RunConfiguration` inside the checkpoint that jiant's `continue` arguments name.

    Raises:
        ConfigError: there is no such checkpoint, or it is damaged.
    """
    path = Path(_parse(runscript.ResumeConfiguration, arguments).checkpoint_path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such checkpoint")
    try:
        metadata = pickles.load(path, map_location="cpu")["metadata"]
        return runscript.RunConfiguration.from_dict(metadata["args"]), path
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: is damaged, or no checkpoint of jiant ({type(error).__name__}); start the "
            "run anew with run_with_continue"
        ) from error


def resume_mended(
    configuration: Any,
    checkpoint_path: Path,
    *,
    settings: GradTSSettings,
    observe: StepObserver | None = None,
) -> None:
    """jiant's resume, with schedule, sampler and data order restored."""
    with _as_tried(configuration, settings, observe):
        runscript.resume(str(checkpoint_path))


@contextlib.contextmanager
def _as_tried(
    configuration: Any, settings: GradTSSettings, observe: StepObserver | None
) -> Iterator[None]:
    """jiant's run script trains what a trial of the rewritten config's selection trained."""
    path = Path(configuration.jiant_task_container_config_path)
    given = read_json(path).get("gradts", {}).get("selection", {}).get("recipe")
    recipe = None if given is None else from_json(Recipe, given, where=f"{path}: recipe")
    own = None if recipe is None else OwnSettings.of(recipe)
    if own is not None:
        configuration.learning_rate = own.learning_rate
        configuration.max_grad_norm = own.max_grad_norm
        configuration.optimizer_type = own.optimizer_type
    with (
        mended(
            seed=configuration.seed,
            switches=FaultSwitches.of(settings),
            clip_once_per_step=own is not None and own.clip_once_per_step,
            task_steps=None if recipe is None else recipe.task_steps,
            last_task="" if recipe is None else recipe.last_task,
        ),
        observed_host_runs(observe, recipe, configuration.seed),
    ):
        yield
