"""Settings of the whole test run."""

from __future__ import annotations

import os

import pytest

# Tests use models of a few thousand weights: threads and progress bars only cost time, and nothing
# may ask a model hub.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

# Its asserts are tests, too, and say as much when they fail.
pytest.register_assert_rewrite("gradts_plugin.testing")
