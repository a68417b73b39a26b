"""Freed memory is kept for the next step, where the C library can."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from types import SimpleNamespace

import pytest

from gradts_plugin.hosts.jiant import opening
from gradts_plugin.hosts.jiant.memory import keep_freed_memory

#: Prints how many pages are mapped anew for 10 tensors of 40 MiB after others (of which the first
#: leave small gaps that glibc caches).
PROGRAM = """
import resource, torch
from gradts_plugin.hosts.jiant.memory import keep_freed_memory
print(int({asked} and keep_freed_memory()), end=" ")
for _ in range(10):
    torch.zeros(10 * 2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.zeros(10 * 2**20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*, asked):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(asked=asked)], check=True, capture_output=True
    )
    return tuple(map(int, done.stdout.split()))


def test_memory_of_large_tensors_is_not_mapped_anew():
    is_glibc, kept = faults(asked=True)
    if not is_glibc:
        pytest.skip("the C library is not glibc")
    _, mapped = faults(asked=False)
    assert mapped > 10 * kept


@pytest.mark.parametrize("library", [SimpleNamespace(), None])
def test_elsewhere_nothing_is_changed(library, monkeypatch):
    def loaded(_name):
        if library is None:
            raise OSError
        return library

    monkeypatch.setattr(ctypes, "CDLL", loaded)
    assert not keep_freed_memory()


def test_a_host_that_is_opened_keeps_it(monkeypatch):
    class AskedError(Exception):
        pass

    def ask():
        raise AskedError

    monkeypatch.setattr(opening, "keep_freed_memory", ask)
    monkeypatch.setattr(opening, "attach_tasks", lambda _hook: None)
    with pytest.raises(AskedError):
        opening.open_host({}, {}, None, None, work_dir=None, log_file=None)
