"""The beta score against its published formula, written as a loop over pairs of types."""

from __future__ import annotations

from itertools import combinations

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_cae.pp import beta_score


def brute_force(values: np.ndarray, types: np.ndarray, min_value: float) -> np.ndarray:
    on = values > min_value
    proportions = [on[types == name].mean(axis=0) for name in sorted(set(types))]
    differences = np.array([np.abs(p - u) for p, u in combinations(proportions, 2)])
    return (differences**2).sum(axis=0) / (differences.sum(axis=0) + 1e-10)


def make_rna(values: np.ndarray, types: object) -> anndata.AnnData:
    n_cells, n_genes = values.shape
    return anndata.AnnData(
        values.astype(np.float32),
        obs=pd.DataFrame({"type": types}, index=[f"cell{i}" for i in range(n_cells)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(n_genes)]),
    )


@st.composite
def counts(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Counts, and a type for each cell; at least two types."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n_types, n_cells = draw(st.integers(2, 7)), draw(st.integers(2, 25))
    types = np.array([f"t{i}" for i in rng.integers(0, n_types, n_cells)])
    types[:2] = ["t0", "t1"]
    rates = rng.choice([0.0, 0.3, 2.0, 50.0], size=(n_types, draw(st.integers(1, 5))))
    return rng.poisson(rates[[int(name[1:]) for name in types]]), types


@given(
    counts(), st.sampled_from([0.0, 1.0]), st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_array])
)
@settings(deadline=None, max_examples=60)
def test_score_is_its_formula(case, min_value, make):
    values, types = case
    rna = make_rna(values, types)
    rna.X = make(rna.X)
    beta_score(rna, "type", min_value=min_value, n_top=1)
    np.testing.assert_allclose(
        rna.var["beta_score"], brute_force(values, types, min_value), rtol=1e-9, atol=1e-12
    )


@given(counts(), st.randoms())
@settings(deadline=None, max_examples=30)
def test_order_of_cells_and_names_of_types_do_not_matter(case, random):
    values, types = case
    order = list(range(len(types)))
    random.shuffle(order)
    renamed = pd.Series(types).map({name: -i for i, name in enumerate(sorted(set(types)))}).to_numpy()
    one, other = make_rna(values, types), make_rna(values[order], renamed[order])
    for rna in (one, other):
        beta_score(rna, "type", n_top=1)
    np.testing.assert_allclose(one.var["beta_score"], other.var["beta_score"], rtol=1e-12)


