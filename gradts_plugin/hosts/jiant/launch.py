"""Starts any of jiant's own programs with the mends, as `python` would start it without them."""

from __future__ import annotations

import contextlib
import importlib.util
import runpy
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gradts_plugin.errors import HostError, nearest
from gradts_plugin.hosts.jiant.compat import apply_mends
from gradts_plugin.settings.training import TrainingSettings

if TYPE_CHECKING:  # it imports jiant, which takes seconds
    from gradts_plugin.hosts.jiant.arguments import HostArguments

__all__ = ["predicting_command", "run_host_module", "training_command"]

#: What jiant's documentation starts, for the error message.
_PROGRAMS = (
    "jiant.proj.main.export_model",
    "jiant.proj.main.runscript",
    "jiant.proj.main.scripts.configurator",
    "jiant.proj.main.tokenize_and_cache",
    "jiant.proj.main.write_task_configs",
    "jiant.proj.simple.runscript",
    "jiant.scripts.download_data.runscript",
)


def run_host_module(arguments: Sequence[str]) -> None:
    """Runs a program as `__main__` with the mends: `-m MODULE ARGS...` or `SCRIPT ARGS...`.

    Arguments, output, files and exit code are the program's own.

    Args:
        arguments: what would follow `python` on the command line.

    Raises:
        HostError: jiant is not usable, or there is no such module or script.
        SystemExit: whenever the program raises it.
    """
    match list(arguments):
        case ["-m", module, *rest]:
            _run_module(module, rest)
        case [script, *rest] if not script.startswith("-"):
            _run_script(Path(script), rest)
        case _:
            raise HostError(
                "what to run is missing: give -m MODULE or the path of a script, then its "
                "arguments, e.g. host -m jiant.proj.main.tokenize_and_cache --help"
            )


def training_command(
    config_path: Path,
    arguments: HostArguments,
    training: TrainingSettings,
    *,
    seed: int,
    output_dir: Path,
) -> str:
    """The command line with which plain jiant trains a rewritten container config.

    Args:
        config_path: the config.
        arguments: what jiant was started with.
        training: jiant takes the learning rate and clipping of them; length and batch sizes are in
            the config, and what jiant does not offer is left out.
        seed: jiant's own seed.
        output_dir: where jiant is to write.

    Returns:
        Lines that end in backslashes, ready to be typed.
    """
    learning_rate = training.learning_rate or arguments.learning_rate
    max_grad_norm = training.max_grad_norm or arguments.max_grad_norm
    given = {
        **_starting_point(config_path, output_dir, arguments),
        "learning_rate": f"{learning_rate:g}",
        "max_grad_norm": f"{max_grad_norm:g}",
        "optimizer_type": "radam" if training.optimizer == "radam" else "adam",
        "seed": seed,
    }
    flags = "--do_train --do_val --do_save_best" + " --no_cuda" * arguments.no_cuda
    return _run_script_command(given, flags)


def predicting_command(
    config_path: Path, arguments: HostArguments, *, weights: Path, output_dir: Path
) -> str:
    """The command line with which plain jiant predicts with weights that were trained.

    Args:
        config_path: the container config that they were trained by.
        arguments: what jiant was started with.
        weights: the file.
        output_dir: where jiant is to write.
    """
    trained = replace(arguments, model_path=str(weights), model_load_mode="all")
    flags = "--do_val --write_val_preds" + " --no_cuda" * arguments.no_cuda
    return _run_script_command(_starting_point(config_path, output_dir, trained), flags)


def _starting_point(
    config_path: Path, output_dir: Path, arguments: HostArguments
) -> dict[str, object]:
    return {
        "jiant_task_container_config_path": config_path,
        "output_dir": output_dir,
        "hf_pretrained_model_name_or_path": arguments.hf_pretrained_model_name_or_path,
        "model_path": arguments.model_path,
        "model_config_path": arguments.model_config_path,
        "model_load_mode": arguments.model_load_mode,
    }


def _run_script_command(given: Mapping[str, object], flags: str) -> str:
    """jiant's run script with arguments, but those that are jiant's defaults."""
    standard = {
        "model_load_mode": "from_transformers",
        "max_grad_norm": "1",
        "optimizer_type": "adam",
        "model_config_path": None,
    }
    return " \\\n    ".join(
        [
            "gradts-select host -m jiant.proj.main.runscript run",
            *(
                f"--{name} {shlex.quote(str(value))}"
                for name, value in given.items()
                if name not in standard or value != standard[name]
            ),
            flags,
        ]
    )


def _run_module(module: str, rest: list[str]) -> None:
    apply_mends()
    with _command_line([module, *rest], first_path=str(Path.cwd())):
        if not _exists(module):
            raise HostError(f"no module named {module!r}; {nearest(module, _PROGRAMS)}")
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def _run_script(script: Path, rest: list[str]) -> None:
    if not script.exists():
        raise HostError(f"{script}: no such script")
    module = _host_module_at(script)
    if module is not None:
        # Started by its path, a file of jiant would not count as jiant for the mends.
        _run_module(module, rest)
        return
    apply_mends()
    with _command_line([str(script), *rest], first_path=str(script.resolve().parent)):
        runpy.run_path(str(script), run_name="__main__")


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package does not exist
        return False


def _host_module_at(script: Path) -> str | None:
    spec = importlib.util.find_spec("jiant")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        root = Path(location).resolve().parent
        if script.resolve().is_relative_to(Path(location).resolve()):
            return ".".join(script.resolve().relative_to(root).with_suffix("").parts)
    return None


@contextlib.contextmanager
def _command_line(argv: list[str], *, first_path: str) -> Iterator[None]:
    """Sets what `python` sets for a program: its arguments, and where its own imports are found."""
    old_argv, old_path = sys.argv, list(sys.path)
    sys.argv = argv
    sys.path.insert(0, first_path)
    try:
        yield
    finally:
        sys.argv = old_argv
        sys.path[:] = old_path
