"""Lets jiant 2.2.0 run on a current Python: one named mend per break, applied from outside.

jiant's last release pins Python packages of 2020. Nothing of jiant is edited or copied here. A mend
is applied only where the installed versions need it, and each restores what jiant computed on
its original versions; `faults` holds what was wrong with jiant itself.

Usage::

    from gradts_plugin.hosts.jiant.compat import apply_mends

    apply_mends()  # before the first import of jiant
    import jiant.proj.main.runscript
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

from gradts_plugin.errors import HostError
from gradts_plugin.hosts.jiant.mends.mend import Mend
from gradts_plugin.hosts.jiant.mends.table import MENDS

#: The only jiant these mends are written for; it is the last release.
HOST_VERSION = "2.2.0"

_applied: list[str] = []


def require_host() -> None:
    """Checks that the host is installed.

    Raises:
        HostError: jiant is missing, or another version than 2.2.0; says what to type.
    """
    advice = f"type: pip install --no-deps jiant=={HOST_VERSION} (or, with uv: uv sync)"
    try:
        found = importlib.metadata.version("jiant")
    except importlib.metadata.PackageNotFoundError as error:
        raise HostError(f"jiant is not installed; {advice}") from error
    if found != HOST_VERSION:
        raise HostError(f"jiant {found} is installed, but {HOST_VERSION} is needed; {advice}")


def apply_mends() -> tuple[str, ...]:
    """Applies every mend that the installed versions need. Call it before importing jiant.

    Calling it again does nothing.

    Returns:
        Names of the mends that are applied in this process.

    Raises:
        HostError: jiant is missing, another version, or lacks something it imports.
    """
    require_host()
    try:
        _apply(mend for mend in MENDS if mend.name not in _applied)
    except ModuleNotFoundError as error:
        raise HostError(
            f"jiant needs the package {error.name!r}, which is not installed; "
            "`gradts-select doctor` says what to type"
        ) from error
    return tuple(_applied)


def _apply(mends: Iterable[Mend]) -> None:
    for mend in mends:
        if mend.needed():
            mend.apply()
            _applied.append(mend.name)
