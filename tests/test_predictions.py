"""Predictions lie beside the record of their training, whole or not at all."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gradts_plugin.errors import StoreError
from gradts_plugin.json_forms import to_json
from gradts_plugin.records import Predictions, TrainingResult, Trial
from gradts_plugin.stores.keys import digest_of
from gradts_plugin.stores.predictions import read_predictions
from gradts_plugin.stores.trainings import TrialLedger

KEY = {"seed": 0}
DEV = Predictions("accuracy", np.array([7, 3]), np.array([[0.0, 1.0], [2.0, 2.0]]))
TEST = Predictions("accuracy", np.array([1]), np.array([[0.0, 0.0]]))


def result_with(predictions):
    return TrainingResult(0.5, {"score": 0.5}, (0.5,), 2, 8, 1.0, None, predictions=predictions)


@pytest.fixture
def ledger(tmp_path):
    ledger = TrialLedger(tmp_path)
    ledger.record(KEY, result_with({"dev": DEV, "test": TEST}))
    return ledger


def the_file(ledger):
    (path,) = ledger.root.glob("*.npz")
    return path


def test_they_are_found_with_the_result(ledger):
    found = ledger.find(KEY)
    assert found == result_with({})
    assert sorted(found.predictions) == ["dev", "test"]
    for split, given in {"dev": DEV, "test": TEST}.items():
        read = found.predictions[split]
        assert read.metric == given.metric
        assert read.example_ids.dtype == np.int64
        assert read.values.dtype == np.float64
        np.testing.assert_array_equal(read.example_ids, given.example_ids)
        np.testing.assert_array_equal(read.values, given.values)


def test_they_are_in_no_json(ledger):
    (path,) = ledger.root.glob("*.json")
    assert "predictions" not in json.loads(path.read_text())["result"]
    assert "predictions" not in to_json(Trial((), (0.5,), predictions=({"dev": DEV},)))
    assert the_file(ledger).name.startswith(f"{path.stem}.")


def test_a_training_without_them_is_found(ledger):
    the_file(ledger).unlink()
    assert ledger.find(KEY) == result_with({})
    assert ledger.find(KEY).predictions == {}


def test_a_later_training_without_them_leaves_no_old_ones(ledger):
    ledger.record(KEY, result_with({}))
    assert ledger.find(KEY).predictions == {}


@pytest.mark.parametrize("size", [0, 10, 200, -1])
def test_half_a_file_is_an_error_that_says_what_to_do(ledger, size):
    path = the_file(ledger)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StoreError, match=r"damaged; remove this file and [0-9a-f]{32}\.json"):
        ledger.find(KEY)


def test_a_changed_bit_is_an_error(ledger):
    path = the_file(ledger)
    whole = path.read_bytes()
    for place in range(0, len(whole), 13):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(StoreError, match="damaged"):
            ledger.find(KEY)


def test_files_of_a_record_of_before_are_found_by_its_name(ledger):
    (record,), path = list(ledger.root.glob("*.json")), the_file(ledger)
    values = json.loads(record.read_text())
    del values["result"]["files_beside"]
    record.write_text(json.dumps({**values, "sha256": digest_of(values["result"])}))
    path.rename(record.with_suffix(".npz"))
    assert sorted(ledger.find(KEY).predictions) == ["dev", "test"]
    record.with_suffix(".npz").unlink()
    assert ledger.find(KEY).predictions == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"dev.values": np.zeros((3, 2))},
        {"dev.values": np.zeros(2)},
        {"dev.values": np.array([[None], [None]], dtype=object)},
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(tmp_path, changes):
    path = tmp_path / "some.npz"
    arrays = {"dev.metric": "mean", "dev.example_ids": np.arange(2), **changes}
    np.savez(path, **arrays)
    with pytest.raises(StoreError, match="damaged"):
        read_predictions(path)
