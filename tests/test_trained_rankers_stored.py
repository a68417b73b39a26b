"""What rankers that train leave in the store: arrays, and what need not be trained again."""

from __future__ import annotations

import numpy as np
import pytest
from fake_runs import TASKS, open_fake

from gradts_plugin.errors import StoreError
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.records import Cost
from gradts_plugin.run import rank
from gradts_plugin.stores import keys
from gradts_plugin.stores.computed import Computed, ComputedValues
from gradts_plugin.testing.fake_host import FakeHost

pytestmark = pytest.mark.usefixtures("without_pages")

RANKERS = (
    {"name": "transfer"},
    {"name": "transfer", "linear_map": True},
    {"name": "task-vectors"},
    {"name": "lookahead"},
)


def test_arrays_come_back_beside_plain_values(tmp_path):
    store = ComputedValues(tmp_path / "computed")
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    key = {"name": "one"}
    store.record(key, Computed({"loss": 0.5, "map": array}, Cost(3, 4, 5.0)))
    found = ComputedValues(tmp_path / "computed").find(key)
    assert found.values["loss"] == 0.5
    assert isinstance(found.values["map"], np.memmap)
    assert found.values["map"].dtype == np.float16
    assert (found.values["map"] == array).all()
    assert found.cost == Cost(3, 4, 5.0)
    (file,) = (tmp_path / "computed").glob("*.npy")
    assert file.name.startswith(f"{store.digest(key)[:32]}.")
    assert store.find({"name": "another"}) is None


def test_an_array_that_was_removed_is_computed_again_and_a_damaged_one_is_named(tmp_path):
    store, key = ComputedValues(tmp_path), {"name": "one"}
    store.record(key, Computed({"map": np.ones(1000), "loss": 1}, Cost()))
    (file,) = tmp_path.glob("*.npy")
    whole = file.read_bytes()
    for damaged in (whole[:-8], whole[:20], b"", b"no array"):
        file.write_bytes(damaged)
        with pytest.raises(StoreError, match=f"{file} is damaged; remove this file"):
            store.find(key)
    file.unlink()
    assert store.find(key) is None


def test_no_array_is_ever_unpickled(tmp_path):
    store, key = ComputedValues(tmp_path), {"name": "one"}
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        store.record(key, Computed({"map": np.array([{}])}, Cost()))
    store.record(key, Computed({"map": np.ones(1)}, Cost()))
    (file,) = tmp_path.glob("*.npy")
    np.save(file, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(StoreError, match="damaged"):
        store.find(key)


def trainings_of(folder, ranker, *, primary="goal", candidates=("related", "words"), **values):
    """(fine-tunings that a plan foretells, those that a ranking then makes, the ranking)."""
    values = {
        "store": str(folder / "store"),
        "primary_task": primary,
        "candidate_tasks": list(candidates),
        "ranking": {"ranker": ranker},
        "method": "top",
        **values,
    }
    host = FakeHost(TASKS)
    planned = make_plan(open_fake(folder / "out", values, host=host), final_training=False)
    what = f"fine-tunings for {ranker['name']}"
    foretold = sum(part.num_to_do for part in planned.parts if part.what == what)
    engine = open_fake(folder / "out", values, host=host)
    ranking = rank(engine)
    assert engine.session.accounts.counters.training_runs == len(host.fine_tunings)
    return foretold, len(host.fine_tunings), ranking


@pytest.mark.parametrize(("linear_map", "another"), [(False, 2), (True, 1)])
def test_what_transfer_trains(linear_map, another, tmp_path):
    ranker = {"name": "transfer", "linear_map": linear_map}
    foretold, made, ranking = trainings_of(tmp_path, ranker)
    assert (foretold, made) == (2, 2)
    assert trainings_of(tmp_path, ranker) == (0, 0, ranking)
    more = trainings_of(tmp_path, ranker, candidates=("related", "words", "degree"))
    assert more[:2] == (1, 1)
    # Another primary: `ending` was no candidate before, the others were.
    other = trainings_of(tmp_path, ranker, primary="degree", candidates=("words", "ending"), seed=0)
    assert other[:2] == (another, another)


def test_what_task_vectors_train(tmp_path):
    ranker = {"name": "task-vectors"}
    foretold, made, ranking = trainings_of(tmp_path, ranker)
    assert (foretold, made) == (3, 3)
    assert trainings_of(tmp_path, ranker) == (0, 0, ranking)
    assert trainings_of(tmp_path, {**ranker, "scale": 0.2})[:2] == (0, 0)
    more = trainings_of(tmp_path, ranker, candidates=("related", "words", "degree"))
    assert more[:2] == (1, 1)
    # Another primary that was a candidate, and one that was not.
    assert trainings_of(tmp_path, ranker, primary="degree", candidates=("words",))[:2] == (0, 0)
    assert trainings_of(tmp_path, ranker, primary="ending", candidates=("words",))[:2] == (1, 1)


@pytest.mark.parametrize("ranker", RANKERS, ids=str)
def test_what_was_trained_belongs_to_its_settings(ranker, tmp_path):
    def made(**values):
        return trainings_of(tmp_path, ranker, **values)[1] > 0

    assert made()
    assert not made(training={"max_steps": 9})
    assert made(fine_tuning={"max_steps": 2, "learning_rate": 2e-3})
    assert made(seed=1)
    assert not made(seed=1)


@pytest.mark.parametrize(
    ("ranker", "anew"),
    [
        ({"name": "transfer"}, 3),  # of the pretrained encoder, and of two candidates
        ({"name": "transfer", "linear_map": True}, 3),
        ({"name": "task-vectors"}, 3),
    ],
    ids=str,
)
def test_another_fit_of_heads_makes_the_losses_anew(ranker, anew, tmp_path, monkeypatch):
    def stored():
        return len(list((tmp_path / "store" / "computed").glob("*.json")))

    trainings_of(tmp_path, ranker)
    before = stored()
    monkeypatch.setattr(keys, "HEAD_FIT_VERSION", keys.HEAD_FIT_VERSION + 1)
    *_, made, _ = trainings_of(tmp_path, ranker)
    assert stored() - before == anew
    assert made == (2 if ranker == {"name": "transfer"} else 0)  # maps and vectors fit no head


def test_lookahead_trains_all_tasks_together_once(tmp_path):
    ranker = {"name": "lookahead"}
    foretold, made, ranking = trainings_of(tmp_path, ranker)
    assert (foretold, made) == (1, 1)
    assert trainings_of(tmp_path, ranker) == (0, 0, ranking)
    assert trainings_of(tmp_path, ranker, candidates=("related", "degree"))[:2] == (1, 1)
    assert trainings_of(tmp_path, ranker, primary="degree")[:2] == (1, 1)


#: All of `goal`'s training instances are of one class: any head learns that.
@pytest.mark.parametrize("primary", [task.name for task in TASKS if task.name != "goal"])
@pytest.mark.parametrize("ranker", RANKERS, ids=str)
def test_primaries_of_every_kind_are_scored(primary, ranker, tmp_path):
    others = [task.name for task in TASKS if task.name != primary]
    *_, ranking = trainings_of(tmp_path, ranker, primary=primary, candidates=others)
    values = [found.tau for found in ranking.candidates]
    assert np.isfinite(values).all()
    assert len(set(values)) == len(values)
