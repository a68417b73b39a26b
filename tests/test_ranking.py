"""Ranking: taus worked by hand, what may not matter, and intervals that cover what they claim."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from gradts_plugin.errors import DegenerateImportanceError, PluginError, SelectionError
from gradts_plugin.ranking.correlation import kendall, layer_normal
from gradts_plugin.ranking.heads import rank_candidates
from gradts_plugin.ranking.intervals import agreement_notes
from gradts_plugin.ranking.resampling import _resampled_matrices
from gradts_plugin.ranking.taus import instance_taus


class Source:
    """Importances in memory, read in batches."""

    def __init__(self, importances, ids=None, batch_size=1000):
        self.importances = np.asarray(importances, dtype=np.float32)
        self.ids = np.arange(len(self.importances)) if ids is None else np.asarray(ids)
        self.batch_size = batch_size

    @property
    def shape(self):
        return self.importances.shape

    def batches(self):
        for start in range(0, len(self.ids), self.batch_size):
            stop = start + self.batch_size
            yield self.ids[start:stop], self.importances[start:stop]


def rank(sources, primary="p", **changes):
    options = {"correlation": kendall, "bootstrap": 100, "confidence": 0.9, "seed": 0}
    return rank_candidates(primary, sources, **{**options, **changes})


pairs_of = functools.cache(lambda number: np.triu_indices(number, 1))


def kendall_of_few(reference, others):
    """`kendall` where no two heads are equal, quick where there are few heads and profiles."""
    first, second = pairs_of(len(reference))
    pairs = np.sign(others[:, first] - others[:, second])
    return pairs @ np.sign(reference[first] - reference[second]) / len(first)


def random_source(seed, num_instances=30, num_layers=2, num_heads=4, batch_size=1000):
    random = np.random.default_rng(seed)
    base = np.exp(random.normal(size=(num_layers, num_heads)))
    noise = np.exp(random.normal(size=(num_instances, num_layers, num_heads)))
    return Source(base * noise, batch_size=batch_size)


# --- worked by hand -----------------------------------------------------------------------------


def test_a_case_worked_by_hand():
    # One layer of four heads: dividing by the layer's sum and min-max keep the order of heads.
    primary = [[[1.0, 2.0, 3.0, 4.0]]]
    # Mean of the two instances is (2, 3, 4, 5): the same order, tau 1, although the first
    # instance alone is reversed.
    same = [[[4.0, 3.0, 2.0, 1.0]], [[0.0, 3.0, 6.0, 9.0]]]
    # Order (2, 1, 4, 3): pairs (1,2) and (3,4) of six are discordant: (4 - 2) / 6.
    third = [[[2.0, 1.0, 4.0, 3.0]]]
    reversed_ = [[[4.0, 3.0, 2.0, 1.0]]]

    ranking = rank(
        {
            "reversed": [Source(reversed_)],
            "p": [Source(primary)],
            "third": [Source(third)],
            "same": [Source(same)],
        }
    )

    assert ranking.task_order == ("same", "third", "reversed")
    np.testing.assert_allclose([c.tau for c in ranking.candidates], [1, 1 / 3, -1], rtol=1e-15)
    assert ranking.task_names == ("p", "reversed", "third", "same")
    np.testing.assert_allclose(
        ranking.task_taus,
        [
            [1, -1, 1 / 3, 1],
            [-1, 1, -1 / 3, -1],
            [1 / 3, -1 / 3, 1, 1 / 3],
            [1, -1, 1 / 3, 1],
        ],
        rtol=1e-15,
    )
    assert ranking.num_heads_total == 4
    assert ranking.num_seeds == 1
    assert ranking.covers == ("instances",)
    # One instance cannot be resampled into anything else: no width, and a certain order.
    assert ranking.candidates[1].interval == pytest.approx((1 / 3, 1 / 3), abs=1e-11)
    assert ranking.candidates[1].probability_above_next == 1.0
    assert ranking.candidates[2].probability_above_next is None


def test_layers_are_normalised_before_heads_are_compared():
    # Raw, the second layer dwarfs the first; as shares of their layers the heads order otherwise.
    primary = np.array([[[1.0, 3.0], [200.0, 300.0]]])
    candidate = np.array([[[1.0, 3.0], [2.0, 3.0]]])
    ranking = rank({"p": [Source(primary)], "c": [Source(candidate)]})
    assert ranking.candidates[0].tau == 1.0


def test_tau_is_the_mean_over_all_pairs_of_fine_tuning_seeds():
    primary = [random_source(1), random_source(2)]
    candidate = [random_source(3), random_source(4)]
    ranking = rank({"p": primary, "c": candidate})

    def profile(source):
        return layer_normal(source.importances.astype(np.float64).mean(axis=0)).ravel()

    expected = np.mean(
        [
            scipy.stats.kendalltau(profile(first), profile(second)).statistic
            for first in primary
            for second in candidate
        ]
    )
    np.testing.assert_allclose(ranking.candidates[0].tau, expected, rtol=1e-12)
    assert ranking.num_seeds == 2
    assert ranking.covers == ("instances", "fine-tuning seeds")


def test_equal_taus_keep_the_given_order_and_even_odds():
    source = random_source(1)
    ranking = rank({"z": [source], "p": [random_source(2)], "a": [source]})
    assert ranking.task_order == ("z", "a")
    # The two are resampled independently, so neither is above the other more often than not.
    assert 0.3 < ranking.candidates[0].probability_above_next < 0.7


def test_identical_draws_count_as_half():
    one = Source([[[1.0, 2.0, 3.0]]])
    ranking = rank({"p": [one], "a": [one], "b": [one]})
    assert ranking.candidates[0].probability_above_next == 0.5


# --- what may not matter ------------------------------------------------------------------------


def by_name(ranking):
    return {candidate.task_name: candidate for candidate in ranking.candidates}


@settings(deadline=None, max_examples=10)
@given(order=st.permutations(["a", "b", "c", "p"]), num_seeds=st.integers(1, 3))
def test_the_order_of_the_tasks_changes_neither_tau_nor_interval(order, num_seeds):
    sources = {
        name: [random_source(10 * index + seed) for seed in range(num_seeds)]
        for index, name in enumerate("pabc")
    }
    one = by_name(rank(sources))
    other = by_name(rank({name: sources[name] for name in order}))
    for name in "abc":
        assert other[name].tau == pytest.approx(one[name].tau, abs=1e-12)
        assert other[name].interval == pytest.approx(one[name].interval, abs=1e-12)


@pytest.mark.parametrize("remove_common", [False, True])
def test_how_many_tasks_are_resampled_at_a_time_changes_no_bit(monkeypatch, remove_common):
    sources = {
        name: [random_source(seed), random_source(9 + seed)] for seed, name in enumerate("pabcd")
    }
    one = rank(sources, remove_common=remove_common)
    monkeypatch.setattr("gradts_plugin.ranking.resampling._BLOCK_PROFILES", 1)
    assert repr(rank(sources, remove_common=remove_common)) == repr(one)


def test_another_candidate_changes_no_interval():
    sources = {name: [random_source(index)] for index, name in enumerate("pab")}
    alone = by_name(rank({name: sources[name] for name in "pa"}))["a"]
    together = by_name(rank(sources))["a"]
    assert together.tau == alone.tau
    assert together.interval == alone.interval


def test_the_order_of_seeds_and_heads_does_not_change_tau():
    sources = {name: [random_source(index), random_source(index + 9)] for index, name in
               enumerate("pabc")}  # fmt: skip
    permutation = np.random.default_rng(0).permutation(4)
    changed = {
        name: [Source(source.importances[:, ::-1, permutation]) for source in reversed(both)]
        for name, both in sources.items()
    }
    np.testing.assert_allclose(rank(changed).task_taus, rank(sources).task_taus, atol=1e-12)


def test_the_scale_of_a_task_does_not_matter():
    sources = {name: [random_source(index)] for index, name in enumerate("pab")}
    scaled = {name: [Source(source.importances * 1024) for source in one]
              for name, one in sources.items()}  # fmt: skip
    assert rank(scaled).candidates == rank(sources).candidates


def test_the_same_seed_gives_the_same_ranking_and_another_seed_other_intervals():
    sources = {name: [random_source(index)] for index, name in enumerate("pab")}
    assert rank(sources).candidates == rank(sources).candidates
    assert rank(sources, seed=1).candidates != rank(sources).candidates


def test_the_task_taus_are_symmetric_with_ones_on_the_diagonal():
    sources = {name: [random_source(index), random_source(index + 7)] for index, name in
               enumerate("pabcd")}  # fmt: skip
    taus = rank(sources).task_taus
    np.testing.assert_array_equal(taus, taus.T)
    np.testing.assert_array_equal(np.diag(taus), 1.0)


# --- uncertainty --------------------------------------------------------------------------------


def test_resampled_matrices_are_means_over_resampled_instances_of_any_batching():
    random = np.random.default_rng(0)
    source = Source(random.random((57, 2, 3)), batch_size=10)
    matrices = _resampled_matrices(source, 4000, np.random.default_rng(1))
    assert matrices.shape == (4000, 2, 3)
    values = source.importances.astype(np.float64)
    # A resample's mean scatters around the mean with the standard error (N in the denominator).
    np.testing.assert_allclose(matrices.mean(axis=0), values.mean(axis=0), atol=0.003)
    np.testing.assert_allclose(matrices.std(axis=0), values.std(axis=0) / np.sqrt(57), rtol=0.06)


def test_every_resample_draws_as_many_instances_as_there_are():
    ones = Source(np.ones((57, 1, 2)), batch_size=10)
    np.testing.assert_array_equal(
        _resampled_matrices(ones, 50, np.random.default_rng(0)), np.ones((50, 1, 2))
    )


def test_blocks_of_weights_cover_all_resamples(monkeypatch):
    monkeypatch.setattr("gradts_plugin.ranking.resampling._BLOCK_WEIGHTS", 100)
    ones = Source(np.ones((57, 1, 2)), batch_size=40)
    np.testing.assert_array_equal(
        _resampled_matrices(ones, 51, np.random.default_rng(0)), np.ones((51, 1, 2))
    )


def test_intervals_cover_the_expected_tau_about_as_often_as_they_say():
    # A fixed world; each repetition probes new instances and, in the second case, also takes
    # new fine-tuning seeds. The interval must cover the mean of the estimates.
    random = np.random.default_rng(0)
    shared = random.normal(size=(3, 6))
    truths = [np.exp(0.5 * (0.7 * shared + 0.3 * random.normal(size=(3, 6)))) for _ in range(2)]

    def estimates(num_seeds, seed_noise):
        for repetition in range(80):
            sources = {}
            for name, truth in zip("pc", truths, strict=True):
                noise = np.exp(0.5 * random.normal(size=(60, 3, 6)))
                sources[name] = [
                    Source(truth * np.exp(seed_noise * random.normal(size=(3, 6))) * noise)
                    for _ in range(num_seeds)
                ]
            yield rank(sources, seed=repetition, correlation=kendall_of_few).candidates[0]

    np.testing.assert_allclose(
        kendall_of_few(shared[0], shared), kendall(shared[0], shared), atol=1e-12
    )
    for num_seeds, seed_noise in ((1, 0.0), (3, 0.3)):
        found = list(estimates(num_seeds, seed_noise))
        expected = np.mean([candidate.tau for candidate in found])
        covered = np.mean([low <= expected <= high for low, high in (c.interval for c in found)])
        assert 0.80 <= covered <= 0.98  # nominal 0.9; its standard error is 0.03


@pytest.mark.parametrize("tail", [0.6, 1.2])
def test_intervals_cover_the_tau_of_all_rows(tail):
    # Noise pulls the taus of samples towards zero, far with heavy tails; all rows have none.
    random = np.random.default_rng(0)
    shared = random.normal(size=(4, 6))
    covered, ratios = [], []
    for repetition in range(100):
        truths = [np.exp(0.6 * (shared + random.normal(size=(4, 6)))) for _ in range(2)]
        profiles = [layer_normal(truth[None]).ravel() for truth in truths]
        true = kendall_of_few(profiles[0], profiles[1][None])[0]
        sources = {
            name: [Source(truth * np.exp(tail * random.normal(size=(50, 4, 6))))]
            for name, truth in zip("pc", truths, strict=True)
        }
        ranking = rank(sources, seed=repetition, bootstrap=300, correlation=kendall_of_few)
        (candidate,) = ranking.candidates
        covered.append(candidate.interval[0] <= true <= candidate.interval[1])
        ratios.append(candidate.tau / true)
    assert np.mean(covered) >= 0.84  # nominal 0.9; its standard error is 0.03
    assert np.median(ratios) < 1


def test_the_ceiling_is_what_two_samples_of_the_primary_agree_to():
    random = np.random.default_rng(0)
    truth = np.exp(0.5 * random.normal(size=(6, 8)))
    taus, ceilings = [], []
    for _ in range(10):
        sources = {
            name: [Source(truth * np.exp(random.normal(size=(60, 6, 8))))] for name in ("p", "c")
        }
        ranking = rank(sources)
        taus.append(ranking.candidates[0].tau)
        ceilings.append(ranking.ceiling)
    assert np.mean(ceilings) == pytest.approx(np.mean(taus), abs=0.05)
    assert ranking.num_instances == 60


def test_too_few_instances_are_said_to_be_too_few():
    few = {name: random_source(seed, num_instances=49 + seed) for seed, name in enumerate("pc")}
    notes = agreement_notes(rank({name: [source] for name, source in few.items()}))
    assert notes[0].startswith("Two samples of p would agree to tau 0.")
    assert notes[1] == "49 instances of a task are too few for its interval; probe 50 or more."
    enough = {name: random_source(seed, num_instances=50) for seed, name in enumerate("pc")}
    assert len(agreement_notes(rank({name: [found] for name, found in enough.items()}))) == 1


def test_more_instances_make_the_interval_narrower():
    random = np.random.default_rng(0)
    truths = {name: np.exp(random.normal(size=(3, 6))) for name in ("p", "c")}

    def width(num_instances):
        sources = {
            name: [Source(truth * np.exp(random.normal(size=(num_instances, 3, 6))))]
            for name, truth in truths.items()
        }
        low, high = rank(sources).candidates[0].interval
        return high - low

    assert width(3000) < width(30) / 3


def test_identical_seeds_add_no_width():
    one = {name: random_source(index) for index, name in enumerate("pab")}
    single = rank({name: [source] for name, source in one.items()})
    threefold = rank({name: [source] * 3 for name, source in one.items()})
    for alone, repeated in zip(single.candidates, threefold.candidates, strict=True):
        assert repeated.interval == pytest.approx(alone.interval, abs=1e-12)


def test_seeds_that_disagree_widen_the_interval():
    candidate = random_source(1, num_instances=400)
    primaries = [random_source(2, num_instances=400), random_source(3, num_instances=400)]
    agreeing = rank({"p": [primaries[0]] * 2, "c": [candidate] * 2}).candidates[0].interval
    disagreeing = rank({"p": primaries, "c": [candidate] * 2}).candidates[0].interval
    assert disagreeing[1] - disagreeing[0] > agreeing[1] - agreeing[0]


def test_the_seed_part_alone_has_the_spread_of_new_seeds():
    # One instance each: the instance part is zero. tau over the four seeds of the primary is
    # 1, 1, -1, -1 (the candidate's seeds are the same), so the mean of 4 new ones would have the
    # standard deviation sqrt((4/3) / 4); the scaled resample must have it too.
    up, down = Source([[[1.0, 2.0, 3.0]]]), Source([[[3.0, 2.0, 1.0]]])
    ranking = rank(
        {"p": [up, up, down, down], "c": [up] * 4},
        bootstrap=4000,
        confidence=0.6827,
        correlation=kendall_of_few,
    )
    low, high = ranking.candidates[0].interval
    assert ranking.candidates[0].tau == 0.0
    # Resampled means lie on multiples of 1/2, scaled by sqrt(4/3): the 68 % band ends at +-0.577,
    # which is sqrt(1/3) exactly.
    np.testing.assert_allclose([low, high], [-np.sqrt(1 / 3), np.sqrt(1 / 3)], atol=0.03)


def test_intervals_stay_between_minus_one_and_one():
    base = np.exp(np.random.default_rng(0).normal(size=(2, 4)))
    noisy = base * np.exp(0.3 * np.random.default_rng(1).normal(size=(2, 20, 2, 4)))
    candidate = rank({"p": [Source(noisy[0])], "c": [Source(noisy[1])]}, confidence=0.99)
    low, high = candidate.candidates[0].interval
    assert -1 <= low <= high <= 1


def test_an_interval_holds_its_own_estimate_even_where_draws_take_few_values():
    # Four heads: one draw of a hundred differs, which moves the mean of the draws off all others.
    random = np.random.default_rng(57)
    base = random.gamma(2, 1, size=(1, 4))
    primary, other = (base * np.exp(0.6 * random.normal(size=(5, 1, 4))) for _ in range(2))
    candidate = rank({"p": [Source(primary)], "c": [Source(other)]}).candidates[0]
    assert candidate.interval[0] <= candidate.tau <= candidate.interval[1]


# --- instances ----------------------------------------------------------------------------------


def test_instance_taus_equal_scipy_one_by_one():
    primary = [random_source(1), random_source(2)]
    auxiliary = random_source(3, num_instances=25, batch_size=7)
    ids, taus = instance_taus(primary, [auxiliary], correlation=kendall)
    references = [
        layer_normal(source.importances.astype(np.float64).mean(axis=0)).ravel()
        for source in primary
    ]
    expected = [
        np.mean([scipy.stats.kendalltau(reference, layer_normal(matrix).ravel()).statistic
                 for reference in references])
        for matrix in auxiliary.importances
    ]  # fmt: skip
    np.testing.assert_array_equal(ids, np.arange(25))
    np.testing.assert_allclose(taus, expected, rtol=1e-12)


def test_instance_taus_are_averaged_by_example_id():
    primary = [Source([[[1.0, 2.0, 3.0]]])]
    up, down = [[1.0, 2.0, 3.0]], [[3.0, 2.0, 1.0]]
    first = Source([up, down, up], ids=[20, 10, 30])
    second = Source([up, up], ids=[10, 20])
    ids, taus = instance_taus(primary, [first, second], correlation=kendall)
    assert ids.tolist() == [10, 20, 30]
    assert ids.dtype == np.int64
    # 10: -1 and 1; 20: twice 1; 30: probed with the first seed only.
    np.testing.assert_allclose(taus, [0.0, 1.0, 1.0], atol=1e-15)


def test_an_instance_without_gradient_has_tau_zero():
    primary = [Source([[[1.0, 2.0, 3.0]]])]
    auxiliary = [Source([[[0.0, 0.0, 0.0]], [[5.0, 5.0, 5.0]], [[1.0, 2.0, 4.0]]])]
    _, taus = instance_taus(primary, auxiliary, correlation=kendall)
    assert taus.tolist() == [0.0, 0.0, 1.0]


# --- what is refused ----------------------------------------------------------------------------


def test_refusals_say_what_is_wrong():
    one = random_source(0)
    with pytest.raises(SelectionError, match="primary task 'p' was not probed"):
        rank({"a": [one]})
    with pytest.raises(SelectionError, match="no candidate task to rank for 'p'"):
        rank({"p": [one]})
    with pytest.raises(SelectionError, match="different numbers of fine-tuning seeds: 1, 2"):
        rank({"p": [one], "a": [one, one]})
    with pytest.raises(SelectionError, match="different numbers of fine-tuning seeds: 0"):
        rank({"p": [], "a": []})
    with pytest.raises(SelectionError, match=r"different encoders: \(2, 4\), \(3, 4\)"):
        rank({"p": [one], "a": [random_source(0, num_layers=3)]})
    with pytest.raises(SelectionError, match="different encoders"):
        instance_taus([one], [random_source(0, num_layers=3)], correlation=kendall)
    with pytest.raises(SelectionError, match="no probed instances"):
        instance_taus([one], [], correlation=kendall)


def test_a_matrix_with_nothing_to_rank_is_refused_by_name():
    with pytest.raises(DegenerateImportanceError, match="'dull'"):
        rank({"p": [random_source(0)], "dull": [Source(np.ones((5, 2, 4)))]})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda reference, others: np.zeros(1 + len(others)), "shape"),
        (lambda reference, others: np.full(len(others), np.nan), "nan"),
        (lambda reference, others: np.full(len(others), 1.5), "1.5"),
    ],
)
def test_a_correlation_that_answers_wrongly_is_refused(answer, words):
    sources = {name: [random_source(index)] for index, name in enumerate("pa")}
    with pytest.raises(PluginError, match=f"the correlation answered.*{words}"):
        rank(sources, correlation=answer)


def test_another_correlation_is_used_for_everything():
    def spearman(reference, others):
        return np.array([scipy.stats.spearmanr(reference, other).statistic for other in others])

    sources = {name: [random_source(index)] for index, name in enumerate("pa")}
    tau = rank(sources, correlation=spearman).candidates[0].tau
    profiles = [layer_normal(one[0].importances.astype(np.float64).mean(axis=0)).ravel()
                for one in sources.values()]  # fmt: skip
    assert tau == pytest.approx(scipy.stats.spearmanr(*profiles).statistic, abs=1e-12)


def test_an_interval_ends_at_one():
    # The same profile but for noise: the estimate is near 1, and its draws lie on both sides.
    rng = np.random.default_rng(0)
    base = rng.uniform(0.1, 1.0, (1, 2, 4))
    noisy = [Source(base + rng.normal(0, 0.02, (12, 2, 4))) for _ in range(2)]
    (candidate,) = rank({"p": [noisy[0]], "a": [noisy[1]]}).candidates
    assert candidate.interval[1] <= 1.0
    assert candidate.tau > 0.8
