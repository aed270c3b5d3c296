"""A query on any total and base is brought onto the model's values; what cannot be restored is said, not guessed."""

from __future__ import annotations

import math
import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from conftest import fit, make_modality
from scvi_cae import CoupledAE
from scvi_cae.data._scale import QueryScale

prepare = CoupledAE.prepare_query_mudata
N_CELLS, N_GENES = 150, 80


def transcriptomes(seed: int = 0) -> anndata.AnnData:
    """Counts of two types of cells that differ in depth."""
    rng = np.random.default_rng(seed)
    depth = rng.lognormal(0, 0.5, (N_CELLS, 1))
    expression = rng.lognormal(1.5, 1.2, (2, N_GENES))[rng.integers(2, size=N_CELLS)]
    cells = np.array([f"c{i}" for i in range(N_CELLS)])
    return make_modality(rng.poisson(depth * expression), cells, "g")


def normalised(
    counts: anndata.AnnData, total: float | None = 1e6, base: float | None = None
) -> anndata.AnnData:
    adata = counts.copy()
    sc.pp.normalize_total(adata, target_sum=total)
    sc.pp.log1p(adata, base=base)
    adata.uns.clear()
    return adata


@pytest.fixture(scope="module")
def counts():
    return transcriptomes()


def trained_on(rna: anndata.AnnData) -> CoupledAE:
    ephys = make_modality(np.random.default_rng(1).normal(size=(N_CELLS, 8)), rna.obs_names.to_numpy(), "e")
    mdata = mudata.MuData({"rna": rna, "ephys": ephys})
    CoupledAE.setup_mudata(mdata)
    return fit(mdata, max_epochs=2)


@pytest.fixture(scope="module")
def model(counts):
    return trained_on(normalised(counts))


