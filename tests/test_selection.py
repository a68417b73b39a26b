"""The paper's three settings, on scores and taus that can be followed by hand."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradts_plugin.errors import SelectionError
from gradts_plugin.gains.gain import gain_of
from gradts_plugin.records import RankedTask, Ranking, Trial
from gradts_plugin.selection import finegrained, threshold, trial
from gradts_plugin.settings.parsing import parse_settings
from gradts_plugin.settings.selection import GradTSSettings


def select(method, context, **own):
    """What a method selects with settings of its own."""
    defaults = method.faithful if context.settings.faithful else {}
    return method.select(context, parse_settings(method.settings, {**defaults, **own}, where="m"))


select_by_threshold = partial(select, threshold.METHOD)
select_by_trial = partial(select, trial.METHOD)
select_fine_grained = partial(select, finegrained.METHOD)


def ranking_of(**taus):
    names = ("p", *taus)
    return Ranking(
        primary_task="p",
        candidates=tuple(
            RankedTask(name, tau, (tau - 0.1, tau + 0.1), None) for name, tau in taus.items()
        ),
        confidence=0.95,
        num_seeds=1,
        covers=("instances",),
        num_heads_total=144,
        task_names=names,
        task_taus=np.eye(len(names)),
    )


class Context:
    """Answers from tables and writes down what was asked.

    `scores` maps auxiliaries joined by a blank ("" is the primary alone; "*" in front of a name
    says that it is a subset) to one score or a tuple of scores over seeds.
    """

    primary_task = "p"

    def __init__(self, scores=(), taus=(), ranking=None, **settings):
        self.ranking = ranking or ranking_of(a=0.6, b=0.5, c=0.4, d=0.3)
        self.settings = GradTSSettings(primary_task="p", **settings)
        self.scores = dict(scores)
        self.taus = dict(taus)
        self.asked = []
        self.confirmed = []

    def score_all(self, trials):
        return [self.score(trial.auxiliary_tasks, num_seeds=trial.num_seeds) for trial in trials]

    def score(self, auxiliary_tasks, kept_instances=None, *, num_seeds=None, likely_next=()):
        kept = dict(kept_instances or {})
        name = " ".join(f"*{task}" if task in kept else task for task in auxiliary_tasks)
        (self.confirmed if name in self.asked else self.asked).append(name)
        num_seeds = num_seeds or self.settings.training_seeds
        scores = self.scores[name]
        return Trial(
            auxiliary_tasks=tuple(auxiliary_tasks),
            scores=scores[:num_seeds] if isinstance(scores, tuple) else (scores,) * num_seeds,
            num_kept={task: len(ids) for task, ids in kept.items()},
            num_steps=10,
            seconds=1.0,
            reused=False,
        )

    def gain(self, trial, baseline):
        return gain_of(trial, baseline)

    def instance_taus(self, task_name):
        taus = np.asarray(self.taus[task_name], dtype=np.float64)
        return np.arange(100, 100 + len(taus)), taus


def prefix_scores(*scores, alone):
    names = "abcdefghijklmno"
    return {"": alone, **{" ".join(names[:k]): score for k, score in enumerate(scores, start=1)}}


def ranking_of_size(number):
    return ranking_of(**{"abcdefghijklmno"[k]: 0.9 - 0.05 * k for k in range(number)})


# --- GradTS-thres -------------------------------------------------------------------------------


def test_thres_takes_candidates_at_or_above_the_number():
    selection = select_by_threshold(Context(), threshold=0.5)
    assert selection.auxiliary_tasks == ("a", "b")
    assert selection.method == "thres"
    assert selection.primary_task == "p"
    assert selection.trials == ()
    assert selection.reason == "tau >= 0.5 is reached by 2 of 4 candidates: a 0.600, b 0.500"


def test_thres_may_select_nothing_and_says_what_was_nearest():
    selection = select_by_threshold(Context(), threshold=0.61)
    assert selection.auxiliary_tasks == ()
    assert selection.reason == "tau >= 0.61 is reached by no candidate; the nearest is a 0.600"


@pytest.mark.parametrize(
    ("quantile", "selected"), [(0, "abcd"), (0.25, "abc"), (0.5, "ab"), (0.9, "a"), (1, "a")]
)
def test_thres_with_a_quantile_of_the_candidates_taus(quantile, selected):
    selection = select_by_threshold(Context(), threshold={"quantile": quantile})
    assert selection.auxiliary_tasks == tuple(selected)
    assert f"(quantile {quantile:g})" in selection.reason


@given(
    taus=st.lists(st.floats(-1, 1), min_size=1, max_size=8),
    low=st.floats(-1, 1),
    high=st.floats(-1, 1),
)
def test_thres_selects_less_when_the_threshold_rises(taus, low, high):
    low, high = sorted((low, high))
    taus = sorted(taus, reverse=True)
    ranking = ranking_of(**{f"t{index}": tau for index, tau in enumerate(taus)})
    at_low = select_by_threshold(Context(ranking=ranking), threshold=low).auxiliary_tasks
    at_high = select_by_threshold(Context(ranking=ranking), threshold=high).auxiliary_tasks
    assert at_low[: len(at_high)] == at_high


def test_thres_trains_nothing():
    context = Context()
    select_by_threshold(context, threshold=0.5)
    assert context.asked == []


# --- GradTS-trial -------------------------------------------------------------------------------


def test_trial_takes_the_best_prefix_after_trying_the_primary_alone():
    context = Context(prefix_scores(0.6, 0.7, 0.65, 0.64, alone=0.5))
    selection = select_by_trial(context)
    assert context.asked == ["", "a", "a b", "a b c", "a b c d"]
    assert selection.auxiliary_tasks == ("a", "b")
    assert [trial.score for trial in selection.trials] == [0.5, 0.6, 0.7, 0.65, 0.64]
    assert selection.reason == (
        "p with a, b scores 0.7000, best of 4 prefixes of the ranking; against p alone: "
        "gain +0.200, 95 % interval [+0.200, +0.200], helps with probability above 0.99"
    )


def test_trial_answers_that_no_auxiliary_helps():
    context = Context(prefix_scores(0.5, 0.58, alone=0.6))
    selection = select_by_trial(context)
    assert context.asked == ["", "a", "a b"]
    assert selection.auxiliary_tasks == ()
    assert selection.reason == (
        "no auxiliary helps: p alone scores 0.6000, and the best of 2 prefixes of the ranking, "
        "p with a, b, 0.5800: gain -0.020, one seed; "
        "2 longer not tried (patience ran out)"
    )


@pytest.mark.parametrize(
    ("patience", "asked", "selected"),
    [(0, 2, ""), (1, 2, ""), (2, 3, ""), (3, 5, "abc"), (9, 5, "abc")],
)
def test_patience_is_how_many_prefixes_in_a_row_may_bring_no_new_best(patience, asked, selected):
    context = Context(prefix_scores(0.5, 0.5, 0.7, 0.6, alone=0.6))
    selection = select_by_trial(context, patience=patience)
    assert len(context.asked) == asked
    assert selection.auxiliary_tasks == tuple(selected)


def test_a_new_best_renews_the_patience():
    context = Context(prefix_scores(0.5, 0.7, 0.6, 0.8, alone=0.6))
    assert select_by_trial(context, patience=2).auxiliary_tasks == ("a", "b", "c", "d")


def test_of_equal_scores_the_one_with_fewer_auxiliaries_wins():
    assert select_by_trial(Context(prefix_scores(0.6, 0.6, alone=0.6))).auxiliary_tasks == ()
    context = Context(prefix_scores(0.7, 0.7, 0.7, alone=0.6))
    assert select_by_trial(context).auxiliary_tasks == ("a",)


def test_max_auxiliaries_ends_the_search():
    context = Context(prefix_scores(0.6, 0.7, alone=0.5))
    assert select_by_trial(context, max_auxiliaries=2).auxiliary_tasks == ("a", "b")
    assert context.asked == ["", "a", "a b"]


def test_several_seeds_decide_by_their_mean_and_report_the_paired_spread():
    scores = prefix_scores((0.5, 0.9), (0.60, 0.64), (0.1, 0.1), (0.1, 0.1), alone=(0.5, 0.58))
    selection = select_by_trial(Context(scores, training_seeds=2))
    # Means: alone 0.54, a 0.70, a b 0.62. Differences of a: 0.00 and 0.32, sd 0.2263.
    assert selection.auxiliary_tasks == ("a",)
    # Over sqrt(2) that is 0.16: with one degree of freedom t = 1 is reached with probability 3/4.
    assert "against p alone: gain +0.160, 95 % interval [-1.8" in selection.reason
    assert selection.reason.endswith(
        "helps with probability 0.75; 1 longer not tried (patience ran out)"
    )


def test_a_new_best_that_was_lucky_is_not_believed():
    # Measured: stsb with mrpc beat stsb alone with the first training seed only.
    scores = prefix_scores((0.7959, 0.6707), (0.7935, 0.7185), alone=(0.7904, 0.7921))
    context = Context(scores)
    selection = select_by_trial(context, patience=2)
    # With both seeds: alone 0.79125, a 0.7333. The second prefix beats alone with seed 0, too.
    assert selection.auxiliary_tasks == ()
    assert context.asked == ["", "a", "a b"]
    assert context.confirmed == ["a", "", "a b", ""]
    assert [len(trial.scores) for trial in selection.trials] == [2, 2, 2]
    lucky = Context(scores)
    assert select_by_trial(lucky, patience=1, confirm=0).auxiliary_tasks == ("a",)
    assert lucky.confirmed == []


def test_only_a_new_best_is_confirmed_and_it_must_win_over_all_its_seeds():
    scores = prefix_scores((0.7, 0.5), 0.5, (0.71, 0.4), 0.1, alone=(0.6, 0.55))
    context = Context(scores)
    selection = select_by_trial(context, patience=9)
    # a: 0.60 > 0.575, although it loses with the second seed alone. a b c beats its first seed,
    # 0.71 > 0.7, and loses over both: 0.555 < 0.6.
    assert selection.auxiliary_tasks == ("a",)
    assert context.confirmed == ["a", "", "a b c", "a"]
    assert [trial.scores for trial in selection.trials] == [
        (0.6, 0.55), (0.7, 0.5), (0.5,), (0.71, 0.4), (0.1,),
    ]  # fmt: skip
    # Differences 0.1 and -0.05: 0.025 is a third of their standard error, 0.075.
    assert "against p alone: gain +0.025, " in selection.reason
    assert selection.reason.endswith(f"helps with probability {0.5 + np.arctan(1 / 3) / np.pi:.2f}")


def test_faithful_confirms_nothing():
    context = Context(prefix_scores(0.5, 0.6, 0.4, 0.3, alone=0.1), faithful=True)
    assert select_by_trial(context).auxiliary_tasks == ("a", "b")
    assert context.confirmed == []


def test_only_the_prefix_above_the_threshold_is_tried():
    scores = prefix_scores(0.9, 0.7, 0.9, 0.9, alone=0.5)
    context = Context(scores)
    selection = select_by_trial(context, threshold=0.5, prefixes="threshold", patience=0)
    assert selection.auxiliary_tasks == ("a", "b")
    assert context.asked == ["", "a b"]
    assert context.confirmed == ["a b", ""]
    assert "best of 1 prefix of the ranking; against p alone: gain +0.200," in selection.reason
    worse = Context(prefix_scores(0.9, 0.4, alone=0.5))
    assert select_by_trial(worse, threshold=0.5, prefixes="threshold").auxiliary_tasks == ()
    assert worse.asked == ["", "a b"]


def test_where_nothing_reaches_the_threshold_there_is_only_the_primary_to_try():
    context = Context({"": 0.5})
    selection = select_by_trial(context, threshold=0.61, prefixes="threshold")
    assert selection.auxiliary_tasks == ()
    assert context.asked == [""]
    assert selection.reason == (
        "no candidate reaches the threshold: p alone is all there is to try"
    )


def test_the_prefix_above_the_threshold_is_no_longer_than_max_auxiliaries():
    own = {"prefixes": "threshold", "max_auxiliaries": 1, "threshold": 0.3}
    context = Context(prefix_scores(0.9, 0.1, alone=0.5))
    assert select_by_trial(context, **own).auxiliary_tasks == ("a",)


def test_faithful_trials_know_no_threshold():
    context = Context(prefix_scores(0.5, 0.6, 0.4, alone=0.1), faithful=True)
    assert select_by_trial(context, threshold=0.61, prefixes="threshold").auxiliary_tasks == (
        "a",
        "b",
    )


def test_an_undefined_score_never_wins_and_does_not_stop_the_others():
    context = Context(prefix_scores(None, 0.7, None, None, alone=0.5))
    assert select_by_trial(context).auxiliary_tasks == ("a", "b")
    context = Context(prefix_scores(0.1, 0.0, 0.0, alone=None))
    assert select_by_trial(context).auxiliary_tasks == ("a",)
    nothing = Context(prefix_scores(None, None, alone=None))
    assert select_by_trial(nothing).auxiliary_tasks == ()


MAGPIE = (.792, .780, .815, .820, .793, .791, .811, .816, .820, .838, .828, .822, .833, .805, .804)  # fmt: skip  # noqa: E501


def test_on_independent_evidence_first_drop_stopping_ends_below_the_baseline():
    # Prefix F1 of an independent study with 15 auxiliaries (MAGPIE); single-task about .807.
    scores = prefix_scores(*MAGPIE, alone=0.807)
    ranking = ranking_of_size(15)
    published = select_by_trial(Context(scores, ranking=ranking, faithful=True))
    assert published.trials[-1].score == 0.780
    assert published.auxiliary_tasks == ("a",)
    by_default = select_by_trial(Context(scores, ranking=ranking))
    assert by_default.auxiliary_tasks == ()
    patient = select_by_trial(Context(scores, ranking=ranking), patience=15)
    assert len(patient.auxiliary_tasks) == 10


@given(
    scores=st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=5, max_size=5),
    patience=st.integers(0, 6),
)
def test_the_selection_never_scores_below_the_primary_alone_nor_below_any_trial(scores, patience):
    context = Context(prefix_scores(*scores[1:], alone=scores[0]))
    selection = select_by_trial(context, patience=patience)
    chosen = context.scores[" ".join(selection.auxiliary_tasks)]
    assert chosen == max(trial.score for trial in selection.trials)
    assert chosen >= scores[0]


def test_faithful_never_tries_the_primary_alone_and_stops_at_the_first_drop():
    context = Context(prefix_scores(0.5, 0.5, 0.4, 0.9, alone=0.8), faithful=True)
    selection = select_by_trial(context)
    assert context.asked == ["a", "a b", "a b c"]
    # Equal scores go on, and of equal ones the longer prefix is taken.
    assert selection.auxiliary_tasks == ("a", "b")
    assert "p alone was not tried" in selection.reason


def test_faithful_without_a_drop_tries_all():
    context = Context(prefix_scores(0.5, 0.6, 0.7, 0.8, alone=0.9), faithful=True)
    assert select_by_trial(context).auxiliary_tasks == ("a", "b", "c", "d")
    assert "" not in context.asked


def test_faithful_takes_an_undefined_score_for_a_drop():
    context = Context(prefix_scores(0.5, None, 0.7, alone=0.9), faithful=True)
    assert select_by_trial(context).auxiliary_tasks == ("a",)
    assert context.asked == ["a", "a b"]


# --- GradTS-fg ----------------------------------------------------------------------------------

# GradTS-trial selects a and b with 0.7.
TWO = prefix_scores(0.6, 0.7, 0.1, 0.1, alone=0.5)


def kept_ids(selection):
    return {name: ids.tolist() for name, ids in selection.kept_instances.items()}


def test_fg_keeps_instances_at_or_above_the_number():
    context = Context(
        {**TWO, "*a *b": 0.8},
        {"a": [0.7, 0.5, 0.6], "b": [0.1, 0.9]},
    )
    selection = select_fine_grained(context, instance_threshold=0.6)
    assert selection.method == "fg"
    assert selection.auxiliary_tasks == ("a", "b")
    assert kept_ids(selection) == {"a": [100, 102], "b": [101]}
    assert context.asked[-1] == "*a *b"
    assert selection.trials[-1].num_kept == {"a": 2, "b": 1}
    assert len(selection.trials) == 6
    assert selection.reason.endswith(
        "; instances with tau >= 0.6: 2 of 3 a, 1 of 2 b; scores 0.8000, "
        "against all their instances: gain +0.100, 95 % interval [+0.100, +0.100], "
        "helps with probability above 0.99"
    )


def test_fg_drops_an_auxiliary_without_instances_and_says_so():
    context = Context({**TWO, "*a": 0.8}, {"a": [0.7, 0.5], "b": [0.1]})
    selection = select_fine_grained(context, instance_threshold=0.6)
    assert selection.auxiliary_tasks == ("a",)
    assert kept_ids(selection) == {"a": [100]}
    assert "0 of 1 b (the auxiliary is dropped)" in selection.reason


def test_an_auxiliary_that_keeps_everything_is_whole():
    context = Context({**TWO, "a *b": 0.8}, {"a": [0.7, 0.8], "b": [0.1, 0.9]})
    assert kept_ids(select_fine_grained(context, instance_threshold=0.6)) == {"b": [101]}


def test_fg_with_a_quantile_takes_one_threshold_over_all_auxiliaries():
    context = Context(
        {**TWO, "a *b": 0.8},
        {"a": [0.9, 0.8], "b": [0.7, 0.1, 0.2, 0.3]},
    )
    # The median of all six is 0.5: both of a are above, one of b.
    assert kept_ids(select_fine_grained(context, instance_threshold={"quantile": 0.5})) == {
        "b": [100]
    }


def test_fg_goes_back_to_the_whole_auxiliaries_where_the_subset_scores_lower():
    taus = {"a": [0.7, 0.5], "b": [0.9]}
    context = Context({**TWO, "*a b": 0.65}, taus)
    selection = select_fine_grained(context, instance_threshold=0.6)
    assert selection.auxiliary_tasks == ("a", "b")
    assert kept_ids(selection) == {}
    assert selection.trials[-1].score == 0.65
    said = "a subset scores 0.6500, against all their instances: gain -0.050, 95 % interval"
    assert said in selection.reason

    faithful = Context({**TWO, "*a b": 0.65}, taus, faithful=True)
    assert kept_ids(select_fine_grained(faithful, instance_threshold=0.6)) == {"a": [100]}


def test_fg_takes_the_subset_where_it_scores_the_same():
    context = Context({**TWO, "*a b": 0.7}, {"a": [0.7, 0.5], "b": [0.9]})
    assert kept_ids(select_fine_grained(context, instance_threshold=0.6)) == {"a": [100]}


def test_fg_without_a_single_instance_is_the_primary_alone_when_faithful():
    taus = {"a": [0.1], "b": [0.2]}
    context = Context(TWO, taus, faithful=True)
    selection = select_fine_grained(context, instance_threshold=0.6)
    assert selection.auxiliary_tasks == ()
    assert context.asked[-1] == ""
    by_default = select_fine_grained(Context(TWO, taus), instance_threshold=0.6)
    assert by_default.auxiliary_tasks == ("a", "b")


def test_fg_that_keeps_everything_trains_nothing_more():
    context = Context(TWO, {"a": [0.7], "b": [0.9]})
    selection = select_fine_grained(context, instance_threshold=0.6)
    assert kept_ids(selection) == {}
    assert len(selection.trials) == len(context.asked) == 5
    assert selection.reason.endswith("1 of 1 a, 1 of 1 b: every instance is kept")


def test_fg_of_no_auxiliaries_is_the_primary_alone():
    context = Context(prefix_scores(0.5, 0.5, alone=0.6))
    selection = select_fine_grained(context)
    assert selection.method == "fg"
    assert selection.auxiliary_tasks == ()
    assert "no auxiliary helps" in selection.reason


@pytest.mark.parametrize(
    ("method", "own"),
    [
        (select_by_threshold, {}),
        (select_by_trial, {}),
        (select_fine_grained, {"instance_threshold": 0.6}),
    ],
)
@pytest.mark.parametrize("faithful", [True, False])
def test_reasons_are_one_line(method, own, faithful):
    context = Context(
        {**TWO, "*a b": 0.65},
        {"a": [0.7, 0.5], "b": [0.9]},
        faithful=faithful,
    )
    reason = method(context, **own).reason
    assert reason
    assert "\n" not in reason


# --- a threshold that shuffled labels set ---------------------------------------------------------


def with_null(*null_taus):
    return replace(ranking_of(a=0.6, b=0.3646, c=0.3644, d=0.2), null_taus=null_taus)


def test_the_automatic_threshold_is_what_shuffled_labels_do_not_reach():
    # 0.2 + 1.645 * 0.1 = 0.3645.
    context = Context(ranking=with_null(0.1, 0.2, 0.3))
    selection = select_by_threshold(context, threshold="auto")
    assert selection.auxiliary_tasks == ("a", "b")
    assert "(what 3 shuffled controls stay below)" in selection.reason


def test_two_shuffled_controls_are_enough_and_one_is_not():
    # 0.2 + 1.645 * sqrt(0.02) = 0.4326.
    assert select_by_threshold(
        Context(ranking=with_null(0.1, 0.3)), threshold="auto"
    ).auxiliary_tasks == ("a",)
    with pytest.raises(SelectionError, match="needs 2 or more taus of shuffled labels, found 1"):
        select_by_threshold(Context(ranking=with_null(0.1)), threshold="auto")
