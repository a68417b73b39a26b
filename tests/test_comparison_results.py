"""What a comparison's numbers add up to, by hand; its tables, and its file."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from gradts_plugin.comparison.oracle import best_subset, oracle_order, oracle_subsets
from gradts_plugin.comparison.results import (
    Comparison,
    PrimaryResult,
    gain_agreement,
    method_result,
)
from gradts_plugin.comparison.tables import markdown
from gradts_plugin.errors import ConfigError
from gradts_plugin.json_forms import to_json
from gradts_plugin.records import (
    Cost,
    RankedTask,
    Ranking,
    Selection,
    TrainingPlan,
    TrainingResult,
    Trial,
)
from gradts_plugin.report.comparison_page import render_comparison_page
from gradts_plugin.report.files import read_comparison
from gradts_plugin.stores.files import write_json_atomic
from gradts_plugin.terminal.comparison_progress import ComparisonProgress
from gradts_plugin.terminal.comparison_tables import print_comparison


def scored(auxiliary_tasks, *scores, test=()):
    return Trial(tuple(auxiliary_tasks), scores, num_steps=1, seconds=1.0, test_scores=test)


def result_of(trial, *, alone, oracle=None, subsets=(), ranking=None, cost=None):
    selection = Selection("by hand", "p", trial.auxiliary_tasks, "as asked for")
    return method_result(
        selection,
        ranking,
        trial,
        cost or Cost(),
        alone=alone,
        oracle=oracle or alone,
        subsets=subsets,
    )


# --- the oracle -----------------------------------------------------------------------------------


def test_the_oracle_of_few_candidates_looks_at_every_subset():
    subsets = oracle_subsets(("a", "b", "c"), ("b", "a", "c"))
    assert sorted(subsets) == sorted(
        [("a",), ("b",), ("c",), ("a", "b"), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    )


def test_the_oracle_of_many_candidates_looks_at_singles_and_prefixes():
    subsets = oracle_subsets(tuple("abcde"), tuple("ebadc"))
    assert subsets[:5] == [("a",), ("b",), ("c",), ("d",), ("e",)]
    assert subsets[5:] == [tuple("eb"), tuple("eba"), tuple("ebad"), tuple("ebadc")]


def ranking(order, ranker):
    placed = tuple(RankedTask(name, 1.0, None, None) for name in order)
    return Ranking("p", placed, 0.95, 1, (), 0, ("p", *order), None, ranker=ranker)


def test_the_oracle_tries_the_prefixes_of_gradts_and_not_of_a_random_ranking():
    rankings = [ranking("cab", "random"), ranking("ab", "heads"), ranking("bca", "heads")]
    # The second one ranks other candidates.
    assert oracle_order("abc", rankings) == ("b", "c", "a")
    assert oracle_order("abc", rankings[:2]) == ("c", "a", "b")
    assert oracle_order("abc", []) == ("a", "b", "c")


def test_the_oracle_is_the_best_mean_and_of_equal_ones_the_first():
    trials = [scored("", 0.5), scored("a", 0.9, 0.3), scored("b", 0.7), scored("c", 0.7)]
    assert best_subset(trials) is trials[2]


def test_an_undefined_score_is_never_the_oracle():
    defined = scored("a", 0.1, -0.2)
    assert best_subset([scored("", None, None), defined, scored("b", 0.9, None)]) is defined


# --- a method's result ----------------------------------------------------------------------------


def test_regret_is_what_the_oracle_scores_above_and_gain_what_alone_scores_below():
    alone, trial = scored("", 0.5), scored("a", 0.625)
    found = result_of(trial, alone=alone, oracle=scored("b", 0.75))
    assert (found.regret, found.gain) == (0.125, 0.125)
    # Kept instances may beat every subset that was trained.
    assert result_of(scored("a", 0.875), alone=alone, oracle=scored("b", 0.75)).regret == -0.125


def test_gains_are_taken_seed_by_seed():
    found = result_of(scored("a", 0.7, 0.8), alone=scored("", 0.6, 0.5))
    assert found.gain == pytest.approx(0.2)
    assert found.gain_spread == pytest.approx(0.02**0.5)  # differences 0.1 and 0.3
    assert result_of(scored("a", 0.7), alone=scored("", 0.6)).gain_spread is None


def test_over_unequal_numbers_of_seeds_a_gain_has_no_spread():
    found = result_of(scored("a", 0.7, 0.8, 0.9), alone=scored("", 0.6, 0.5))
    assert found.gain == pytest.approx(0.25)
    assert found.gain_spread is None
    assert result_of(scored("a", 0.7, 0.8), alone=scored("", 0.6, 0.5, 0.4)).gain_spread is None


@pytest.mark.parametrize("undefined", ["trial", "alone"])
def test_what_rests_on_an_undefined_score_is_undefined(undefined):
    trials = {"trial": scored("a", 0.7, 0.8), "alone": scored("", 0.6, 0.5)}
    trials[undefined] = dataclasses.replace(trials[undefined], scores=(0.5, None))
    found = result_of(trials["trial"], alone=trials["alone"])
    assert (found.gain, found.gain_spread) == (None, None)


def test_the_test_gain_is_that_of_the_test_scores():
    alone = scored("", 0.9, test=(0.5, 0.5))
    assert result_of(scored("a", 0.1, test=(0.5, 0.75)), alone=alone).test_gain == 0.125
    assert result_of(scored("a", 0.1), alone=alone).test_gain is None


def test_agreement_compares_a_ranking_with_what_each_candidate_adds():
    subsets = (scored("", 0.5), scored("a", 0.7), scored("b", 0.6), scored("c", 0.4))
    assert gain_agreement(subsets, {"a": 3.0, "b": 2.0, "c": 1.0}) == pytest.approx(1.0)
    # One of three pairs is the wrong way round: (2 - 1) / 3.
    assert gain_agreement(subsets, {"b": 3.0, "a": 2.0, "c": 1.0}) == pytest.approx(1 / 3)
    assert gain_agreement(subsets, {"a": 2.0, "b": 1.0}) is not None  # two are enough
    assert gain_agreement(subsets, {"a": 1.0, "d": 2.0}) is None
    assert gain_agreement((*subsets, scored("d", None)), {"a": 1.0, "d": 2.0}) is None


def test_agreement_follows_the_order_where_the_figures_do_not_fall():
    subsets = (scored("a", 0.7), scored("b", 0.6), scored("c", 0.4))
    # Forward selection may add the larger figure later; its order is a, b, c all the same.
    assert gain_agreement(subsets, {"a": 1.0, "b": 3.0, "c": 2.0}) == pytest.approx(1.0)
    # b and c tie: two of three pairs are ordered, (2 - 0) / sqrt(2 * 3).
    assert gain_agreement(subsets, {"a": 2.0, "b": 1.0, "c": 1.0}) == pytest.approx(2 / 6**0.5)


# --- all primaries --------------------------------------------------------------------------------


def compared(*, tested=(True, True)):
    """Two primaries, two methods: a helps the first primary and hurts the second."""
    primaries = {}
    for primary, found, is_tested in zip(
        "pq",
        (
            scored("a", 0.7, 0.8, test=(0.5, 0.7)),
            scored("a", 0.5, 0.3, test=(0.4, 0.4)),
        ),
        tested,
        strict=True,
    ):
        alone = scored("", 0.6, 0.5, test=(0.5, 0.5))
        with_a = found if is_tested else dataclasses.replace(found, test_scores=())
        given = {"alone": alone, "oracle": best_subset((alone, with_a))}
        primaries[primary] = PrimaryResult(
            **given,
            subsets=(alone, with_a),
            methods={
                "none": result_of(alone, **given),
                "[red]": result_of(with_a, **given, cost=Cost(100, 800, 90.0)),
            },
        )
    return Comparison(2, primaries)


def test_means_over_primaries_by_hand():
    none, with_a = compared().means.values()
    assert (none.regret, none.gain, none.test_gain) == pytest.approx((0.1, 0.0, 0.0))
    assert with_a.regret == pytest.approx(0.075)
    assert with_a.gain == pytest.approx(0.025)  # 0.2 and -0.15
    assert with_a.worst_gain == pytest.approx(-0.15)
    assert with_a.test_gain == pytest.approx(0.0)  # 0.1 and -0.1
    assert (with_a.num_steps, with_a.num_examples, with_a.seconds) == (100, 800, 90)
    assert compared().best_method == "[red]"


def with_regrets(*regrets_and_seconds):
    """One primary; each method has a regret and takes some time."""
    alone = scored("", 0.5)
    methods = {
        f"m{place}": dataclasses.replace(
            result_of(alone, alone=alone, cost=Cost(seconds=seconds)), regret=regret
        )
        for place, (regret, seconds) in enumerate(regrets_and_seconds)
    }
    return Comparison(1, {"p": PrimaryResult(alone, alone, (alone,), methods)})


@pytest.mark.parametrize(
    ("methods", "best"),
    [
        ([(0.2, 1.0), (0.1, 9.0)], "m1"),
        ([(0.1, 9.0), (0.1, 1.0)], "m1"),
        ([(None, 0.0), (0.4, 9.0)], "m1"),
        ([(0.1, 1.0), (0.1, 1.0)], "m0"),
    ],
)
def test_the_best_method_has_the_least_regret_and_then_the_least_time(methods, best):
    assert with_regrets(*methods).best_method == best


def scoring(**scores):
    """One primary; each method's selection has a score for each seed."""
    alone = scored("", 0.5, 0.5, 0.5)
    methods = {
        name: result_of(scored("a", *values), alone=alone, cost=Cost())
        for name, values in scores.items()
    }
    return Comparison(3, {"p": PrimaryResult(alone, alone, (alone,), methods)})


