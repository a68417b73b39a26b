"""Starts any of jiant's own programs with the mends, as `python` would start it without them."""

from __future__ import annotations

import contextlib
import importlib.util
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from gradts_plugin.errors import HostError, nearest
from gradts_plugin.hosts.jiant.compat import apply_mends

__all__ = ["run_host_module"]

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
