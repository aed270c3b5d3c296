"""Contingency tables and where labels agree in them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scvi_cae.tl import contingency, contingency_scores, match_labels

WORKED = np.array([[10, 2, 0], [3, 5, 6], [0, 0, 0]])
TABLES = st.integers(1, 6).flatmap(lambda n: hnp.arrays(np.int64, (n, n), elements=st.integers(0, 20)))


def test_worked_examples():
    scores = contingency_scores(WORKED)
    assert scores[:3] == pytest.approx((1 / 3, 2 / 3, 1 / 3))
    assert scores.unreliable == [1, 2]
    assert scores[4:] == pytest.approx((15 / 26, 2 / 3))
    other = [[5, 5, 0], [1, 9, 0], [0, 0, 3]]
    assert contingency_scores(other) == (1, 1, 1, [], 17 / 23, 1)
    assert contingency_scores(other, factor=1.5)[:4] == (2 / 3, 1, 2 / 3, [0])


@given(TABLES, st.floats(0.5, 5), st.randoms(use_true_random=False))
def test_the_order_of_labels_does_not_matter(x, factor, random):
    order = list(range(len(x)))
    random.shuffle(order)
    scores, shuffled = contingency_scores(x, factor), contingency_scores(x[np.ix_(order, order)], factor)
    assert {order[i] for i in shuffled.unreliable} == set(scores.unreliable)
    drop = [field for field in scores._fields if field != "unreliable"]
    np.testing.assert_allclose(
        [getattr(shuffled, f) for f in drop], [getattr(scores, f) for f in drop], equal_nan=True
    )


@given(TABLES, st.floats(0.5, 5))
def test_rows_and_columns_are_treated_alike(x, factor):
    scores, transposed = contingency_scores(x, factor), contingency_scores(x.T, factor)
    assert scores.reliable_rows == transposed.reliable_columns
    assert scores.unreliable == transposed.unreliable
    assert scores.reliable <= min(scores.reliable_rows, scores.reliable_columns) <= scores.occupancy
    assert scores.reliable == pytest.approx(1 - len(scores.unreliable) / len(x))


@given(TABLES, st.floats(0.5, 5), st.floats(1, 3))
def test_a_larger_factor_is_stricter(x, factor, times):
    assert set(contingency_scores(x, factor).unreliable) <= set(
        contingency_scores(x, factor * times).unreliable
    )


def test_rows_and_columns_of_a_data_frame_go_together_by_name():
    table = pd.DataFrame(WORKED, index=list("abc"), columns=list("abc"))
    assert contingency_scores(table[["c", "a", "b"]]) == contingency_scores(table)
    assert contingency_scores(table).unreliable == ["b", "c"]


def test_no_cells_are_neither_consistent_nor_inconsistent():
    scores = contingency_scores(np.zeros((2, 2)))
    assert np.isnan(scores.consistency)
    assert scores.reliable == scores.occupancy == 0


@given(st.lists(st.tuples(st.sampled_from([None, "x", "y"]), st.sampled_from([None, "x", "z"]))))
def test_cells_with_both_labels_are_counted(pairs):
    a, b = [i for i, _ in pairs], [j for _, j in pairs]
    table = contingency(a, b)
    assert table.to_numpy().sum() == sum(None not in pair for pair in pairs)
    assert all(table.loc[i, j] == pairs.count((i, j)) for i in table.index for j in table.columns)
    np.testing.assert_array_equal(contingency(b, a), table.T)


def test_categories_without_cells_stay_in_their_order():
    a = pd.Series(pd.Categorical(["2", "1"], ["2", "10", "1"]))
    assert list(contingency(a, a).index) == ["2", "10", "1"]
    assert list(contingency(a, a, labels=["1", "2"]).index) == ["1", "2"]


def test_numbers_are_named_without_decimals():
    table = contingency([1, 2, 2], [1.0, 2.0, np.nan])
    assert table.loc["1", "1"] == table.loc["2", "2"] == 1


def test_what_cannot_be_compared_is_named():
    with pytest.raises(ValueError, match="2 cells and b 1"):
        contingency(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="reindex"):
        contingency(pd.Series(["a", "b"], index=["x", "y"]), pd.Series(["a", "b"], index=["y", "x"]))
    with pytest.raises(ValueError, match="duplicates"):
        contingency(["a"], ["a"], labels=["a", "a"])
    with pytest.raises(ValueError, match="same labels"):
        contingency_scores(contingency(["a", "b"], ["x", "y"]))
    with pytest.raises(ValueError, match="shape"):
        contingency_scores([[1, 2]])
    with pytest.raises(ValueError, match="counts"):
        contingency_scores([[-1]])
    with pytest.raises(ValueError, match="factor"):
        contingency_scores([[1]], factor=0)


@given(st.permutations(list("abcd")), st.integers(0, 2))
def test_renamed_labels_are_matched_back(names, n_more):
    """Also if one label was split in several."""
    true = np.repeat(list("abcd"), 10)
    found = pd.Series(true).map(dict(zip("abcd", names, strict=True))).to_numpy(dtype=object)
    found[:n_more] = [f"more {i}" for i in range(n_more)]
    table = contingency(true, found)
    assert match_labels(table) == dict(zip(names, "abcd", strict=True))
    assert list(match_labels(table).values()) == list("abcd")
    assert match_labels(table.T) == dict(zip("abcd", names, strict=True))


def test_as_many_cells_as_possible_are_in_pairs():
    """Rather than the largest entry first."""
    table = pd.DataFrame([[10, 9], [8, 0]], index=["a", "b"], columns=["1", "2"])
    assert match_labels(table) == {"2": "a", "1": "b"}


def test_labels_without_a_common_cell_are_not_matched():
    assert match_labels(contingency(["a", "a"], ["1", "2"])) in ({"1": "a"}, {"2": "a"})
    assert match_labels(pd.DataFrame([[3, 0], [0, 0]], index=["a", "b"], columns=["1", "2"])) == {"1": "a"}