def test_methods_are_tied_where_their_differences_may_be_chance():
    found = scoring(best=(0.70, 0.80, 0.90), near=(0.69, 0.795, 0.88), far=(0.9, 0.5, 0.7))
    # Differences .01, .005, .02: mean .01167, standard error .00441, times t(2) = 4.303: .019.
    # Each score varies by .1, which both share; the third one's differences vary by .26.
    assert found.tied_with("best") == ["near", "far"]
    found = scoring(best=(0.70, 0.80, 0.90), near=(0.69, 0.789, 0.891))
    # .01, .011, .009: standard error .000577.
    assert found.tied_with("best") == []
    assert found.tied_with("near") == []


def test_equal_methods_and_single_seeds_are_tied():
    assert scoring(one=(0.7, 0.8, 0.9), other=(0.7, 0.8, 0.9)).tied_with("one") == ["other"]
    assert scoring(one=(0.9,), other=(0.1,)).tied_with("one") == ["other"]
    assert scoring(one=(0.9, 0.9), other=(0.1, None)).tied_with("one") == ["other"]
    assert scoring(one=(0.9, 0.9)).tied_with("one") == []


def test_seeds_are_compared_by_their_means_over_primaries():
    first = scoring(one=(0.7, 0.8), other=(0.6, 0.9)).primaries["p"]
    second = scoring(one=(0.7, 0.8), other=(0.6, 0.5)).primaries["p"]
    # Differences .1 and -.1, .1 and .3; their means .1 and .1.
    assert Comparison(2, {"p": first, "q": second}).tied_with("one") == []
    assert Comparison(2, {"p": first}).tied_with("one") == ["other"]


