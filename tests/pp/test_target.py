"""The matrix that functions work on, and the errors for data that they cannot use."""

from __future__ import annotations

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from conftest import make_mdata, make_modality
from scvi_cae import pp

CALLS = {
    "beta_score": lambda data, **kwargs: pp.beta_score(data, "kind", n_top=1, **kwargs),
    "normalize_gene_length": lambda data, **kwargs: pp.normalize_gene_length(data, "length", **kwargs),
    "scale_blocks": lambda data, **kwargs: pp.scale_blocks(data, "block", **kwargs),
    "robust_scale": lambda data, **kwargs: pp.robust_scale(data, **kwargs),
    "drop_features": lambda data, **kwargs: pp.drop_features(data, patterns=["x0"], **kwargs),
}
FITTED_TO_CELLS = [name for name in CALLS if name != "normalize_gene_length"]


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


def make_adata(seed: int = 0) -> anndata.AnnData:
    """Data on which every function works."""
    rng = np.random.default_rng(seed)
    adata = make_modality(rng.gamma(2.0, size=(12, 4)), np.array([f"c{i}" for i in range(12)]), "x")
    adata.obs["kind"] = pd.Categorical(["a", "b"] * 6)
    adata.var["length"] = [500, 1000, 2000, 4000]
    adata.var["block"] = ["p", "p", "q", "q"]
    adata.layers["other"] = rng.gamma(3.0, size=(12, 4)).astype(np.float32)
    return adata


def make_rna() -> anndata.AnnData:
    rna = make_adata(1)
    rna.var_names = [f"gene{i}" for i in range(4)]
    return rna


def make_mdata_of_two() -> mudata.MuData:
    return mudata.MuData({"rna": make_rna(), "ephys": make_adata()})


def assert_same(a: anndata.AnnData, b: anndata.AnnData) -> None:
    assert list(a.var_names) == list(b.var_names)
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.layers["other"], b.layers["other"])
    pd.testing.assert_frame_equal(a.var, b.var)
    assert set(a.uns) == set(b.uns)


def test_in_place_copy_and_modality_agree(call):
    original, adata = make_adata(), make_adata()
    assert call(adata) is None

    unchanged = make_adata()
    assert_same(call(unchanged, copy=True), adata)
    assert_same(unchanged, original)

    mdata = make_mdata_of_two()
    assert call(mdata, modality="ephys") is None
    assert_same(mdata["ephys"], adata)
    assert_same(mdata["rna"], make_rna())
    assert mdata.n_vars == mdata["rna"].n_vars + adata.n_vars

    mdata = make_mdata_of_two()
    changed = call(mdata, modality="ephys", copy=True)
    assert_same(changed["ephys"], adata)
    assert_same(changed["rna"], make_rna())
    assert_same(mdata["ephys"], original)


def test_a_layer_is_read_and_written_and_nothing_else(call):
    adata, from_x = make_adata(), make_adata()
    call(adata, layer="other")
    from_x.X = make_adata().layers["other"]
    call(from_x)
    np.testing.assert_array_equal(adata.layers["other"], from_x.X)
    np.testing.assert_array_equal(adata.X, make_adata()[:, adata.var_names].X)


def test_without_x_a_layer_is_named(call):
    adata = make_adata()
    adata.X = None
    with pytest.raises(ValueError, match="no X.*layer="):
        call(adata)
    call(adata, layer="other")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_is_kept(call, dtype):
    adata = make_adata()
    adata.X = adata.X.astype(dtype)
    call(adata)
    assert adata.X.dtype == dtype


def test_modality_is_named_for_a_mudata_only(call):
    mdata = make_mdata_of_two()
    with pytest.raises(ValueError, match="Name the modality.*'rna', 'ephys'"):
        call(mdata)
    with pytest.raises(ValueError, match="No modality 'morph'.*'rna', 'ephys'"):
        call(mdata, modality="morph")
    with pytest.raises(ValueError, match="is for a MuData"):
        call(make_adata(), modality="ephys")
    with pytest.raises(TypeError, match="AnnData or a MuData, got ndarray"):
        call(np.zeros((2, 2)))


def test_views_are_refused_unless_copied(call):
    view = make_adata()[:8]
    with pytest.raises(ValueError, match="view.*copy"):
        call(view)
    assert view.is_view
    expected = make_adata()[:8].copy()
    call(expected)
    assert_same(call(view, copy=True), expected)

    mdata = make_mdata_of_two()[:8]
    with pytest.raises(ValueError, match="'ephys' is a view"):
        call(mdata, modality="ephys")
    assert_same(call(mdata, modality="ephys", copy=True)["ephys"], expected)

    mdata = mudata.MuData({"rna": make_rna()[:8], "ephys": make_adata()[:8]})
    with pytest.raises(ValueError, match="'ephys' is a view"):
        call(mdata, modality="ephys")


