"""Designs: balanced, orthogonal, as exact as theory says, and the primary alone among them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradts_plugin.selection.designs import best_rows, design, full_design, small_sets


def standard_errors(sets):
    """Of the effects by least squares, in spreads of one score."""
    terms = np.column_stack([np.ones(len(sets)), sets])
    return np.sqrt(np.diag(np.linalg.inv(terms.T @ terms)))[1:]


@pytest.mark.parametrize(
    ("num_candidates", "num_rows"),
    [(3, 8), (6, 8), (7, 8), (8, 12), (11, 12), (12, 20), (19, 20)],
)
def test_a_full_design_is_balanced_and_orthogonal_and_as_exact_as_can_be(num_candidates, num_rows):
    found = full_design(num_candidates)
    assert found.shape == (num_rows, num_candidates)
    together = found.T @ found
    assert set(np.diag(together)) == {num_rows // 2}
    assert set(together[~np.eye(num_candidates, dtype=bool)]) == {num_rows // 4}
    # The mean of m / 2 scores less that of the others: sqrt(2 / m + 2 / m).
    np.testing.assert_allclose(standard_errors(found), 2 / np.sqrt(num_rows))


def test_eight_trainings_tell_seven_effects_with_half_the_error_of_one_set_against_alone():
    one_set = standard_errors(np.array([[0], [1]]))
    np.testing.assert_allclose(one_set, [1.41421356])
    np.testing.assert_allclose(standard_errors(full_design(7)), [0.70710678] * 7)


def test_of_one_or_two_candidates_every_set_is_tried_once():
    assert full_design(1).tolist() == [[0], [1]]
    assert full_design(2).tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]


def test_small_sets_are_all_there_once_the_smaller_first():
    assert small_sets(3, 2).tolist() == [
        [0, 0, 0],
        *([1, 0, 0], [0, 1, 0], [0, 0, 1]),
        *([1, 1, 0], [1, 0, 1], [0, 1, 1]),
    ]


@settings(max_examples=60, deadline=None)
@given(
    num_candidates=st.integers(1, 11),
    most_rows=st.integers(2, 16),
    most_together=st.sampled_from([None, 2, 3]),
)
def test_every_design_tells_each_effect_and_has_the_primary_alone_first(
    num_candidates, most_rows, most_together
):
    found = design(num_candidates, most_rows, most_together)
    assert len(found) <= most_rows
    assert found.shape[1] == min(num_candidates, most_rows - 1)
    assert not found[0].any()
    assert found[1:].any(axis=1).all()
    assert len(np.unique(found, axis=0)) == len(found)
    assert (standard_errors(found) < 2).all()
    if most_together and found.shape[1] > 6:
        assert found.sum(axis=1).max() <= most_together


def test_three_pairs_tell_three_effects_better_than_three_singles():
    # Weighing two at a time: each effect is (y12 + y13 - y23 - y0) / 2.
    found = design(3, 4)
    assert sorted(found.tolist()) == [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]
    np.testing.assert_allclose(standard_errors(found), [1.0] * 3)


def test_where_hardly_anything_can_be_tried_singles_are():
    assert design(6, 2).tolist() == [[0], [1]]
    assert design(6, 3).tolist() == [[0, 0], [1, 0], [0, 1]]


def test_with_many_candidates_a_dozen_small_sets_tell_all_effects():
    found = design(10, 12, most_together=3)
    assert found.sum(axis=1).tolist() == [0] + [3] * 11
    # Singles would have 1.41.
    assert standard_errors(found).max() < 1.0


def test_no_exchange_of_one_set_makes_the_choice_better():
    pool = small_sets(5, 3)
    chosen = best_rows(pool, 8).tolist()
    terms = np.column_stack([np.ones(len(pool)), pool])

    def information(rows):
        return np.linalg.det(terms[rows].T @ terms[rows])

    for place in range(1, len(chosen)):
        for other in range(len(pool)):
            changed = [*chosen[:place], other, *chosen[place + 1 :]]
            assert information(changed) <= information(chosen) * (1 + 1e-6)