def test_a_missing_test_score_is_left_blank_and_no_mean_is_made_up():
    found = compared(tested=(True, False))
    assert found.means["[red]"].test_gain is None
    assert "| [red] |  |  |" in markdown(found)
    assert "| [red] | 0.6000 ± 0.1414 | +0.1000 |" in markdown(found)


def test_the_tables_say_everything_in_the_order_of_the_settings():
    assert markdown(compared()).splitlines()[:9] == [
        "## p",
        "",
        "Alone 0.5500 ± 0.0707; oracle: a 0.7500 ± 0.0707, the best of 2 subsets.",
        "",
        "| method | selected | dev score | gain | 95 % interval | P(helps) "
        "| regret | steps | examples | s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| none | none | 0.5500 ± 0.0707 | +0.0000 ± 0.0000 |  |  | 0.2000 | 0 | 0 | 0 |",
        # 0.2 and its standard error 0.1, with one degree of freedom
        "| [red] | a | 0.7500 ± 0.0707 | +0.2000 ± 0.1414 | [-1.071, +1.471] | 0.73 "
        "| 0.0000 | 100 | 800 | 90 |",
        "",
    ]
    assert markdown(compared()).splitlines()[-3:] == [
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| none | 0.1000 | +0.0000 | +0.0000 | +0.0000 |  | 0 | 0 | 0 |",
        "| [red] | 0.0750 | +0.0250 | -0.1500 | +0.0000 |  | 100 | 800 | 90 |",
    ]


