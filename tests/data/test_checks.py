"""Bad input is refused at the set-up, by an error that names the place and the fix."""

from __future__ import annotations

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from conftest import make_mdata, make_modality
from scvi_cae import CoupledAE
from scvi_cae._arguments import shorten


def refused(mdata, error, message, **kwargs):
    with pytest.raises(error, match=message):
        CoupledAE.setup_mudata(mdata, **kwargs)


def test_shorten():
    assert shorten(["a", "b"]) == "'a', 'b'"
    assert shorten(range(8), 2) == "'0', '1' and 6 more"


def test_an_anndata():
    adata = make_mdata()["rna"]
    refused(adata, TypeError, "Expected a MuData, got AnnData")
    with pytest.raises(TypeError, match="setup_mudata"):
        CoupledAE.setup_anndata(adata)


def test_one_modality():
    mdata = make_mdata()
    refused(mudata.MuData({"rna": mdata["rna"]}), ValueError, "at least two modalities, got 'rna'")
    refused(mdata, ValueError, "at least two modalities", modalities=["rna"])
    refused(mdata, ValueError, "at least two modalities", modalities="rna")
    refused(mdata, ValueError, "at least two modalities, got none", modalities=[])


def test_unknown_keys():
    mdata = make_mdata()
    refused(mdata, ValueError, "No modality 'atac'.*'rna', 'ephys'", modalities=["rna", "atac"])
    refused(mdata, ValueError, "named twice", modalities=["rna", "rna"])
    refused(mdata, ValueError, "layers names 'atac'", layers={"atac": "counts"})
    refused(mdata, ValueError, "'rna' has no layer 'logs'; its layers: none", layers={"rna": "logs"})
    refused(mdata, KeyError, "No column 'type'.*'kind'", labels_key="type")
    refused(mdata, KeyError, "No column 'lab'", batch_key="lab")


def test_an_annotation_missing_everywhere():
    mdata = make_mdata()
    mdata.obs["empty"] = np.nan
    refused(mdata, ValueError, "'empty' is missing for every cell", labels_key="empty")


def test_no_shared_cells():
    mdata = make_mdata()
    apart = make_modality(
        mdata["ephys"].X, np.array([f"other{i}" for i in range(mdata["ephys"].n_obs)]), "ephys_"
    )
    refused(
        mudata.MuData({"rna": mdata["rna"], "ephys": apart}),
        ValueError,
        "No cell of modality 'rna' has another",
    )


def test_two_modalities_coupled_through_a_third_only():
    mdata = make_mdata(60, {"a": 5, "b": 5, "c": 5}, {"a": 1, "b": 1, "c": 1})
    parts = {
        "a": mdata["a"],
        "b": mdata["b"][mdata["b"].obs_names.isin([f"cell{i}" for i in range(30)])].copy(),
    }
    parts["c"] = mdata["c"][~mdata["c"].obs_names.isin(parts["b"].obs_names)].copy()
    with pytest.warns(UserWarning, match="both modalities of 'b' and 'c'"):
        CoupledAE.setup_mudata(mudata.MuData(parts))


@pytest.mark.parametrize("axis", ["obs", "var"])
def test_duplicate_names(axis):
    mdata = make_mdata()
    rna = mdata["rna"].copy()
    names = [getattr(rna, f"{axis}_names")[0], *getattr(rna, f"{axis}_names")[:-1]]
    setattr(rna, f"{axis}_names", names)
    with pytest.warns(UserWarning, match="unique"):  # mudata's own
        mdata = mudata.MuData({"rna": rna, "ephys": mdata["ephys"]})
    refused(mdata, ValueError, f"duplicate (cell|feature) names: '{names[0]}'")


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csc_array])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_infinite_values(kind, value):
    mdata = make_mdata()
    X = mdata["ephys"].X.astype(float)
    X[7, 2] = value
    mdata["ephys"].X = kind(X)
    cell = mdata["ephys"].obs_names[7]
    refused(mdata, ValueError, f"'ephys' has 1 infinite values; the first: cell '{cell}', feature 'ephys_2'")


@pytest.mark.parametrize("as_sparse", [False, True])
def test_a_feature_measured_in_no_cell(as_sparse):
    mdata = make_mdata()
    X = mdata["rna"].X.copy()
    X[:, 4] = np.nan
    mdata["rna"].X = sparse.csr_matrix(X) if as_sparse else X
    refused(mdata, ValueError, "'rna': 1 of 30 features are measured in no cell.*'rna_4'")


@pytest.mark.parametrize("as_sparse", [False, True])
@pytest.mark.parametrize("value", [0.0, 3.5])
def test_constant_features_warn_once(as_sparse, value):
    mdata = make_mdata()
    X = mdata["rna"].X.copy()
    X[:, [4, 7]] = value
    mdata["rna"].X = sparse.csr_matrix(X) if as_sparse else X
    message = "'rna': 2 of 30 features are the same in every cell: 'rna_4', 'rna_7'"
    with pytest.warns(UserWarning, match=message) as caught:
        CoupledAE.setup_mudata(mdata)
    assert len(caught) == 1


