"""What candidates gained other primaries: which stored trainings count, and what they come to."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fake_runs import open_fake
from tiny_encoders import save_tiny_encoder
from tiny_runs import EQUAL_EXPOSURE, write_run_file

from gradts_plugin import run
from gradts_plugin.engine.context import Context
from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.opening import open_run_file
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.plugins import make_plugin_manager
from gradts_plugin.settings.run_file import read_run_file
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

#: `other` and `third` are the other primaries, `goal` the run's own; of two kinds of sizes.
TASKS = (
    FakeTask("goal"),
    FakeTask("other", has_test=True),
    FakeTask("third", "regression", num_train=20),
    FakeTask("words", "tagging", num_train=9),
    FakeTask("ending", "multiple_choice"),
)

ALONE: tuple[str, ...] = ()
WORDS = ("words",)

#: (primary, auxiliaries) -> the score of each seed.
SCORES = {
    ("other", ALONE): (0.50, 0.52, 0.54),
    ("other", WORDS): (0.56, 0.56),
    ("other", ("ending",)): (0.60,),
    ("third", ALONE): (0.30,),
    ("third", WORDS): (0.29, 0.90),
    ("goal", ALONE): (0.10, 0.10),
    ("goal", WORDS): (0.99, 0.99),
}


class Store:
    """A store that a test fills with trainings."""

    def __init__(self, folder, scores=None, *, tasks=TASKS):
        self.folder = folder
        self.scores = dict(scores or {})
        self.host = FakeHost(tasks, score=self._score)

    def opened(self, primary="goal", *, host=None, **values):
        given = {"primary_task": primary, "store": str(self.folder / "store"), **values}
        return open_fake(self.folder / "out", given, host=host or self.host)

    def fill(self):
        for (primary, auxiliaries), scores in self.scores.items():
            self.train(primary, auxiliaries, len(scores))
        return self

    def train(self, primary, auxiliaries, num_seeds=1, *, request=None, **values):
        """Trains as a run of this primary would."""
        asked = TrialRequest(auxiliaries, range(num_seeds), **(request or {}))
        self.opened(primary, **values).trainings.score(asked)

    def gains(self, primary="goal", **values):
        found = Context(self.opened(primary, **values)).gains_for_others()
        return {name: gains for name, gains in found.items() if gains}

    def _score(self, training):
        known = self.scores.get((training.primary_task, training.auxiliary_tasks), (0.5,) * 9)
        return known[training.seed]


def near(expected):
    return {name: pytest.approx(gains) for name, gains in expected.items()}


# --- which count ----------------------------------------------------------------------------------


def test_gains_are_means_over_shared_seeds_of_each_other_primary(tmp_path):
    # other: (0.06 + 0.04) / 2 and 0.10; third: 0.29 - 0.30, its second seed without one alone.
    found = Store(tmp_path, SCORES).fill().gains()
    assert {name: sorted(gains) for name, gains in found.items()} == near(
        {"words": [-0.01, 0.05], "ending": [0.10]}
    )


def test_a_primary_is_no_donor_to_itself(tmp_path):
    found = Store(tmp_path, SCORES).fill().gains("other")
    assert {name: sorted(gains) for name, gains in found.items()} == near({"words": [-0.01, 0.89]})


def test_every_candidate_is_told_of_and_nothing_else(tmp_path):
    store = Store(tmp_path, SCORES).fill()
    found = Context(store.opened(candidate_tasks=["ending", "third"])).gains_for_others()
    assert {name: len(gains) for name, gains in found.items()} == {"ending": 1, "third": 0}


def test_nothing_is_trained_or_written(tmp_path):
    store = Store(tmp_path, SCORES).fill()
    trained, files = len(store.host.trained), sorted(tmp_path.rglob("*"))
    store.gains()
    assert len(store.host.trained) == trained
    assert sorted(tmp_path.rglob("*")) == files
    assert Store(tmp_path / "empty").gains() == {}
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"training": {"max_steps": 5}},
        {"training": {"max_steps": 4, "batch_size": 3}},
        {"training": {"max_steps": 4, "learning_rate": 0.5}},
        {"training": {"max_steps": 4, "evaluations": 2}},
        {"training": {"max_steps": 4, "exposure": "equal"}},
        {"seeded_heads": False},
    ],
    ids=str,
)
def test_nothing_of_another_recipe_counts(tmp_path, values):
    store = Store(tmp_path, SCORES).fill()
    assert store.gains() != {}
    assert store.gains(**values) == {}


def test_nothing_of_another_encoder_counts(tmp_path):
    class Other(FakeHost):
        encoder_fingerprint = "another"

    store = Store(tmp_path, SCORES).fill()
    assert store.gains(host=Other(TASKS)) == {}


@pytest.mark.parametrize(
    "request_of",
    [
        {"kept_instances": {"words": np.arange(4)}},
        {"mixing_ratios": {"other": 2, "words": 1}},
        {"mixing_ratios": {"other": 1, "words": 1}, "block_steps": 2},
    ],
    ids=str,
)
def test_only_whole_candidates_count_that_are_trained_as_a_trial_trains_them(tmp_path, request_of):
    store = Store(tmp_path)
    store.train("other", ALONE)
    store.train("other", WORDS, request=request_of)
    store.train("other", ("words", "ending"))
    assert store.gains() == {}
    store.train("other", WORDS)
    assert store.gains() == {"words": (0.0,)}


def test_a_candidate_with_other_data_is_another_one(tmp_path):
    store = Store(tmp_path, SCORES).fill()
    changed = [dataclasses.replace(t, num_train=5) if t.name == "words" else t for t in TASKS]
    assert set(store.gains(host=FakeHost(changed))) == {"ending"}


def test_a_primary_that_was_trained_alone_on_other_data_has_no_gain(tmp_path):
    store = Store(tmp_path)
    smaller = [dataclasses.replace(t, num_train=5) if t.name == "other" else t for t in TASKS]
    store.train("other", ALONE)
    store.train("other", WORDS, host=FakeHost(smaller))
    assert store.gains() == {}
    store.train("other", ALONE, host=FakeHost(smaller))
    assert set(store.gains()) == {"words"}


def test_the_same_primary_with_two_sizes_is_one(tmp_path):
    store = Store(tmp_path, {("other", ALONE): (0.5,), ("other", WORDS): (0.6,)}).fill()
    smaller = [dataclasses.replace(t, num_train=5) if t.name == "other" else t for t in TASKS]
    beside = FakeHost(smaller, score=lambda t: 0.5 + 0.3 * bool(t.auxiliary_tasks))
    for auxiliaries in (ALONE, WORDS):
        store.train("other", auxiliaries, host=beside)
    assert store.gains() == near({"words": (0.2,)})


def test_undefined_scores_are_no_gains(tmp_path):
    scores = {("other", ALONE): (0.5, 0.5), ("other", WORDS): (None, 0.6)}
    assert Store(tmp_path, scores).fill().gains() == near({"words": (0.1,)})
    undefined = {("other", ALONE): (None,), ("other", WORDS): (0.6,)}
    assert Store(tmp_path / "alone", undefined).fill().gains() == {}


def test_with_equal_exposure_alone_is_the_better_of_its_lengths(tmp_path):
    equal = {"training": {"max_steps": 4, "exposure": "equal"}}

    def score(training):
        longer = host.trained[-1].recipe.max_steps == 8
        return 0.56 if training.auxiliary_tasks else 0.5 + 0.05 * longer

    host = FakeHost(TASKS, score=score)
    store = Store(tmp_path)
    for auxiliaries in (ALONE, WORDS):
        store.train("other", auxiliaries, host=host, **equal)
    assert len(host.trained) == 3
    assert store.gains(**equal) == near({"words": (0.01,)})
    # Twice the auxiliaries are another recipe, and so is another length of alone.
    assert store.gains(training={**equal["training"], "auxiliary_ratio": 2.0}) == {}


@pytest.mark.parametrize("exposure", ["total", "equal"])
@pytest.mark.parametrize(
    ("length", "counts"), [({"epochs": 2}, False), ({"max_steps": 4}, True)], ids=str
)
def test_of_a_primary_that_the_host_does_not_know_the_steps_have_to_be_ours(
    tmp_path, exposure, length, counts
):
    training = {**length, "exposure": exposure}
    store = Store(tmp_path)
    for auxiliaries in (ALONE, WORDS):
        store.train("third", auxiliaries, training=training)
    # As the host would train it: its 20 instances take more steps than the 12 of the run's own.
    assert set(store.gains(training=training)) == {"words"}
    without = FakeHost([task for task in TASKS if task.name != "third"])
    assert bool(store.gains(host=without, training=training)) == counts
    # Of other data it would take other steps.
    changed = [dataclasses.replace(t, num_train=12) if t.name == "third" else t for t in TASKS]
    assert bool(store.gains(host=FakeHost(changed), training=training)) == counts


def test_what_is_damaged_matters_where_it_is_needed(tmp_path):
    store = Store(tmp_path, SCORES).fill()
    before = store.gains()
    (tmp_path / "store" / "trainings" / "0.json").write_text("{", encoding="utf-8")
    (tmp_path / "store" / "trainings" / "1.json").write_text("[]", encoding="utf-8")
    assert store.gains() == before


# --- the ranker -----------------------------------------------------------------------------------

DONORS = {"ranking": {"ranker": "donors", "bootstrap": 100}}


def test_the_ranker_shrinks_the_mean_by_the_number_of_primaries(tmp_path):
    store = Store(tmp_path, SCORES).fill()
    trained = len(store.host.trained)
    engine = store.opened(**DONORS)
    ranking = run.rank(engine)
    # words: (0.05 - 0.01) / 2 * 2 / (2 + 3); ending: 0.10 * 1 / (1 + 3).
    assert [(c.task_name, c.tau) for c in ranking.candidates] == [
        ("ending", pytest.approx(0.025)),
        ("words", pytest.approx(0.008)),
        ("other", 0.0),
        ("third", 0.0),
    ]
    assert (ranking.ranker, ranking.measure) == ("donors", "gain for others")
    assert len(store.host.trained) == trained
    assert engine.session.accounts.counters.probes == 0
    assert engine.session.accounts.cost.seconds == 0


def test_a_plan_knows_the_ranking_and_that_it_is_free(tmp_path):
    store = Store(tmp_path, SCORES).fill()
    values = {**DONORS, "method": {"name": "top", "k": 1}}
    plan = make_plan(store.opened(**values), final_training=True)
    assert {part.phase for part in plan.parts} == {"train"}
    assert plan.auxiliary_tasks == ("ending",)
    assert run.run(store.opened(**values)).selection.auxiliary_tasks == ("ending",)


def test_trainings_of_another_primary_through_jiant_are_found(tmp_path):
    save_tiny_encoder("bert", tmp_path / "encoder")

    def opened(primary, method):
        path = write_run_file(
            tmp_path,
            tmp_path / "encoder",
            ("topic", "match", "words"),
            primary_task=primary,
            candidate_tasks=["words"],
            method=method,
            output_dir=primary,
            store="store",
            training=EQUAL_EXPOSURE,
            ranking={"ranker": "donors", "bootstrap": 100},
        )
        manager = make_plugin_manager(entry_points=False)
        return open_run_file(read_run_file(path), manager)

    outcome = run.run(opened("match", "all"))
    alone, selected = outcome.alone.score, outcome.selected.score
    assert outcome.done.training_runs == 3
    assert Context(opened("topic", "top")).gains_for_others() == {
        "words": (pytest.approx(selected - alone),)
    }
