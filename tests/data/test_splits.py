from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.data import Split, check_split, draw_split, given_split, positions, presence_pattern


@given(st.integers(1, 300), st.integers(1, 6), st.floats(0.05, 1), st.floats(0, 1), st.integers(0, 1000))
def test_every_cell_is_in_one_set_and_strata_keep_their_proportions(n, n_strata, train_size, share, seed):
    rng = np.random.RandomState(seed)
    strata = rng.randint(n_strata, size=n)
    validation_size = share * (1 - train_size)
    split = draw_split([strata], train_size, validation_size, rng)
    np.testing.assert_array_equal(
        np.sort(np.concatenate([split.train, split.validation, split.test])), np.arange(n)
    )
    assert abs(len(split.train) - n * train_size) < 1 + 1e-6
    assert abs(len(split.validation) - n * validation_size) < 2
    for stratum in range(n_strata):
        assert abs((strata[split.train] == stratum).sum() - train_size * (strata == stratum).sum()) < 1 + 1e-6


def test_proportions_hold_within_combinations_of_columns():
    pattern, label = np.repeat([0, 1], 100), np.tile(np.repeat(["x", "y"], 50), 2)
    split = draw_split([pattern, label], 0.8, None, np.random.RandomState(0))
    assert len(split.test) == 0
    for p in (0, 1):
        for y in "xy":
            assert ((pattern == p) & (label == y))[split.validation].sum() == 10


def test_missing_labels_are_a_stratum():
    label = np.array(["x"] * 50 + [None] * 50, dtype=object)
    split = draw_split([label], 0.8, None, np.random.RandomState(0))
    assert (split.validation < 50).sum() == 10


def test_defaults_are_those_of_scvi():
    split = draw_split([np.zeros(200)], None, None, np.random.RandomState(0))
    assert (len(split.train), len(split.validation), len(split.test)) == (180, 20, 0)


def test_same_seed_same_split():
    a, b, c = (draw_split([np.zeros(100)], 0.7, 0.1, np.random.RandomState(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(a.train, b.train)
    assert not np.array_equal(a.train, c.train)


@pytest.mark.parametrize(
    ("train_size", "validation_size", "message"),
    [
        (0, None, "train_size=0"),
        (1.5, None, "train_size"),
        (0.9, 0.2, "validation_size=0.2"),
        (0.5, -0.1, "validation_size"),
    ],
)
def test_fractions_are_checked(train_size, validation_size, message):
    with pytest.raises(ValueError, match=message):
        draw_split([np.zeros(10)], train_size, validation_size, np.random.RandomState(0))


def test_given_cells_and_the_rest():
    split = given_split(6, [[0, 2], np.array([1])])
    assert [x.tolist() for x in (split.train, split.validation, split.test)] == [[0, 2], [1], [3, 4, 5]]
    split = given_split(4, [np.array([0, 1]), None, [3]])
    assert [x.tolist() for x in (split.train, split.validation, split.test)] == [[0, 1], [], [3, 2]]


@pytest.mark.parametrize(
    ("indexing", "message"),
    [
        ([[0, 0]], "named twice.*'0'"),
        ([[0], [0]], "named twice"),
        ([[6]], "outside 0 to 5: '6'"),
        ([[-1]], "outside"),
        ([[0.5]], "float64"),
        ([[True, False, True]], "bool"),
        ([["cell1"]], "list of positions"),
        ([[[0, 1]]], "shape"),
        ([], "1 to 3 arrays"),
        ([[0], [1], [2], [3]], "1 to 3 arrays"),
    ],
)
def test_given_cells_are_checked(indexing, message):
    with pytest.raises(ValueError, match=message):
        given_split(6, indexing)


def test_masks_are_positions():
    assert positions([True, False, True], 3).tolist() == [0, 2]
    assert positions([], 3).tolist() == []
    assert positions(range(2), 3).tolist() == [0, 1]


def test_presence_pattern_tells_combinations_apart():
    a, b = np.array([0, 0, 1, 1], bool), np.array([0, 1, 0, 1], bool)
    assert len(set(presence_pattern({"a": a, "b": b}))) == 4


PRESENT = {"a": np.arange(10) < 8, "b": np.arange(10) >= 4}


@pytest.mark.parametrize(
    ("train", "validation", "message"),
    [
        ([], [1], "no training cells"),
        ([8, 9], [], "None of the 2 training cells have modality 'a'"),
        ([0, 1, 8, 9], [], "None of the 4 training cells have both 'a' and 'b'"),
        ([0, 4, 9], [], "Only 1 of the 3 training cells have both 'a' and 'b', fewer than the 2 latent"),
        ([4, 5, 6], [8], "None of the 1 validation cells have modality 'a'"),
        ([4, 5, 6], [0, 8], "None of the 2 validation cells have both"),
    ],
)
def test_splits_that_leave_something_empty(train, validation, message):
    split = Split(*(np.array(x, dtype=int) for x in (train, validation, [])))
    with pytest.raises(ValueError, match=message):
        check_split(split, PRESENT, [("a", "b")], 2)


def test_a_sufficient_split_passes():
    check_split(Split(np.array([4, 5, 0]), np.array([6]), np.array([9])), PRESENT, [("a", "b")], 2)


def test_missing_labels_do_not_depend_on_how_they_are_stored():
    labels = ["z", None, "a", "p"] * 25
    forms = (np.array(labels, dtype=object), pd.Series(labels), pd.Series(pd.Categorical(labels)))
    first, *others = (draw_split([form], 0.5, None, np.random.RandomState(0)) for form in forms)
    for other in others:
        np.testing.assert_array_equal(first.train, other.train)
