"""The method from end to end, on the fake host."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fake_runs import TASKS, open_fake

from gradts_plugin import run
from gradts_plugin.hookspecs import hookimpl
from gradts_plugin.stores.files import linked_or_copied
from gradts_plugin.testing.fake_host import FakeHost

METHODS = ("trial", "thres", "fg", "top", "alone", "all", "autosem-p1", "autosem", "matched")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_a_rerun_computes_nothing(tmp_path, method):
    ranker = "matching" if method == "matched" else "heads"
    values = {"method": method, "ranking": {"ranker": ranker, "bootstrap": 100}}
    outcome = run.run(open_fake(tmp_path, values))
    assert outcome.selection.method == method
    assert outcome.done.training_runs > 0
    again = run.run(open_fake(tmp_path, values))
    assert (again.done.training_runs, again.done.probes) == (0, 0)
    assert again.selection.auxiliary_tasks == outcome.selection.auxiliary_tasks
    assert again.cost == outcome.cost
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["selection"]["auxiliary_tasks"] == list(outcome.selection.auxiliary_tasks)
    assert [Path(path).exists() for path in written["weights"]] == [True]


class Phases:
    """Hears of phases."""

    def __init__(self):
        self.begun = {}

    @hookimpl
    def before_phase(self, phase, num_units):
        self.begun[phase] = num_units


def test_every_phase_says_how_much_there_is_to_do_at_most(tmp_path):
    heard = Phases()
    values = {"training_seeds": 2, "method": "all"}
    run.run(open_fake(tmp_path, values, plugins=[heard]))
    candidates = len(TASKS) - 1
    assert heard.begun["select"] == (1 + candidates) * 2
    assert heard.begun["rewrite"] == 1
    assert heard.begun["train"] == 2 * 2  # the selection, and the primary alone


def test_only_the_delivered_weights_are_left(tmp_path):
    outcome = run.run(open_fake(tmp_path, {"training_seeds": 2}))
    assert sorted(tmp_path.glob("trials/*/best_model.p")) == sorted(outcome.weights)
    assert len(outcome.weights) == 2


def test_a_run_leaves_the_weights_of_another_run_alone(tmp_path):
    host = FakeHost(TASKS)
    store = {"store": str(tmp_path / "store")}
    delivered = run.run(open_fake(tmp_path / "first", store, host=host)).weights
    # The same trainings are found, and lose or win, in the second run's folder.
    run.run(open_fake(tmp_path / "second", {**store, "training_seeds": 2}, host=host))
    assert all(path.exists() for path in delivered)


def test_weights_that_another_run_has_are_delivered_in_the_own_folder(tmp_path):
    host = FakeHost(TASKS)
    store = {"store": str(tmp_path / "store"), "method": "all"}
    (first,) = run.run(open_fake(tmp_path / "first", store, host=host)).weights
    num_trained = len(host.trained)
    (second,) = run.run(open_fake(tmp_path / "second", store, host=host)).weights
    assert len(host.trained) == num_trained
    assert second.is_relative_to(tmp_path / "second")
    first.unlink()  # as a run does that is still searching
    assert second.exists()
    again = run.run(open_fake(tmp_path / "second", store, host=host))
    assert again.weights == (second,)
    assert len(host.trained) == num_trained


def test_weights_that_another_run_removes_while_they_are_brought_are_trained(tmp_path, monkeypatch):
    host = FakeHost(TASKS)
    store = {"store": str(tmp_path / "store"), "method": "alone"}
    (first,) = run.run(open_fake(tmp_path / "first", store, host=host)).weights
    linked = os.link

    def removed(source, destination):
        first.unlink(missing_ok=True) if source == first else None
        linked(source, destination)

    monkeypatch.setattr(os, "link", removed)
    (second,) = run.run(open_fake(tmp_path / "second", store, host=host)).weights
    assert second.is_relative_to(tmp_path / "second")


def test_where_files_have_one_name_only_weights_are_copied(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "a").write_text("weights")
    linked_or_copied(tmp_path / "a", tmp_path / "below" / "b")
    assert (tmp_path / "below" / "b").read_text() == "weights"
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["b"]


def test_what_an_earlier_result_in_the_folder_delivered_stays(tmp_path):
    first = run.run(open_fake(tmp_path, {"method": "all"}))
    second = run.run(open_fake(tmp_path, {"method": "alone"}))
    third = run.run(open_fake(tmp_path, {"method": "trial"}))
    for outcome in (first, second, third):
        assert all(path.exists() for path in outcome.weights)
    assert set(third.earlier_weights) >= set(first.weights)


def test_the_weights_of_a_lucky_first_seed_do_not_push_out_the_best(tmp_path):
    # With one seed each prefix looks better than the one before; none is confirmed but the first.
    lucky = {1: (0.5, 0.5), 2: (0.6, 0.6), 3: (0.7, 0.1), 4: (0.8, 0.1), 5: (0.9, 0.1)}

    def score(training):
        return lucky[1 + len(training.auxiliary_tasks)][training.seed]

    values = {"method": {"name": "trial", "patience": 9}}
    outcome = run.run(open_fake(tmp_path, values, host=FakeHost(TASKS, score=score)))
    assert len(outcome.selection.auxiliary_tasks) == 1
    assert outcome.done.training_runs == 5 * 2  # the selection kept its weights
