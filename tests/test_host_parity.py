"""Today's stack computes what jiant computed on its original pins (see tests/parity/record.py)."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from gradts_plugin.hosts.jiant.compat import apply_mends

FOLDER = Path(__file__).parent / "parity"
RECORDED = json.loads((FOLDER / "recorded.json").read_text(encoding="utf-8"))


def _script():
    spec = importlib.util.spec_from_file_location("parity_record", FOLDER / "record.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_numbers_come_from_the_original_pins():
    versions = RECORDED["versions"]
    assert versions["jiant"] == "2.2.0"
    assert versions["transformers"] == "4.5.0"
    assert versions["torch"].startswith("1.")


@pytest.fixture(scope="module", params=sorted(RECORDED["runs"]))
def run(request, tmp_path_factory):
    """(recorded, computed now) of one run; only the mends are applied, no switch of `faults`."""
    apply_mends()
    folder = tmp_path_factory.mktemp("parity")
    return RECORDED["runs"][request.param], _script().record(request.param, folder)


def test_caches_are_equal(run):
    recorded, computed = run
    assert computed["caches"] == recorded["caches"]


def test_tasks_come_in_the_same_order_with_the_same_losses(run):
    recorded, computed = run
    assert [task for task, _ in computed["losses"]] == [task for task, _ in recorded["losses"]]
    expected = [loss for _, loss in recorded["losses"]]
    assert [loss for _, loss in computed["losses"]] == pytest.approx(expected, abs=1e-5, rel=0)


def test_evaluations_give_the_same_metrics(run):
    recorded, computed = run
    assert len(computed["metrics"]) == len(recorded["metrics"])
    # Wider than for losses: a correlation over 14 rows magnifies differences of the last digit.
    assert _flat(computed["metrics"]) == pytest.approx(_flat(recorded["metrics"]), abs=1e-4)


def _flat(value, name=""):
    """{path: number} of nested mappings and lists."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        return {name: value}
    parts = [_flat(nested, f"{name}/{key}") for key, nested in value.items()]
    return dict(item for part in parts for item in part.items())
