"""The fake host carries whole runs, in which everything that is trained scores differently."""

from __future__ import annotations

import pytest
from fake_runs import TASKS, open_fake

from gradts_plugin.engine.context import Context
from gradts_plugin.run import rank, run
from gradts_plugin.testing.fake_host import FakeHost, additive_score
from gradts_plugin.testing.fake_training import FakeTraining


@pytest.mark.parametrize("method", ["thres", "trial", "fg", "all", "top", "autosem-p1", "autosem"])
def test_every_method_runs_on_it(method, tmp_path):
    host = FakeHost(TASKS)
    outcome = run(open_fake(tmp_path, {"method": method}, host=host))
    assert outcome.selected.test_scores != outcome.selected.scores
    assert all(host.weights_of(folder).exists() for folder in outcome.selected.output_dirs)
    assert host.asked["train"] == len(host.trained) == outcome.done.training_runs
    assert outcome.config_path.exists()


@pytest.mark.parametrize(
    "ranker", ["heads", "embedding", "logme", "gradients", "size", "random", "donors"]
)
@pytest.mark.parametrize("model", ["frozen", "fine-tuned"])
def test_every_ranker_runs_on_it(ranker, model, tmp_path):
    ranking = rank(
        open_fake(
            tmp_path,
            {"ranking": {"ranker": ranker, "bootstrap": 100}, "probing": {"model": model}},
        )
    )
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

    context = Context(open_fake(tmp_path, {"method": "all"}, host=FakeHost(TASKS, score=score)))
    selected = context.score(("ending", "related"))
    alone = context.score((), num_seeds=3)
    assert selected.scores == (0.9,)
    assert alone.scores == pytest.approx((0, 0.1, 0.2))