def test_a_modality_of_constants():
    mdata = make_mdata()
    mdata["rna"].X[:] = 2.0
    refused(mdata, ValueError, "'rna': every feature is the same in every cell")


def test_cells_without_any_value_warn():
    mdata = make_mdata()
    mdata["ephys"].X[5] = np.nan
    cell = mdata["ephys"].obs_names[5]
    with pytest.warns(UserWarning, match=rf"'ephys': 1 cells have no value \(all NaN\).*'{cell}'"):
        CoupledAE.setup_mudata(mdata)


def test_strings():
    mdata = make_mdata()
    mdata["ephys"].layers["words"] = mdata["ephys"].X.astype(str).astype(object)
    refused(mdata, TypeError, r"'ephys' \(layer 'words'\) must hold real numbers", layers={"ephys": "words"})


@pytest.mark.parametrize("value", [None, pd.NA, "NA", "", True])
def test_the_advice_for_other_things_than_numbers_works(value):
    mdata = make_mdata()
    values = mdata["ephys"].X.astype(object)
    values[5, 2] = value
    mdata["ephys"].X = values
    with pytest.raises(TypeError, match="'ephys_2' has") as caught:
        CoupledAE.setup_mudata(mdata)
    code = str(caught.value).partition("for text: ")[2].removesuffix(".")
    exec(code, {"mdata": mdata, "pandas": pd, "numpy": np})
    CoupledAE.setup_mudata(mdata)
    found = mdata["ephys"].X[5, 2]
    assert found == 1 if value is True else np.isnan(found)


def test_empty_modality():
    mdata = make_mdata()
    empty = mudata.MuData({"rna": mdata["rna"], "ephys": mdata["ephys"][:0].copy()})
    refused(empty, ValueError, r"'ephys' is empty \(0 cells, 8 features\)")
    empty = mudata.MuData({"rna": mdata["rna"], "ephys": mdata["ephys"][:, :0].copy()})
    refused(empty, ValueError, "'ephys' is empty")


def test_no_x():
    mdata = make_mdata()
    bare = anndata.AnnData(obs=mdata["rna"].obs, var=mdata["rna"].var)
    refused(mudata.MuData({"rna": bare, "ephys": mdata["ephys"]}), ValueError, "'rna' has no X")


def test_view():
    mdata = make_mdata()
    refused(mdata[:50], ValueError, r"The MuData is a view.*copy\(\)")
    part = mudata.MuData({"rna": mdata["rna"][:80], "ephys": mdata["ephys"]})
    refused(part, ValueError, r"Modality 'rna' is a view.*copy\(\)")


def test_modality_changed_behind_the_mudata():
    mdata = make_mdata()
    mdata["rna"].obs_names = "new" + mdata["rna"].obs_names
    refused(mdata, ValueError, r"Cells of modality 'rna' are not in mdata.obs.*mdata.update\(\)")


@pytest.mark.parametrize("as_sparse", [False, True])
def test_raw_counts_warn(as_sparse):
    mdata = make_mdata()
    counts = np.random.default_rng(0).poisson(40, size=mdata["rna"].shape)
    mdata["rna"].layers["counts"] = sparse.csr_matrix(counts) if as_sparse else counts
    with pytest.warns(UserWarning, match="'rna' looks like raw counts"):
        CoupledAE.setup_mudata(mdata, layers={"rna": "counts"})


@given(
    st.lists(
        st.sampled_from(["inf", "giant", "unmeasured", "empty", "duplicate"]),
        min_size=1,
        max_size=3,
        unique=True,
    ),
    st.sampled_from(["rna", "ephys"]),
)
def test_any_combination_of_faults_is_refused_and_changes_nothing(faults, where):
    mdata = make_mdata(40)
    adata = mdata[where].copy()
    if "inf" in faults:
        adata.X[3, 1] = np.inf
    if "giant" in faults:
        adata.X[4, 2] = -1e21
    if "unmeasured" in faults:
        adata.X[:, 3] = np.nan
    if "empty" in faults:
        adata = adata[:0].copy()
    if "duplicate" in faults:
        adata.var_names = pd.Index([adata.var_names[1], *adata.var_names[1:]])
    modalities = {"rna": mdata["rna"], "ephys": mdata["ephys"], where: adata}
    try:
        faulty = mudata.MuData(modalities)
    except UserWarning:  # mudata warns of duplicate names, and warnings are errors here
        return
    before = faulty[where].X.copy()
    with pytest.raises(ValueError, match=f"'{where}'"):
        CoupledAE.setup_mudata(faulty)
    np.testing.assert_array_equal(faulty[where].X, before)
