from __future__ import annotations

import mudata
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from conftest import make_mdata
from scvi_cae.data import AlignedMatrix
from scvi_cae.data._matrix import measured_rows


def expected(mdata: mudata.MuData, modality: str, features: list[str]) -> np.ndarray:
    """The same by pandas."""
    return mdata[modality].to_df().reindex(index=mdata.obs_names, columns=features).to_numpy()


@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_values_are_matched_by_cell_and_feature_name(seed, as_sparse, shuffle):
    mdata = make_mdata(40, seed=seed)
    features = list(mdata["rna"].var_names)
    if as_sparse:
        mdata["rna"].X = sparse.csr_matrix(mdata["rna"].X)
    if shuffle:
        features = list(np.random.default_rng(seed).permutation(features))
    aligned = AlignedMatrix(mdata, "rna", None, features)
    cells = np.random.default_rng(seed).permutation(mdata.n_obs)[:15]
    np.testing.assert_array_equal(aligned.values(cells), expected(mdata, "rna", features)[cells])
    np.testing.assert_array_equal(aligned.present, mdata.obs_names.isin(mdata["rna"].obs_names))
    assert aligned.values(cells).dtype == np.float32


@pytest.mark.parametrize(
    "kind", [np.asarray, sparse.csr_matrix, sparse.csc_array, lambda x: x.astype(np.float64)]
)
def test_rows_without_any_value_are_not_measured(kind):
    values = np.array([[1, np.nan], [np.nan, np.nan], [0, 0]], dtype=np.float32)
    assert measured_rows(kind(values)).tolist() == [True, False, True]


def test_a_layer_is_read():
    mdata = make_mdata(30)
    mdata["rna"].layers["twice"] = 2 * mdata["rna"].X
    features = list(mdata["rna"].var_names)
    twice, once = (
        AlignedMatrix(mdata, "rna", layer, features).values(np.arange(20)) for layer in ("twice", None)
    )
    np.testing.assert_array_equal(twice, 2 * once)


def test_an_absent_modality_is_missing_everywhere():
    mdata = make_mdata(30)
    aligned = AlignedMatrix(mdata, "morph", None, ["a", "b"])
    assert not aligned.present.any()
    assert np.isnan(aligned.values(np.arange(5))).all()


def test_modality_without_cells():
    mdata = make_mdata(30)
    query = mudata.MuData({"rna": mdata["rna"].copy(), "ephys": mdata["ephys"][:0].copy()})
    assert np.isnan(
        AlignedMatrix(query, "ephys", None, list(mdata["ephys"].var_names)).values(np.arange(3))
    ).all()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["rna_0", "new"], r"lacks 1 features of the model: 'new'.*29 features unknown to it: 'rna_1'"),
        ([f"rna_{i}" for i in range(29)], "has 1 features unknown to it: 'rna_29'"),
        ([f"rna_{i}" for i in range(31)], "lacks 1 features of the model: 'rna_30'"),
    ],
)
def test_missing_and_unknown_features_are_named(features, message):
    with pytest.raises(ValueError, match=message):
        AlignedMatrix(make_mdata(30), "rna", None, features)
