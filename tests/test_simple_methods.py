"""The selection methods without a search: the primary alone, all candidates, the top k."""

from __future__ import annotations

import json

import pytest
from tiny_encoders import save_tiny_encoder
from tiny_runs import Recorder, run_command, with_plugins, write_run_file

from gradts_plugin.errors import ConfigError
from gradts_plugin.records import RankedTask, Ranking
from gradts_plugin.selection.alone import select_nothing
from gradts_plugin.selection.everything import select_everything
from gradts_plugin.selection.top import select_top
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.selection import GradTSSettings


class Context:
    """Three candidates, ranked; nothing can be trained."""

    primary_task = "p"
    candidate_tasks = ("a", "b", "c")

    def __init__(self, **settings):
        self.settings = GradTSSettings(**settings)
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
        self.settings = GradTSSettings()

    @property
    def ranking(self):
        pytest.fail("asked for a ranking")


def test_alone_selects_nothing():
    selection = select_nothing(Unranked())
    assert selection.auxiliary_tasks == ()
    assert selection.method == "alone"


def test_all_selects_every_candidate_in_the_given_order():
    selection = select_everything(Unranked())
    assert selection.auxiliary_tasks == ("a", "b", "c")
    assert selection.reason == "all 3 candidates, as asked for"


@pytest.mark.parametrize(("k", "expected"), [(1, "b"), (2, "bc"), (3, "bca"), (9, "bca")])
def test_top_selects_the_best_ranked(k, expected):
    assert select_top(Context(top={"k": k})).auxiliary_tasks == tuple(expected)


def test_top_says_what_the_candidates_were_ranked_by():
    assert select_top(Context()).reason == (
        "the 2 best-ranked of 3 candidates (similarity): b 0.500, c 0.250"
    )


def test_top_needs_a_task_to_take():
    with pytest.raises(ConfigError, match=r"top\.k: .*greater than 0"):
        parse_settings(GradTSSettings, {"top": {"k": 0}}, where="run.yaml")


@pytest.mark.parametrize(
    ("method", "expected"), [("alone", []), ("all", ["match", "degree", "words", "ending"])]
)
def test_alone_and_all_probe_and_rank_nothing(method, expected, tmp_path, monkeypatch):
    encoder = save_tiny_encoder("bert", tmp_path / "bert")
    recorder = Recorder()
    with_plugins(monkeypatch, recorder)
    answer = run_command("run", write_run_file(tmp_path, encoder, method=method), "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result["ranking"] is None
    assert result["selection"]["auxiliary_tasks"] == expected
    assert result["cost"]["num_examples"] == 0
    assert recorder.of("after_task_probed") == []
    config = json.loads((tmp_path / "out" / "selected_config.json").read_text())
    assert config["task_run_config"]["train_task_list"] == ["topic", *expected]