def prepared(model, adata: anndata.AnnData) -> tuple[mudata.MuData, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        query = prepare(mudata.MuData({"rna": adata}), model)
    return query, [str(w.message) for w in caught if "Modality" in str(w.message)]


@given(
    st.sampled_from([1e4, 1e6, None, 37.5]),
    st.sampled_from([None, 2, 10]),
    st.booleans(),
    st.sampled_from([np.asarray, sparse.csr_matrix]),
)
def test_any_total_and_base_gives_the_same_values(model, counts, total, base, more, kind):
    """Also with further genes, over which the query's total is."""
    expected = normalised(counts)
    if more:
        other = transcriptomes(7)
        other.var_names = "h" + other.var_names
        counts = anndata.concat([counts, other], axis=1)
    theirs = normalised(counts, total, base)
    theirs.X = kind(theirs.X)
    query, said = prepared(model, theirs)
    same = total == 1e6 and base is None and not more
    assert len(said) == (not same)
    assert all(text.endswith("query = model.normalize_query(query).") for text in said)
    query = model.normalize_query(query)
    found = query["rna"].to_df().loc[expected.obs_names, expected.var_names]
    np.testing.assert_allclose(found, expected.to_df(), atol=2e-3)
    again = model.normalize_query(query)
    np.testing.assert_array_equal(again["rna"].to_df(), query["rna"].to_df())


def test_counts_of_any_kind(model, counts):
    expected = normalised(counts).X
    linear = counts.copy()
    sc.pp.normalize_total(linear, target_sum=1e5)
    of_counts = counts.copy()
    of_counts.X = np.log1p(of_counts.X)
    for adata in (counts, linear, of_counts, anndata.AnnData(counts.X.astype(int), counts.obs, counts.var)):
        query, said = prepared(model, adata)
        assert len(said) == 1
        np.testing.assert_allclose(model.normalize_query(query)["rna"].X, expected, atol=2e-3)


def test_counts_in_a_layer_serve_where_values_are_not_recognised(model, counts):
    scaled = normalised(counts)
    scaled.layers["counts"] = counts.X.copy()
    scaled.X = (scaled.X - scaled.X.mean(0)) / 2
    query, said = prepared(model, scaled)
    assert "but for the counts in its layers" in said[0]
    np.testing.assert_allclose(model.normalize_query(query)["rna"].X, normalised(counts).X, atol=2e-3)


def test_a_total_over_other_genes_is_not_restored_but_on_request(model, counts):
    part = normalised(counts[:, :60].copy())
    query, said = prepared(model, part)
    assert len(said) == 1
    assert "hold" in said[0]
    assert "match_medians=True" in said[0]
    with pytest.raises(ValueError, match="Modality 'rna'.*cannot be restored.*match_medians=True"):
        model.normalize_query(query)
    matched = model.normalize_query(query, match_medians=True)["rna"].to_df()
    assert matched.iloc[:, 60:].isna().all(axis=None)
    ratio = np.expm1(matched.iloc[:, :60]).mean() / np.expm1(normalised(counts).to_df().iloc[:, :60]).mean()
    assert 0.9 < ratio.median() < 1.1


def test_genes_chosen_from_the_models_values_are_on_its_scale(model, counts):
    query, said = prepared(model, normalised(counts)[:, :60].copy())
    assert said == []
    again = model.normalize_query(query)
    np.testing.assert_array_equal(again["rna"].X, query["rna"].X)


def test_a_record_of_the_models_genes_is_believed_where_the_query_lacks_some(model, counts):
    theirs = normalised(counts)
    theirs.uns["normalization"] = model.setup.normalizations["rna"].to_uns()
    assert prepared(model, theirs[:, :50].copy())[1] == []


def test_cells_without_counts_and_other_modalities_are_left(model, counts):
    empty = counts.copy()
    empty.X[0] = 0
    values = np.random.default_rng(2).normal(size=(N_CELLS, 8))
    ephys = make_modality(values, counts.obs_names.to_numpy(), "e")
    with pytest.warns(UserWarning, match="normalize_query"):
        query = prepare(mudata.MuData({"rna": empty, "ephys": ephys}), model)
    done = model.normalize_query(query)
    assert (done["rna"].X[0] == 0).all()
    np.testing.assert_array_equal(done["ephys"].X, query["ephys"].X)
    np.testing.assert_array_equal(query["rna"].X, empty.X)  # not changed
    assert np.isfinite(model.get_latent_representation(done, "rna")).all()


def test_renamed_genes_count_for_the_total(model, counts):
    theirs = normalised(counts, 1e4)
    theirs.var_names = theirs.var_names.str.upper()
    with pytest.warns(UserWarning, match="normalize_query"):
        query = prepare(mudata.MuData({"rna": theirs}), model, rename={"rna": str.lower})
    np.testing.assert_allclose(model.normalize_query(query)["rna"].X, normalised(counts).X, atol=2e-3)


def test_without_preparation(model, counts):
    other = mudata.MuData({"rna": counts})
    with pytest.raises(ValueError, match=r"query = CoupledAE\.prepare_query_mudata"):
        model.normalize_query(other)
    with pytest.warns(
        UserWarning, match="its values are counts, and the model was trained on natural logarithms"
    ):
        model.get_latent_representation(other, "rna")


def test_it_survives_files(model, counts, tmp_path):
    with pytest.warns(UserWarning, match="normalize_query"):
        query = prepare(mudata.MuData({"rna": counts}), model)
    model.save(tmp_path / "model")
    query.write(tmp_path / "query.h5mu")
    loaded = CoupledAE.load(tmp_path / "model", adata=False)
    assert loaded.setup.normalizations == model.setup.normalizations
    done = loaded.normalize_query(mudata.read_h5mu(tmp_path / "query.h5mu"))
    np.testing.assert_allclose(done["rna"].X, normalised(counts).X, atol=2e-3)


def test_a_total_of_unknown_genes(counts):
    """Genes were chosen before the set-up, without a record: counts cannot be brought onto it exactly."""
    chosen = normalised(counts)[:, :60].copy()
    model = trained_on(chosen)
    what = model.setup.normalizations["rna"]
    assert (what.kind, what.base, what.total) == ("log", math.e, None)
    query, said = prepared(model, counts)
    assert "was not recorded" in said[0]
    done = model.normalize_query(query, match_medians=True)["rna"]
    apart = pd.DataFrame(done.X).corrwith(pd.DataFrame(chosen.X))
    assert apart.min() > 0.9
    assert abs(np.median(done.X - chosen.X)) < 0.3


def test_a_formula_among_expression_values(model, counts):
    """What is calculated is not among the genes that a total is over."""
    theirs = normalised(counts)
    theirs.var_names = ["other0", "other1", *theirs.var_names[2:]]
    table = pd.DataFrame({"theirs": ["`other0` * 1", "other1"], "ours": ["g0", "g1"], "factor": [1.0, 1.0]})
    query = prepare(mudata.MuData({"rna": theirs}), model, rename={"rna": table}).copy()
    np.testing.assert_allclose(query["rna"].to_df(), normalised(counts).to_df(), rtol=1e-5)


def test_medians_of_nothing_are_not_matched(model, counts):
    empty = normalised(counts[:, :60].copy())
    empty.X[:] = 0
    empty.X[:, 59] = 20 + np.arange(N_CELLS)  # a gene without a count in the training
    never = model.expression_references["rna"]
    silent = never.expression.copy()
    silent[59] = 0
    reference = never._replace(expression=silent)
    scale = QueryScale(None, None, np.full(N_CELLS, np.nan), np.nan)
    with pytest.raises(ValueError, match="Modality 'rna': no gene is expressed both"):
        scale.convert(reference, np.pad(empty.X, ((0, 0), (0, 20)), constant_values=np.nan), "rna")
