"""torch.load refuses jiant's caches and checkpoints, which hold jiant's own classes."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch

from gradts_plugin.hosts.jiant import pickles
from gradts_plugin.hosts.jiant.mends.mend import Mend, release


def _loads_weights_only() -> bool:
    return release(torch.__version__) >= (2, 6)


def _let_jiant_load_its_own() -> None:
    # Only for calls made from jiant's own modules: everybody else keeps the safe default. Modules
    # run with `python -m` are called __main__, so the package is asked, not the name.
    load = torch.load

    @functools.wraps(load)
    def load_for_caller(*args: Any, **kwargs: Any) -> Any:
        package = sys._getframe(1).f_globals.get("__package__") or ""
        if package.partition(".")[0] == "jiant":
            return pickles.load(*args, **kwargs)
        return load(*args, **kwargs)

    torch.load = load_for_caller


MEND = Mend(
    name="pickled_files",
    mends="torch.load refuses jiant's caches and checkpoints, which hold jiant's own classes",
    versions="torch >= 2.6",
    needed=_loads_weights_only,
    apply=_let_jiant_load_its_own,
)