def test_the_tables_in_the_terminal_end_with_means_and_what_to_type():
    out = io.StringIO()
    console = Console(file=out, width=80)
    print_comparison(console, compared(), files=[Path("x.md")], next_commands=["type this"])
    text = out.getvalue()
    assert text.index("p: alone") < text.index("q: alone") < text.index("Means over 2 primaries")
    assert re.search(r"\[red\] +│ 0\.0750 │ \+0\.0250 │ +\+0\.0000 │ +100 │ +90 s", text)
    assert re.search(r"\+0\.2000 │ \[-1\.07\d, \+1\.47\d\] │ +0\.73 │", text)
    assert "Least mean regret: [red], by no more than chance before none." in text.replace(
        "\n", " "
    )
    assert text.endswith("Next:\n  type this\n")
    assert max(map(len, text.splitlines())) <= 80


def test_trainings_are_counted_against_an_upper_bound():
    out = io.StringIO()
    progress = ComparisonProgress(Console(file=out, width=80))
    plan = TrainingPlan("trial", ("p", "a"), "p", 0, {})
    result = TrainingResult(0.5, {}, (0.5,), 4, 32, 6.0, None)
    progress.expect_trainings(11, "p, all")
    progress.after_training(plan, result)
    progress.expect_trainings(3, "p, top")  # less is left than was thought
    progress.after_training(plan, result)
    assert out.getvalue().splitlines() == [
        "1 of ≤ 11 trainings, ≤ 60 s left: p, all: p + a 0.5000",
        "2 of ≤ 4 trainings, ≤ 12 s left: p, top: p + a 0.5000",
    ]


# --- the file -------------------------------------------------------------------------------------


def test_a_comparison_is_read_back_as_it_was_written(tmp_path):
    write_json_atomic(tmp_path / "comparison.json", to_json(compared()))
    assert read_comparison(tmp_path) == compared()


#: As version 0.1.0 wrote it: a selection and its trials name fewer things.
OLD = """
{"seeds": 2,
 "primaries": {"p": {
   "alone": {"auxiliary_tasks": [], "score": 0.5, "spread": 0.0, "scores": [0.5, 0.5],
             "test_scores": [], "num_kept": {}, "mixing_ratios": {}, "num_steps": 6,
             "seconds": 1.5, "reused": true},
   "oracle": {"auxiliary_tasks": ["a"], "score": 0.75, "spread": 0.0, "scores": [0.75, 0.75],
              "test_scores": [], "num_kept": {}, "mixing_ratios": {}, "num_steps": 6,
              "seconds": 2.5, "reused": false},
   "subsets": [],
   "methods": {"gradts-fg": {
     "selection": {"method": "fg", "primary_task": "p", "auxiliary_tasks": ["a"],
                   "num_kept": {"a": 3}, "mixing_ratios": {}, "reason": "as it is",
                   "trials": [{"auxiliary_tasks": [], "scores": [0.5, 0.6]}]},
     "ranking": {"a": 0.4, "b": 0.3},
     "trial": {"auxiliary_tasks": ["a"], "score": 0.625, "spread": 0.0, "scores": [0.625, 0.625],
               "test_scores": [], "num_kept": {"a": 3}, "mixing_ratios": {}, "num_steps": 6,
               "seconds": 2.0, "reused": false},
     "cost": {"num_steps": 12, "num_examples": 96, "seconds": 7.0},
     "regret": 0.125, "gain": 0.125, "gain_spread": 0.0, "test_gain": null,
     "gain_agreement": null}}}},
 "means": {"gradts-fg": {"regret": 0.125, "gain": 0.125, "worst_gain": 0.125, "test_gain": null,
           "agreement": null, "num_steps": 12.0, "num_examples": 96.0, "seconds": 7.0}}}
"""


def test_a_comparison_of_version_0_1_0_is_read_and_drawn(tmp_path):
    (tmp_path / "comparison.json").write_text(OLD)
    found = read_comparison(tmp_path)
    of_fg = found.primaries["p"].methods["gradts-fg"]
    assert of_fg.trial.num_kept == {"a": 3}
    assert of_fg.cost == Cost(12, 96, 7.0)
    assert of_fg.selection.trials == (Trial((), (0.5, 0.6)),)
    assert to_json(found.means) == json.loads(OLD)["means"]
    page = render_comparison_page(found)
    assert "Best on average: gradts-fg" in page
    assert "Best known auxiliaries: a, 0.7500" in page


def test_a_comparison_without_methods_is_refused(tmp_path):
    write_json_atomic(tmp_path / "comparison.json", {"seeds": 1, "primaries": {}})
    with pytest.raises(ConfigError, match="compares nothing"):
        read_comparison(tmp_path)
