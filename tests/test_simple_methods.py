"""The selection methods without a search: the primary alone, all candidates, the top k."""

from __future__ import annotations

import json

import pytest
from fake_runs import TASKS, open_fake, settings_of
from tiny_runs import Recorder

from gradts_plugin.errors import ConfigError
from gradts_plugin.planning.plan import make_plan
from gradts_plugin.records import Cost, RankedTask, Ranking
from gradts_plugin.run import run
from gradts_plugin.selection.alone import select_nothing
from gradts_plugin.selection.everything import select_everything
from gradts_plugin.selection.top import TopSettings, select_top
from gradts_plugin.settings.parsing import NoSettings
from gradts_plugin.testing.fake_host import FakeHost


class Context:
    """Three candidates, ranked; nothing can be trained."""

    settings = settings_of({"training": {"exposure": "total"}})

    primary_task = "p"
    candidate_tasks = ("a", "b", "c")

    def __init__(self):
        self.ranking = Ranking(
            primary_task="p",
            candidates=tuple(
                RankedTask(name, tau, None, None)
                for name, tau in (("b", 0.5), ("c", 0.25), ("a", -1.0))
            ),
            confidence=0.95,
            num_seeds=1,
            covers=(),
            num_heads_total=0,
            task_names=("p", "a", "b", "c"),
            task_taus=None,
            ranker="embedding",
            measure="similarity",
        )


class Unranked(Context):
    """A ranking may not be asked for."""

    def __init__(self):
        """Ranks nothing."""

    @property
    def ranking(self):
        pytest.fail("asked for a ranking")


def test_alone_selects_nothing_and_tries_nothing():
    selection = select_nothing(Unranked(), NoSettings())
    assert selection.auxiliary_tasks == ()
    assert selection.method == "alone"
    assert selection.trials == ()
    assert selection.reason == "p alone, as asked for"


def alone_with_equal_exposure(folder, *, longer_adds, training_seeds=1, method="alone"):
    """A run that scores so much higher at twice its 4 steps; the lengths it trained, too."""
    host = FakeHost(TASKS, score=lambda _: 0.5 + longer_adds * (_length(host) == 8))
    values = {
        "method": method,
        "training": {"max_steps": 4, "exposure": "equal"},
        "training_seeds": training_seeds,
    }

    def opened():
        return open_fake(folder, values, host=host)

    foretold = make_plan(opened(), final_training=True)
    outcome = run(opened())
    assert make_plan(opened(), final_training=True).nothing_to_do
    return foretold, outcome, [plan.recipe.max_steps for plan in host.trained]


def _length(host):
    return host.trained[-1].recipe.max_steps


@pytest.mark.parametrize(("longer_adds", "better"), [(0.1, 8), (-0.1, 4), (0.0, 4)])
def test_alone_with_equal_exposure_is_the_better_of_two_lengths(tmp_path, longer_adds, better):
    foretold, outcome, lengths = alone_with_equal_exposure(tmp_path, longer_adds=longer_adds)
    assert lengths == [4, 8]
    assert outcome.selection.auxiliary_tasks == ()
    assert outcome.selected.longer == (better == 8)
    assert outcome.selected.score == max(0.5, 0.5 + longer_adds)
    assert json.loads(outcome.config_path.read_text())["recipe"]["max_steps"] == better
    reason = "goal alone, as asked for"
    if better == 8:
        reason += "; alone for as many steps as with auxiliaries, which is better than its own"
    assert outcome.selection.reason == reason
    assert [path.exists() for path in outcome.weights] == [True]
    assert [plan_part(foretold, what) for what in ("trials", "final trainings")] == [2, 0]
    assert outcome.cost.num_steps == 12


def test_alone_with_equal_exposure_trains_every_seed_at_both_lengths(tmp_path):
    foretold, outcome, lengths = alone_with_equal_exposure(
        tmp_path, longer_adds=0.1, training_seeds=3
    )
    assert lengths == [4, 4, 4, 8, 8, 8]
    assert outcome.done.training_runs == plan_part(foretold, "trials") == 6
    assert not foretold.upper_bound


def test_a_method_that_trains_nothing_and_selects_nothing_delivers_the_better_length(tmp_path):
    out_of_reach = {"name": "thres", "threshold": 1.0}
    _, outcome, lengths = alone_with_equal_exposure(tmp_path, longer_adds=0.1, method=out_of_reach)
    assert lengths == [4, 8]
    assert outcome.selection.auxiliary_tasks == ()
    assert "reached by no candidate" in outcome.selection.reason
    assert "alone for as many steps as with auxiliaries" in outcome.selection.reason
    assert outcome.selected.longer
    assert json.loads(outcome.config_path.read_text())["recipe"]["max_steps"] == 8


def plan_part(plan, what):
    """How many trainings of a kind are to do."""
    return sum(part.num_to_do for part in plan.parts if part.what == what)


def test_all_selects_every_candidate_in_the_given_order():
    selection = select_everything(Unranked(), NoSettings())
    assert selection.auxiliary_tasks == ("a", "b", "c")
    assert selection.reason == "all 3 candidates, as asked for"


@pytest.mark.parametrize(("k", "expected"), [(1, "b"), (2, "bc"), (3, "bca"), (9, "bca")])
def test_top_selects_the_best_ranked(k, expected):
    assert select_top(Context(), TopSettings(k=k)).auxiliary_tasks == tuple(expected)


def test_top_says_what_the_candidates_were_ranked_by():
    assert select_top(Context(), TopSettings()).reason == (
        "the 2 best-ranked of 3 candidates (similarity): b 0.500, c 0.250"
    )


def test_top_needs_a_task_to_take(tmp_path):
    with pytest.raises(ConfigError, match=r"method: k: must be above 0"):
        open_fake(tmp_path, {"method": {"name": "top", "k": 0}})


@pytest.mark.parametrize(
    ("method", "expected"), [("alone", ()), ("all", ("related", "words", "degree", "ending"))]
)
def test_alone_and_all_probe_and_rank_nothing(method, expected, tmp_path):
    recorder = Recorder()
    outcome = run(open_fake(tmp_path, {"method": method}, plugins=[recorder]))
    assert outcome.ranking is None
    assert outcome.selection.auxiliary_tasks == expected
    assert outcome.cost == Cost()
    assert recorder.of("after_task_probed") == []
    assert "rank" not in outcome.seconds
    config = json.loads(outcome.config_path.read_text())
    assert config["train_tasks"] == ["goal", *expected]
