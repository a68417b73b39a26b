"""Trainings are found or made by the engine, and nothing is kept that nobody needs."""

from fake_runs import TASKS, open_fake

from gradts_plugin.engine.jobs import TrialRequest
from gradts_plugin.testing.fake_host import FakeHost
from gradts_plugin.testing.fake_model import FakeTask

RELATED = TrialRequest(("related",), range(2))


def test_a_trial_says_whether_anything_was_trained_for_it(tmp_path):
    trainings = open_fake(tmp_path).trainings
    assert not trainings.score(TrialRequest(("related",), range(1))).reused
    assert trainings.score(TrialRequest(("related",), range(1))).reused
    assert not trainings.score(RELATED).reused  # its second seed is new


def test_weights_of_further_seeds_are_not_kept_for_a_moment(tmp_path):
    engine = open_fake(tmp_path)  # one training seed
    left = []

    trained = FakeHost.train

    def train(self, plan, *arguments, **options):
        left.append(len(list(tmp_path.glob("trials/*/best_model.p"))))
        return trained(self, plan, *arguments, **options)

    engine.session.host.train = train.__get__(engine.session.host)
    engine.trainings.score(TrialRequest(("related",), range(3)))
    # Before each training: nothing, the first seed's, and still only the first seed's.
    assert left == [0, 1, 1]


def test_what_is_stored_is_told_without_training(tmp_path):
    trainings = open_fake(tmp_path).trainings
    assert trainings.stored(RELATED) == []
    trial = trainings.score(TrialRequest(("related",), range(1)))
    assert [found.score for found in trainings.stored(RELATED)] == list(trial.scores)


def test_a_training_with_test_scores_serves_a_run_that_does_not_ask_for_them(tmp_path):
    store = {"store": str(tmp_path / "store")}
    trained = open_fake(tmp_path / "first", store).trainings.score(RELATED)
    assert len(trained.test_scores) == 2
    untested = FakeHost([FakeTask("goal", topic="goal"), *TASKS[1:]])
    found = open_fake(tmp_path / "second", store, host=untested).trainings.score(RELATED)
    assert found.reused
    assert found.scores == trained.scores