@given(counts(), st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_only_the_given_cells_count(case, seed):
    values, types = case
    others = np.random.default_rng(seed).poisson(3, size=(5, values.shape[1]))
    alone = make_rna(values, types)
    rna = make_rna(
        np.concatenate([others, values]), np.concatenate([["t0", "t1", "new", "new", "new"], types])
    )
    beta_score(alone, "type", n_top=1)
    beta_score(rna, "type", n_top=1, cells=np.arange(len(types)) + 5)
    pd.testing.assert_frame_equal(rna.var, alone.var)
    assert rna.uns["beta_score"]["n_cells"].sum() == len(types)


def test_extremes():
    """A perfect marker of one type, of two of four; a gene of half the cells of every type; one that is never on."""
    types = np.repeat(["a", "b", "c", "d"], 4)
    rna = make_rna(
        np.column_stack([types == "a", np.isin(types, ["a", "b"]), np.tile([0, 1], 8), np.zeros(16)]), types
    )
    beta_score(rna, "type")
    assert rna.var["beta_score"][:2].to_numpy() == pytest.approx([1, 1])
    assert rna.var["beta_score"][2:].tolist() == [0, 0]
    assert rna.var["beta_score_selected"].tolist() == [True, True, False, False]


def test_equal_proportions_that_rounding_could_part_score_0():
    types = np.repeat([f"t{i}" for i in range(7)], 10)
    rna = make_rna(np.column_stack([np.tile(np.arange(10) == 3, 7), types == "t0"]), types)
    beta_score(rna, "type")
    assert rna.var["beta_score"].iloc[0] == 0


def test_selection_by_threshold_is_strict_and_by_number_takes_the_first_of_equals():
    types = np.repeat(["a", "b"], 2)
    values = np.array([[1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    rna = make_rna(values, types)
    beta_score(rna, "type", n_top=1, key_added="one")
    beta_score(rna, "type", n_top=3, key_added="three")
    beta_score(rna, "type", min_score=rna.var["one"].iloc[0], key_added="above")
    assert rna.var["one_selected"].tolist() == [False, True, False, False]
    assert rna.var["three_selected"].tolist() == [True, True, False, True]
    assert rna.var["above_selected"].tolist() == [False, True, False, True]
    assert rna.var["one_selected"].dtype == bool
    assert rna.uns["one"]["n_top"] == 1
    assert "min_score" not in rna.uns["one"]
    assert rna.uns["above"]["min_score"] == rna.var["one"].iloc[0]


def test_of_many_equals_the_first_are_selected():
    marker = np.random.default_rng(0).random(300) < 0.5
    rna = make_rna(np.tile([[0], [1]], (2, 300)) * marker, ["a", "b"] * 2)
    beta_score(rna, "type", n_top=30)
    assert np.flatnonzero(rna.var["beta_score_selected"]).tolist() == np.flatnonzero(marker)[:30].tolist()


def test_published_threshold_is_the_default():
    types = np.repeat(["a", "b"], 10)
    values = np.zeros((20, 2))
    values[:4, 0], values[:5, 1] = 1, 1  # on in 40 % and 50 % of the cells of one type
    rna = make_rna(values, types)
    beta_score(rna, "type")
    assert rna.uns["beta_score"]["min_score"] == 0.4
    assert rna.var["beta_score_selected"].tolist() == [False, True]


def test_cells_without_a_type_are_left_out():
    values = np.random.default_rng(0).poisson(1, size=(12, 5))
    types = pd.Categorical(["a", "b", None] * 4, categories=["a", "b", "unused"])
    rna = make_rna(values, types)
    typed = make_rna(values[~types.isna()], np.tile(["a", "b"], 4))
    for data in (rna, typed):
        beta_score(data, "type", n_top=1)
    pd.testing.assert_frame_equal(rna.var, typed.var)
    assert list(rna.uns["beta_score"]["groups"]) == ["a", "b"]
    assert list(rna.uns["beta_score"]["n_cells"]) == [4, 4]


def test_types_of_a_mudata_are_matched_by_name():
    rng = np.random.default_rng(0)
    types = np.tile(["a", "b", "c"], 10)
    alone = make_rna(rng.poisson(1, size=(30, 4)), types)
    rna = alone[rng.permutation(30)].copy()
    del rna.obs["type"]
    ephys = make_rna(rng.normal(size=(30, 2)), types)
    ephys.obs = ephys.obs.rename(columns={"type": "of_ephys"})
    ephys.var_names = ["e0", "e1"]
    mdata = mudata.MuData({"rna": rna, "ephys": ephys})
    mdata.obs["of_mdata"] = alone.obs.loc[mdata.obs_names, "type"]
    beta_score(alone, "type", n_top=1)
    for column in ("of_mdata", "of_ephys"):
        beta_score(mdata, column, modality="rna", n_top=1, key_added=column)
        np.testing.assert_array_equal(mdata["rna"].var[column], alone.var["beta_score"])
    with pytest.raises(KeyError, match="No column 'of_rna'"):
        beta_score(mdata, "of_rna", modality="rna")


def test_a_mudata_that_does_not_know_the_cells_is_refused():
    mdata = mudata.MuData({"rna": make_rna(np.ones((4, 2)), ["a", "b"] * 2)})
    mdata.obs["type"] = ["a", "b"] * 2
    mdata["rna"].obs_names = [f"new{i}" for i in range(4)]
    with pytest.raises(ValueError, match=r"not in mdata.obs: 'new0'.*mdata.update\(\)"):
        beta_score(mdata, "type", modality="rna")


def test_results_survive_a_file(tmp_path):
    rna = make_rna(np.random.default_rng(0).poisson(1, size=(12, 5)), ["a", "b", "c"] * 4)
    beta_score(rna, "type", n_top=2)
    rna.write_h5ad(tmp_path / "rna.h5ad")
    read = anndata.read_h5ad(tmp_path / "rna.h5ad")
    assert list(read.uns["beta_score"]["groups"]) == ["a", "b", "c"]
    pd.testing.assert_frame_equal(read.var, rna.var)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"min_score": 0.3, "n_top": 2}, "Use one of them"),
        ({"min_value": -1}, "min_value=-1 must be at least 0"),
        ({"min_value": np.nan}, "min_value=nan"),
        ({"n_top": 0}, "n_top=0 must be a whole number from 1 to 5"),
        ({"n_top": 6}, "n_top=6 must be a whole number from 1 to 5"),
        ({"min_score": 2}, r"no gene has a score above min_score=2; the highest is 0\.\d+, of 'gene\d'"),
        ({"cells": [0, 3, 6]}, "in 'type' the 3 cells have only 'a'"),
    ],
)
def test_bad_arguments_are_named(arguments, match):
    rna = make_rna(np.random.default_rng(0).poisson(1, size=(12, 5)), ["a", "b", "c"] * 4)
    with pytest.raises(ValueError, match=match):
        beta_score(rna, "type", **arguments)
    assert rna.var.empty
    assert not rna.uns


def test_unknown_column_is_named():
    with pytest.raises(KeyError, match="No column 'family' in .obs; it has 'type'"):
        beta_score(make_rna(np.ones((4, 2)), ["a", "b"] * 2), "family")


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_missing_values_are_refused(make):
    rna = make_rna(np.ones((4, 3)), ["a", "b"] * 2)
    rna.X[1, 2] = np.nan
    rna.X = make(rna.X)
    with pytest.raises(ValueError, match=r"1 features have missing values \(NaN\): 'gene2'"):
        beta_score(rna, "type")


def test_nothing_is_overwritten():
    rna = make_rna(np.random.default_rng(0).poisson(1, size=(12, 5)), ["a", "b", "c"] * 4)
    rna.var["beta_score"] = 7
    with pytest.raises(ValueError, match="already has .var.'beta_score'.*another key_added"):
        beta_score(rna, "type", n_top=1)
    assert (rna.var["beta_score"] == 7).all()
