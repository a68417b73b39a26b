"""Keeps what jiant and transformers print off the terminal."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from gradts_plugin.stores.files import disk_errors


def silence_transformers() -> Callable[[], None]:
    """Keeps transformers' loading notes off the terminal; returns what restores it."""
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def restore() -> None:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]

    return restore


@contextlib.contextmanager
def silenced(log_file: Path | None) -> Iterator[None]:
    """Sends what jiant and transformers print and warn of to a file; None: nowhere.

    Raises:
        StoreError: the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        stream: TextIO = io.StringIO()
        if log_file is not None:
            with disk_errors("write", log_file):
                log_file.parent.mkdir(parents=True, exist_ok=True)
                stream = stack.enter_context(log_file.open("a", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(stream))
        stack.enter_context(contextlib.redirect_stderr(stream))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.callback(silence_transformers())
        yield
