"""Counts per kilobase, and the way from there to transcripts per million."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_cae.pp import normalize_gene_length

LENGTHS = [500, 1000, 2500, 12345]


def make_rna(counts: np.ndarray | None = None) -> anndata.AnnData:
    counts = np.random.default_rng(0).poisson(5, (6, 4)) if counts is None else counts
    return anndata.AnnData(
        counts.astype(np.float32),
        obs=pd.DataFrame(index=[f"cell{i}" for i in range(len(counts))]),
        var=pd.DataFrame({"length": LENGTHS}, index=["a", "b", "c", "d"]),
    )


@given(st.integers(0, 10**6), st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_matrix]))
@settings(deadline=None, max_examples=30)
def test_chain_yields_log_tpm(seed, make):
    counts = np.random.default_rng(seed).poisson(5, (6, 4)) + np.array([1, 0, 0, 0])
    rna = make_rna(counts)
    rna.X = make(rna.X)
    normalize_gene_length(rna, "length")
    sc.pp.normalize_total(rna, target_sum=1e6)
    sc.pp.log1p(rna)
    rate = counts / LENGTHS
    expected = np.log1p(1e6 * rate / rate.sum(axis=1, keepdims=True))
    got = rna.X.toarray() if sparse.issparse(rna.X) else rna.X
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_divisor_is_recorded_in_kilobases():
    rna = make_rna()
    normalize_gene_length(rna, "length")
    assert rna.var["gene_length_divisor"].tolist() == [0.5, 1, 2.5, 12.345]


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_whole_numbers_become_float32(make):
    rna = make_rna()
    counts = rna.X.astype(np.int64)
    rna.layers["counts"] = make(counts)
    normalize_gene_length(rna, "length", layer="counts")
    assert rna.layers["counts"].dtype == np.float32
    got = rna.layers["counts"].toarray() if sparse.issparse(rna.layers["counts"]) else rna.layers["counts"]
    np.testing.assert_allclose(got, counts / np.array(LENGTHS) * 1000, rtol=1e-6)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_the_users_own_matrix_is_not_changed(make):
    counts = make(np.random.default_rng(0).poisson(5, (6, 4)).astype(np.float32))
    before = counts.copy()
    rna = make_rna()
    rna.X = counts
    rna.layers["counts"] = counts
    normalize_gene_length(rna, "length")
    assert abs(rna.layers["counts"] - before).max() == 0


@pytest.mark.parametrize("dtype", ["float64", "int64", "Int64", "Float64"])
def test_series_of_any_number_and_order(dtype):
    one, other = make_rna(), make_rna()
    normalize_gene_length(one, "length")
    lengths = pd.Series([*LENGTHS, 77], index=["a", "b", "c", "d", "unused"]).iloc[::-1].astype(dtype)
    normalize_gene_length(other, lengths)
    np.testing.assert_array_equal(one.X, other.X)


@pytest.mark.parametrize(
    ("lengths", "error", "match"),
    [
        (pd.Series([5.0, np.nan, 0, -2], index=list("abcd")), ValueError, "3 of 4 genes.*: 'b', 'c', 'd'"),
        (pd.Series([5, 6, 7], index=list("abc")), ValueError, "1 of 4 genes.*: 'd'"),
        (pd.Series([5, 6, 7, None], index=list("abcd"), dtype="Int64"), ValueError, "1 of 4 genes.*: 'd'"),
        (pd.Series([5, 6, 7, np.inf], index=list("abcd")), ValueError, "1 of 4 genes.*: 'd'"),
        (pd.Series(range(1, 6), index=list("abcda")), ValueError, "more than once: 'a'"),
        (pd.Series(list("5678"), index=list("abcd")), TypeError, "of numbers"),
        (LENGTHS, TypeError, "not list"),
        ("exons", KeyError, "no column 'exons' in .var.*it has 'length'"),
    ],
)
def test_bad_lengths_are_named(lengths, error, match):
    rna = make_rna()
    with pytest.raises(error, match=match):
        normalize_gene_length(rna, lengths)
    np.testing.assert_array_equal(rna.X, make_rna().X)


def test_nothing_is_divided_twice():
    rna = make_rna()
    normalize_gene_length(rna, "length")
    once = rna.X.copy()
    with pytest.raises(ValueError, match="already has .var.'gene_length_divisor'.*have been divided"):
        normalize_gene_length(rna, "length")
    np.testing.assert_array_equal(rna.X, once)


def test_logarithms_are_refused():
    rna = make_rna()
    rna.layers["counts"] = rna.X.copy()
    sc.pp.log1p(rna)
    with pytest.raises(ValueError, match="log-transformed.*layer="):
        normalize_gene_length(rna, "length")
    normalize_gene_length(rna, "length", layer="counts")


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_negative_values_are_refused(make):
    rna = make_rna(np.random.default_rng(0).normal(size=(6, 4)))
    rna.X = make(rna.X)
    with pytest.raises(ValueError, match="below 0, which are not counts"):
        normalize_gene_length(rna, "length")
