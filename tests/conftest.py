"""Settings of the whole test run."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator

import pytest

# Tests use models of a few thousand weights: threads and progress bars only cost time, and nothing
# may ask a model hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# Started in the background by a shell, this process would ignore interrupts, and its children, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Its asserts are tests, too, and say as much when they fail.
pytest.register_assert_rewrite("gradts_plugin.testing")


@pytest.fixture(scope="module", autouse=True)
def imported_modules_are_no_garbage() -> None:
    """What is imported stays: after each training it need not be searched for garbage again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module")
def without_pages() -> Iterator[None]:
    """Runs write `report.json` only, as where matplotlib is missing: drawing takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradts_plugin.report.writing.can_draw", lambda: False)
        yield
