"""Layer normalisation by hand, and Kendall's tau against scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau

from gradts_plugin.errors import DegenerateImportanceError
from gradts_plugin.ranking.correlation import kendall, layer_normal, require_rankable

MATRICES = arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(2, 5)),
    elements=st.floats(0, 1e6, allow_subnormal=False).map(lambda value: round(value, 3)),
)


# --- layer normalisation --------------------------------------------------------------------------


def test_layer_normal_by_hand():
    # Shares: (.25, .75) and (.5, .5); min .25, max .75.
    assert layer_normal(np.array([[1.0, 3.0], [20.0, 20.0]])).tolist() == [[0.0, 1.0], [0.5, 0.5]]


def test_a_layer_of_zeros_stays_zero():
    # Shares: (.2, .8) and (0, 0).
    normal = layer_normal(np.array([[1.0, 4.0], [0.0, 0.0]]))
    assert normal.tolist() == [[0.25, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((2, 3)),
        np.full((2, 3), 7.0),
        np.array([[0.1, 0.1, 0.1], [0.7, 0.7, 0.7]]),  # thirds that differ in their last bit
        np.array([[3.0], [5.0]]),  # one head per layer
    ],
)
def test_constant_matrices_become_zero(matrix):
    assert np.array_equal(layer_normal(matrix), np.zeros(matrix.shape))


def test_matrices_are_normalised_one_by_one():
    stack = np.random.default_rng(0).random((3, 2, 4, 5)).astype(np.float32)
    normal = layer_normal(stack)
    assert normal.dtype == np.float64
    assert normal.shape == stack.shape
    for index in np.ndindex(3, 2):
        assert np.array_equal(normal[index], layer_normal(stack[index]))


@given(MATRICES)
def test_layer_normal_is_finite_and_fills_the_unit_interval(matrix):
    before = matrix.copy()
    normal = layer_normal(matrix)
    assert np.isfinite(normal).all()
    assert normal.min() == 0.0
    assert normal.max() in (0.0, 1.0)
    assert np.array_equal(matrix, before)


@given(MATRICES, st.integers(-20, 20))
def test_the_scale_of_a_layer_does_not_matter(matrix, exponent):
    scaled = matrix.copy()
    scaled[0] *= 2.0**exponent
    assert np.allclose(layer_normal(scaled), layer_normal(matrix), rtol=0, atol=1e-9)


# --- what can be ranked ---------------------------------------------------------------------------


def test_a_matrix_with_differences_can_be_ranked():
    require_rankable(np.array([[1.0, 2.0], [0.0, 0.0]]), "rte")


@pytest.mark.parametrize(
    ("matrix", "reason"),
    [
        ([[0.0, 0.0], [0.0, 0.0]], "zero everywhere"),
        ([[2.0, 2.0], [5.0, 5.0]], "same importance"),
        ([[2.0], [5.0]], "one head per layer"),
        ([[2.0, float("nan")]], "NaN or infinity"),
        ([[2.0, float("inf")]], "NaN or infinity"),
    ],
)
def test_what_cannot_be_ranked_is_refused_with_the_reason(matrix, reason):
    with pytest.raises(
        DegenerateImportanceError, match=f"^task 'rte' cannot be ranked: .*{reason}"
    ):
        require_rankable(np.array(matrix), "rte")


# --- Kendall's tau --------------------------------------------------------------------------------


def scipy_taus(reference, others):
    return np.nan_to_num([kendalltau(reference, other).statistic for other in others], nan=0.0)


def test_tau_by_hand():
    reference = np.array([1.0, 2.0, 3.0, 4.0])
    others = np.array(
        [
            [1.0, 2.0, 3.0, 4.0],
            [4.0, 3.0, 2.0, 1.0],
            [1.0, 2.0, 4.0, 3.0],  # 5 of 6 pairs agree: (5 - 1) / 6
            [1.0, 1.0, 2.0, 2.0],  # 4 agree, 2 tied: 4 / sqrt(6 * 4)
            [9.0, 9.0, 9.0, 9.0],  # undefined
        ]
    )
    expected = [1.0, -1.0, 4 / 6, 4 / np.sqrt(24), 0.0]
    assert np.allclose(kendall(reference, others), expected, rtol=0, atol=1e-15)


def test_no_tau_is_above_one_by_a_rounding():
    # sqrt(3) * sqrt(3) is a bit less than 3.
    profile = np.arange(3.0)
    assert kendall(profile, np.stack([profile, -profile])).tolist() == [1.0, -1.0]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_tau_equals_scipys_with_ties(data):
    num_heads = data.draw(st.integers(2, 30))
    levels = st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, 1e-300])
    values = data.draw(st.sampled_from([levels, st.floats(-1e6, 1e6)]))
    reference = data.draw(arrays(np.float64, num_heads, elements=values))
    others = data.draw(arrays(np.float64, (4, num_heads), elements=values))
    taus = kendall(reference, others)
    assert taus.dtype == np.float64
    assert np.allclose(taus, scipy_taus(reference, others), rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_heads", [72, 144, 384])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tau_equals_scipys_on_matrices_of_real_size(num_heads, dtype):
    random = np.random.default_rng(num_heads)
    reference = random.random(num_heads).astype(dtype)
    others = random.random((20, num_heads)).astype(dtype)
    others[:5] = others[:5].round(1)
    others[5:10] += 3 * reference  # also far from zero
    for of_reference in (reference, reference.round(1)):
        found = kendall(of_reference, others)
        assert np.allclose(found, scipy_taus(of_reference, others), rtol=0, atol=1e-12)


def test_tau_of_more_profiles_than_one_block():
    random = np.random.default_rng(5)
    reference, others = random.random(8), random.random((2500, 8))
    others[-1] = others[-1].round(1)
    assert np.allclose(kendall(reference, others), scipy_taus(reference, others), atol=1e-12)


@given(
    st.permutations(range(6)),
    arrays(np.float64, (3, 6), elements=st.integers(0, 3).map(float)),
)
def test_the_order_of_heads_does_not_matter(order, profiles):
    reference, others = profiles[0], profiles[1:]
    assert np.array_equal(kendall(reference[order], others[:, order]), kendall(reference, others))
    assert np.array_equal(kendall(-reference, others), -kendall(reference, others))


def test_a_constant_reference_has_no_tau():
    assert kendall(np.ones(5), np.arange(10.0).reshape(2, 5)).tolist() == [0.0, 0.0]


def test_nothing_to_compare():
    assert kendall(np.arange(3.0), np.empty((0, 3))).shape == (0,)
    assert kendall(np.ones(1), np.ones((2, 1))).tolist() == [0.0, 0.0]


def test_nan_is_refused():
    with pytest.raises(DegenerateImportanceError, match="NaN"):
        kendall(np.arange(3.0), np.array([[0.0, 1.0, float("nan")]]))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"found \(3,\) and \(2, 4\)"):
        kendall(np.arange(3.0), np.ones((2, 4)))
