"""The fake host carries whole runs, in which everything that is trained scores differently."""

from __future__ import annotations

import pytest

from gradts_plugin import pipeline
from gradts_plugin.engine.session import Session
from gradts_plugin.plugins import collect_registry, make_plugin_manager
from gradts_plugin.run import rank, run
from gradts_plugin.settings.selection import GradTSSettings
from gradts_plugin.stores.computed import ComputedValues
from gradts_plugin.stores.importances import GradientStore
from gradts_plugin.stores.trainings import TrialLedger
from gradts_plugin.testing.fake_host import FakeHost, additive_score
from gradts_plugin.testing.fake_model import FakeTask
from gradts_plugin.testing.fake_training import FakeTraining

TASKS = (
    FakeTask("goal", topic="goal", has_test=True),
    FakeTask("related", topic="goal"),
    FakeTask("words", "tagging", num_train=9),
    FakeTask("degree", "regression"),
    FakeTask("ending", "multiple_choice"),
)


def session_on(host, folder, **settings):
    manager = make_plugin_manager([])
    return Session(
        host=host,
        settings=GradTSSettings.model_validate(
            {
                "primary_task": "goal",
                "training": {"max_steps": 4},
                "fine_tuning": {"max_steps": 2},
                "ranking": {"bootstrap": 100},
                "autosem": {"rounds": 6, "steps_per_round": 2, "trials": 4},
                **settings,
            }
        ),
        manager=manager,
        registry=collect_registry(manager),
        store=GradientStore(folder / "importances"),
        ledger=TrialLedger(folder / "trainings"),
        computed=ComputedValues(folder / "computed"),
        output_dir=folder / "out",
    )


@pytest.mark.parametrize("method", ["thres", "trial", "fg", "all", "top", "autosem-p1", "autosem"])
def test_every_method_runs_on_it(method, tmp_path):
    host = FakeHost(TASKS)
    outcome = run(session_on(host, tmp_path, method=method))
    assert outcome.selected.test_scores != outcome.selected.scores
    assert all(host.weights_of(folder).exists() for folder in outcome.selected.output_dirs)
    assert host.asked["train"] == len(host.trained) == outcome.counters.training_runs
    assert outcome.config_path.exists()


@pytest.mark.parametrize("ranker", ["heads", "embedding", "logme", "gradients", "size", "random"])
@pytest.mark.parametrize("model", ["frozen", "fine-tuned"])
def test_every_ranker_runs_on_it(ranker, model, tmp_path):
    session = session_on(
        FakeHost(TASKS),
        tmp_path,
        ranking={"ranker": ranker, "bootstrap": 100},
        probing={"model": model},
    )
    ranking = rank(session)
    assert set(ranking.task_order) == {task.name for task in TASKS[1:]}


def test_what_is_trained_decides_the_score(tmp_path):
    def training(**changes):
        return FakeTraining(
            **{
                "primary_task": "goal",
                "auxiliary_tasks": ("related",),
                "kept_instances": {},
                "mixing_ratios": {},
                "seed": 0,
                "evaluation": 2,
                "num_evaluations": 2,
                **changes,
            }
        )

    changes = [
        {},
        {"primary_task": "words"},
        {"auxiliary_tasks": ()},
        {"auxiliary_tasks": ("related", "words")},
        {"kept_instances": {"related": (1, 2)}},
        {"kept_instances": {"related": (1, 3)}},
        {"mixing_ratios": {"goal": 1, "related": 2}},
        {"mixing_ratios": {"goal": 2, "related": 1}},
        {"seed": 1},
        {"evaluation": 1},
        {"on_test_set": True},
    ]
    scores = [additive_score(training(**change)) for change in changes]
    assert len(set(scores)) == len(scores)
    assert scores == [additive_score(training(**change)) for change in changes]


def test_the_best_trial_is_what_the_scores_say(tmp_path):
    def score(training):
        return 0.9 if training.auxiliary_tasks == ("related", "ending") else 0.1 * training.seed

    session = session_on(FakeHost(TASKS, score=score), tmp_path, method="all")
    selected = pipeline.score_tasks(session, ("ending", "related"), {})
    alone = pipeline.score_tasks(session, (), {}, num_seeds=3)
    assert selected.scores == (0.9,)
    assert alone.scores == pytest.approx((0, 0.1, 0.2))
