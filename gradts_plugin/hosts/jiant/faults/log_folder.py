"""jiant names its log folder by the second, so two starts within one second collide."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradts_plugin.hosts.jiant.faults.replacing import replaced
from gradts_plugin.hosts.jiant.lookup import module_named


@contextlib.contextmanager
def unique_log_folder() -> Iterator[None]:
    """jiant names the folder by the second, so two starts within one second collide."""
    zlog = module_named("jiant.utils.zlog")

    def init_log_writer(output_dir: str) -> Any:
        folder = Path(output_dir) / str(int(time.time()))
        while True:
            try:
                return zlog.ZLogger(str(folder), overwrite=True)
            except FileExistsError:
                folder = folder.with_name(folder.name + "-1")

    initialization = module_named("jiant.shared.initialization")
    with replaced(initialization, "init_log_writer", init_log_writer):
        yield
