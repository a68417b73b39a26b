"""One break of jiant on newer packages, and what mends it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from gradts_plugin.hosts.jiant.lookup import module_named


@dataclasses.dataclass(frozen=True)
class Mend:
    """One break of jiant on newer packages, and what mends it.

    Attributes:
        name: stable name.
        mends: one sentence: what is broken without it.
        versions: the versions it is for.
        needed: whether the installed versions have the break.
        apply: mends it in this process; called at most once.
    """

    name: str
    mends: str
    versions: str
    needed: Callable[[], bool]
    apply: Callable[[], None]


def release(version: str) -> tuple[int, ...]:
    """(2, 13) for "2.13.0+cpu"."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def transformers_package() -> Any:
    """transformers, whatever lies in `sys.modules` under that name now."""
    return module_named("transformers")
