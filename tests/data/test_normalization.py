"""What expression values are is told from the values, whatever total, base and genes, and a wrong record is seen."""

from __future__ import annotations

import math

import anndata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scvi_cae._normalization import NORMALIZATION, Normalization
from scvi_cae.data._normalization import find_normalization, infer_normalization, linear_sums

GENES = pd.Index([f"g{i}" for i in range(120)])


def counts(seed: int = 0, n_cells: int = 40) -> np.ndarray:
    """Counts of cells that differ in depth, and of genes that differ in expression."""
    rng = np.random.default_rng(seed)
    depth, expression = rng.lognormal(0, 0.5, (n_cells, 1)), rng.lognormal(1, 1.5, len(GENES))
    return rng.poisson(depth * expression).astype(np.float32)


def per_total(values: np.ndarray, total: float) -> np.ndarray:
    return values / values.sum(1, keepdims=True) * total


def found(values, uns=None, names: pd.Index | None = None) -> Normalization | None:
    names = GENES[: values.shape[1]] if names is None else names
    return find_normalization(uns or {}, values, "rna", names)


bases = st.sampled_from([math.e, 2.0, 10.0])
totals = st.sampled_from([1e4, 1e6, 8143.0])


@given(st.integers(0, 5), totals, bases, st.sampled_from([np.asarray, sparse.csr_matrix, sparse.csc_matrix]))
def test_logarithms_of_counts_per_total(seed, total, base, kind):
    values = (np.log1p(per_total(counts(seed), total)) / math.log(base)).astype(np.float32)
    what = found(kind(values))
    assert what.kind == "log"
    assert what.base == base
    assert what.total == pytest.approx(total, rel=1e-4)
    assert what.genes == tuple(GENES)
    np.testing.assert_allclose(what.linear(values).sum(1), total, rtol=1e-3)


@given(st.integers(0, 5), totals, bases)
def test_genes_chosen_afterwards_leave_the_base(seed, total, base):
    """Sums differ, but values are whole multiples of those of one count."""
    values = (np.log1p(per_total(counts(seed), total)) / math.log(base)).astype(np.float32)[:, :70]
    what = found(values)
    assert (what.kind, what.base, what.total, what.genes) == ("log", base, None, None)


@given(st.integers(0, 5))
def test_counts_and_their_logarithm(seed):
    values = counts(seed)
    assert found(values) == Normalization("counts")
    assert found(np.log1p(values)) == Normalization("log_counts")
    assert found(per_total(values, 1e6)).kind == "per_total"
    assert found(per_total(values, 1e6)[:, :70]) == Normalization("per_total")


@given(st.integers(0, 5), st.booleans())
def test_what_is_no_expression_is_not_recognised(seed, positive):
    values = np.random.default_rng(seed).normal(size=(40, len(GENES)))
    assert found(np.abs(values) if positive else values) is None
    assert found((values > 0).astype(float)) is None  # such as open chromatin
    few = counts(seed)[:, :30]
    assert found(few, names=GENES[:30]) is None  # electrophysiology may be whole numbers


def test_cells_without_counts_and_missing_values():
    values = np.log1p(per_total(counts(), 1e4))
    values[3], values[5] = 0, np.nan
    assert found(values).total == 1e4
    assert found(np.full_like(values, np.nan)) is None
    assert infer_normalization(values[:0], GENES) is None


def test_what_scanpy_does_is_recognised():
    adata = anndata.AnnData(sparse.csr_matrix(counts()), var=pd.DataFrame(index=GENES))
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata, base=3)
    assert found(adata.X) is None  # no base that anyone is expected to take
    what = found(adata.X, adata.uns)
    assert (what.base, what.total) == (3, 1e4)


def test_a_record_is_believed_where_it_can_be():
    values = np.log1p(per_total(counts(), 1e6))
    stated = Normalization("log", 1e6, genes=tuple(GENES), stated=True)
    uns = {NORMALIZATION: stated.to_uns()}
    assert found(values, uns) == stated
    assert found(values[:, :70], uns) == stated  # genes chosen afterwards
    for changed in (values / 2, values - values.mean(0), counts(), np.log1p(per_total(counts(), 1e4))):
        with pytest.warns(UserWarning, match="says that values are natural logarithms .* del mdata"):
            found(changed, uns)


@given(
    st.sampled_from(["counts", "per_total", "log", "log_counts"]),
    st.none() | totals,
    bases,
    st.none() | st.lists(st.text(min_size=1), min_size=1, max_size=3),
)
def test_records_survive_uns_and_registry(kind, total, base, genes):
    what = Normalization(kind, total, base, None if genes is None else tuple(genes), stated=True)
    assert Normalization.from_uns(what.to_uns()) == what
    assert Normalization.from_registry(what.to_registry()) == what
    values = np.array([[0.0, 1.5, 3.0]])
    np.testing.assert_allclose(what.from_linear(what.linear(values)), values)


def test_a_record_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="kind='z-scores' must be one of counts"):
        Normalization.from_uns({"kind": "z-scores"})


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_sums_over_some_genes(kind):
    values = per_total(counts(), 1e4)
    some = np.arange(len(GENES)) % 3 == 0
    sums = linear_sums(kind(np.log1p(values)), some, Normalization("log"))
    np.testing.assert_allclose(sums, values[:, some].sum(1), rtol=1e-5)
