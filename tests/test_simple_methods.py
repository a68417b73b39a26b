"""The selection methods without a search: the primary alone, all candidates, the top k."""

from __future__ import annotations

import json

import pytest
from fake_runs import open_fake
from tiny_runs import Recorder

from gradts_plugin.errors import ConfigError
from gradts_plugin.records import Cost, RankedTask, Ranking
from gradts_plugin.run import run
from gradts_plugin.selection.alone import select_nothing
from gradts_plugin.selection.everything import select_everything
from gradts_plugin.selection.top import TopSettings, select_top
from gradts_plugin.settings.parsing import NoSettings


class Context:
    """Three candidates, ranked; nothing can be trained."""

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


def test_alone_selects_nothing():
    selection = select_nothing(Unranked(), NoSettings())
    assert selection.auxiliary_tasks == ()
    assert selection.method == "alone"


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
    with pytest.raises(ConfigError, match=r"method: k: .*greater than 0"):
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
