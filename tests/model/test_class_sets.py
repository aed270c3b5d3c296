"""Sets of classes have their coverage, whatever the probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.model._class_sets import min_scores, set_names, threshold


@given(
    st.lists(st.floats(0, 1), min_size=10, max_size=60),
    st.sampled_from([0.5, 0.8, 0.9]),
)
def test_of_exchangeable_cells_the_nominal_fraction_is_covered(scores, coverage):
    """Each cell in turn is the new one: then its rank among all is uniform, as that of an exchangeable cell is."""
    scores = np.array(scores)
    covered = [scores[k] >= threshold(np.delete(scores, k), coverage) for k in range(len(scores))]
    assert np.mean(covered) >= coverage - 1e-9
    if len(np.unique(scores)) == len(scores):
        assert np.mean(covered) < coverage + 1 / len(scores) + 1e-9


@given(st.floats(0.01, 0.99))
def test_fewer_cells_than_needed_give_no_threshold(coverage):
    n = min_scores(coverage)
    assert np.isfinite(threshold(np.ones(n), coverage))
    assert np.isnan(threshold(np.ones(n - 1), coverage))


@pytest.mark.parametrize(("coverage", "n"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_numbers_of_cells_that_are_needed(coverage, n):
    assert min_scores(coverage) == n


def test_names_are_in_order_and_a_set_is_never_empty():
    probabilities = np.array([[0.2, 0.5, 0.3], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8]])
    assert set_names(probabilities, 0.3, ["a", "b", "c"]) == ["b | c", "a | b", "c"]
    assert set_names(probabilities, 0.9, ["a", "b", "c"]) == ["b", "a", "c"]
