"""The trial ledger: a finished run is found again exactly, or not at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradts_plugin.errors import StoreError
from gradts_plugin.records import TrainingResult
from gradts_plugin.stores.computed import ComputedValues
from gradts_plugin.stores.trainings import TrialLedger

KEY = {
    "encoder": "e" * 64,
    "train_tasks": [("rte", "aa"), ("mnli", "bb")],
    "seed": 0,
    "training": {"recipe": {"epochs": 3.0}},
    "kept_instances": {},
}


def result_with(**changes):
    values = {
        "score": 0.625,
        "metrics": {"accuracy": 0.625},
        "history": (0.5, 0.625),
        "num_steps": 20,
        "num_examples": 640,
        "seconds": 1.5,
        "output_dir": None,
    }
    return TrainingResult(**{**values, **changes})


SCORES = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None, max_examples=30)
@given(
    score=SCORES,
    history=st.lists(SCORES, max_size=3),
    steps=st.integers(0, 10**9),
)
def test_a_recorded_run_is_found_again_exactly(tmp_path_factory, score, history, steps):
    ledger = TrialLedger(tmp_path_factory.mktemp("ledger"))
    result = result_with(score=score, history=tuple(history), num_steps=steps)
    ledger.record(KEY, result)
    assert ledger.find(KEY) == result


def test_an_undefined_metric_is_null(tmp_path):
    ledger = TrialLedger(tmp_path)
    ledger.record(KEY, result_with(score=None, metrics={"pearson": None}))
    (path,) = tmp_path.iterdir()
    written = json.loads(path.read_text())["result"]
    assert (written["score"], written["metrics"]) == (None, {"pearson": None})


def test_a_later_process_finds_it(tmp_path):
    TrialLedger(tmp_path / "ledger").record(KEY, result_with())
    assert TrialLedger(tmp_path / "ledger").find(KEY) == result_with()


@pytest.mark.parametrize("name", sorted(KEY))
def test_anything_in_the_key_makes_another_run(tmp_path, name):
    ledger = TrialLedger(tmp_path)
    ledger.record(KEY, result_with())
    assert ledger.find({**KEY, name: "changed"}) is None
    assert ledger.find({other: value for other, value in KEY.items() if other != name}) is None


def test_the_order_of_tasks_counts_and_the_order_of_settings_does_not(tmp_path):
    ledger = TrialLedger(tmp_path)
    ledger.record(KEY, result_with())
    assert ledger.find({**KEY, "train_tasks": [("mnli", "bb"), ("rte", "aa")]}) is None
    same = {name: KEY[name] for name in reversed(KEY)}
    assert ledger.find({**same, "train_tasks": [["rte", "aa"], ["mnli", "bb"]]}) == result_with()
    assert ledger.digest(same) == ledger.digest(KEY)


def test_nothing_is_made_by_looking(tmp_path):
    assert TrialLedger(tmp_path / "ledger").find(KEY) is None
    assert list(tmp_path.iterdir()) == []


def test_work_that_was_killed_goes_on_after_the_last_finished_seed(tmp_path):
    def train_all(ledger, seeds, stop_before=None):
        trained = []
        for seed in seeds:
            key = {**KEY, "seed": seed}
            if ledger.find(key) is None:
                if seed == stop_before:
                    raise KeyboardInterrupt
                ledger.record(key, result_with(num_steps=seed))
                trained.append(seed)
        return trained

    with pytest.raises(KeyboardInterrupt):
        train_all(TrialLedger(tmp_path), range(4), stop_before=2)
    assert train_all(TrialLedger(tmp_path), range(4)) == [2, 3]


def test_output_folders_move_with_the_ledger(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    folder = before / "trials" / "one"
    folder.mkdir(parents=True)
    TrialLedger(before / "store" / "runs").record(KEY, result_with(output_dir=folder))
    before.rename(after)
    found = TrialLedger(after / "store" / "runs").find(KEY)
    assert found.output_dir == after / "trials" / "one"


def test_an_output_folder_that_is_gone_is_not_promised(tmp_path):
    folder = tmp_path / "trials"
    folder.mkdir()
    ledger = TrialLedger(tmp_path / "ledger")
    ledger.record(KEY, result_with(output_dir=folder))
    folder.rmdir()
    assert ledger.find(KEY) == result_with(output_dir=None)


# --- what is never used -------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path):
    TrialLedger(tmp_path).record(KEY, result_with())
    (path,) = tmp_path.iterdir()
    return path


def changed(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff"])
def test_a_damaged_record_is_an_error_that_says_what_to_do(path, content):
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"is damaged.*remove this file") as caught:
        TrialLedger(path.parent).find(KEY)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_changed_score_is_an_error(path):
    changed(path, lambda record: record["result"].update(score=0.99))
    with pytest.raises(StoreError, match="checksum"):
        TrialLedger(path.parent).find(KEY)


@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("kind", [TrialLedger, ComputedValues])
def test_a_folder_of_another_version_is_an_error_before_anything_is_looked_up(path, kind, version):
    changed(path, lambda record: record.update(format_version=version))
    with pytest.raises(
        StoreError,
        match=rf"has format version {version}, this is version 2; remove it or give another folder",
    ) as caught:
        kind(path.parent)
    assert "\n" not in str(caught.value)


def test_a_record_of_another_version_is_an_error(path):
    ledger = TrialLedger(path.parent)
    changed(path, lambda record: record.update(format_version=1))
    with pytest.raises(StoreError, match="has format version 1, this is version 2; remove this"):
        ledger.find(KEY)


def test_another_key_under_this_name_is_an_error(path):
    changed(path, lambda record: record["key"].update(seed=1))
    with pytest.raises(StoreError, match="belongs to other settings"):
        TrialLedger(path.parent).find(KEY)


def test_a_file_as_ledger_is_an_error(tmp_path):
    (tmp_path / "ledger").write_text("")
    with pytest.raises(StoreError, match="is a file; give a folder"):
        TrialLedger(tmp_path / "ledger")