def test_what_cannot_be_worked_on_is_named(call):
    with pytest.raises(ValueError, match="no layer 'counts'; its layers: 'other'"):
        call(make_adata(), layer="counts")
    adata = make_adata()
    adata.X[3, 2] = np.inf
    with pytest.raises(
        ValueError, match="The AnnData has 1 infinite values; the first: cell 'c3', feature 'x2'.*NaN"
    ):
        call(adata)
    adata = make_adata()
    adata.layers["other"] = adata.layers["other"].astype(complex)
    with pytest.raises(
        TypeError, match=r"\(layer 'other'\) must hold real numbers, not complex.*adata.layers\['other'\] ="
    ):
        call(adata, layer="other")
    adata = make_adata()
    adata.layers["other"] = np.ma.masked_less(adata.layers["other"], 1)
    with pytest.raises(TypeError, match="MaskedArray.*NaN for missing"):
        call(adata, layer="other")


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_features_of_one_name_are_refused(call):
    adata = make_adata()
    adata.var_names = ["a", "b", "a", "c"]
    with pytest.raises(ValueError, match="The AnnData has duplicate feature names: 'a'"):
        call(adata)


def test_something_must_be_there(call):
    with pytest.raises(ValueError, match="no features"):
        call(make_adata()[:, :0].copy())


def test_files_are_refused(call, tmp_path):
    make_adata().write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    with pytest.raises(ValueError, match="backed by a file.*to_memory"):
        call(backed)
    backed.file.close()


@pytest.mark.parametrize("name", FITTED_TO_CELLS)
@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ([], "no cells to fit on"),
        ([0, 1, 1], "positions '1' more than once"),
        ([0, 12], "outside 0 to 11: '12'"),
        ([True, False], "mask of all 12 cells"),
        (["c0", "c1"], "Give cells .of the AnnData. as a list of positions"),
    ],
)
def test_cells_are_positions_or_a_mask(name, cells, match):
    adata = make_adata()
    with pytest.raises(ValueError, match=match):
        CALLS[name](adata, cells=cells)
    assert_same(adata, make_adata())


@pytest.mark.parametrize("name", FITTED_TO_CELLS)
def test_positions_are_those_of_the_modality(name):
    mdata = make_mdata(n_cells=40)
    mdata.mod["ephys"].var["block"] = "p"
    assert list(mdata["ephys"].obs_names) != list(mdata.obs_names[: mdata["ephys"].n_obs])
    cells = mdata["ephys"].obs_names.isin(mdata.obs_names[:20])
    alone = mdata["ephys"].copy()
    alone.obs["kind"] = mdata.obs.loc[alone.obs_names, "kind"]
    CALLS[name](mdata, modality="ephys", cells=cells)
    CALLS[name](alone, cells=np.flatnonzero(cells))
    np.testing.assert_array_equal(mdata["ephys"].X, alone.X)
    pd.testing.assert_frame_equal(mdata["ephys"].var, alone.var)


@pytest.mark.parametrize("name", ["scale_blocks", "robust_scale", "drop_features"])
def test_sparse_features_are_refused(name):
    adata = make_adata()
    adata.X = sparse.csr_matrix(adata.X)
    with pytest.raises(TypeError, match=r"The AnnData is sparse.*adata.X = adata.X.toarray\(\)"):
        CALLS[name](adata)


@pytest.mark.parametrize("name", ["normalize_gene_length", "beta_score"])
@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array])
def test_sparse_genes_are_as_dense_ones(name, make):
    dense = make_adata()
    dense.X[dense.X < 1] = 0
    adata = dense.copy()
    adata.X = make(dense.X)
    with_infinite = adata.copy()
    CALLS[name](dense)
    CALLS[name](adata)
    assert type(adata.X) is make
    np.testing.assert_array_equal(adata.X.toarray(), dense.X)
    pd.testing.assert_frame_equal(adata.var, dense.var)

    row, column = dense.X.nonzero()[0][0], dense.X.nonzero()[1][0]
    with_infinite.X[row, column] = np.inf
    with pytest.raises(ValueError, match=f"1 infinite values; the first: cell 'c{row}', feature 'x{column}'"):
        CALLS[name](with_infinite)
