"""Any data that a user may give: a clear refusal before training, or a model of finite weights."""

from __future__ import annotations

import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
import scvi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from conftest import QUIET
from scvi_cae import CoupledAE

#: What may be wrong with a value of a modality, or unusual about it.
ODDITIES = (
    "none",
    "nan cell",
    "nan feature",
    "gaps",
    "constant",
    "outlier",
    "giant",
    "infinite",
    "zeros",
    "offset",
    "object",
    "text",
    "duplicate feature",
    "duplicate cell",
)
KINDS = ("float32", "float64", "int64", "bool", "csr", "csc", "csr_array", "fortran")


PARTS = st.tuples(
    st.sampled_from(ODDITIES),
    st.sampled_from(KINDS),
    st.integers(1, 8),
    st.sampled_from([1.0, 0.8, 0.5]),
    st.sampled_from([1e-9, 1.0, 1e6]),
)
DATA = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from([3, 30, 40]),
    st.sampled_from([("rna", "ephys"), ("a.b", "batch", "X")]),
    st.lists(PARTS, min_size=3, max_size=3),
    st.sampled_from([None, "two", "one", "cells", "words"]),
)


def modality(part, cells, prefix, rng):
    """An AnnData with any of these oddities, in any kind of matrix."""
    odd, kind, n_features, share, scale = part
    kept = rng.permutation(cells[rng.random(len(cells)) < share])
    x = rng.normal(3, 1, (len(kept), n_features)) * scale
    names = [f"{prefix}{i}" for i in range(n_features)]
    if x.size:
        x = odd_values(x, odd, rng)
    if odd in ("object", "text"):
        matrix = x.astype(object)
        if matrix.size:
            matrix[0, 0] = None if odd == "object" else "NA"
    elif kind in ("csr", "csc", "csr_array"):
        matrix = getattr(sparse, {"csr": "csr_matrix", "csc": "csc_matrix"}.get(kind, kind))(x)
    elif kind == "fortran":
        matrix = np.asfortranarray(x)
    elif kind in ("int64", "bool") and not (np.isfinite(x).all() and np.abs(x).max(initial=0) < 1e15):
        matrix = x
    else:
        matrix = x.astype(kind)
    if odd == "duplicate feature":
        names = names[:1] * len(names)
    if odd == "duplicate cell" and len(kept) > 1:
        kept = np.append(kept[:-1], kept[0])
    return anndata.AnnData(
        matrix, obs=pd.DataFrame(index=pd.Index(kept)), var=pd.DataFrame(index=pd.Index(names))
    )


def odd_values(x, odd, rng):
    """Values with an oddity."""
    x = x.copy()
    row, column = rng.integers(len(x)), rng.integers(x.shape[1])
    if odd == "nan cell":
        x[row] = np.nan
    elif odd == "nan feature":
        x[:, column] = np.nan
    elif odd == "gaps":
        x[rng.random(x.shape) < 0.3] = np.nan
    elif odd == "constant":
        x[:, column] = x[0, column]
    elif odd == "outlier":
        x[row, column] *= 1e4
    elif odd == "giant":
        x[row, column] = 1e21
    elif odd == "infinite":
        x[row, column] = -np.inf
    elif odd == "zeros":
        x[rng.random(len(x)) < 0.2] = 0
    elif odd == "offset":
        x[:, column] += 1e8
    return x


def make(drawn):
    """A MuData of two or three such modalities, and the column of its labels."""
    seed, n_cells, names, parts, labels = drawn
    rng = np.random.default_rng(seed)
    cells = np.array([f"c{i}" for i in range(n_cells)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mods = {
            name: modality(part, cells, f"{name}_", rng) for name, part in zip(names, parts, strict=False)
        }
        mdata = mudata.MuData(mods)
    if labels is None:
        return mdata, None
    number = np.arange(mdata.n_obs)
    mdata.obs["label"] = {
        "two": np.where(number % 2, "a", "b"),
        "one": np.full(mdata.n_obs, "a"),
        "cells": [f"t{i}" for i in number],
        "words": np.where(number % 3 == 0, "nan", np.where(number % 2, "a", "b")),
    }[labels]
    return mdata, "label"


def set_up(mdata, labels):
    """Whether set-up accepts the data; a refusal says something, and changes nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        before = {name: adata.copy() for name, adata in mdata.mod.items()}
        refusal = ""
        try:
            CoupledAE.setup_mudata(mdata, labels_key=labels)
        except (TypeError, ValueError) as error:
            refusal = str(error)
    assert not refusal or any(word in refusal for word in ("odalit", "Column", "MuData")), refusal
    for name, adata in mdata.mod.items():
        same = adata.X != before[name].X
        if adata.X.dtype.kind == "f" and not sparse.issparse(adata.X):
            np.testing.assert_array_equal(adata.X, before[name].X)
        elif adata.X.dtype.kind != "O" and not sparse.issparse(adata.X):
            assert not np.any(same)
    return not refusal


@given(DATA)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_set_up_accepts_data_or_says_why_not(drawn):
    set_up(*make(drawn))


@pytest.mark.slow
@given(DATA)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_is_accepted_trains_to_finite_weights(drawn):
    mdata, labels = make(drawn)
    if not set_up(mdata, labels):
        return
    scvi.settings.seed = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = CoupledAE(mdata, n_latent=2)
        try:
            model.train(max_epochs=2, train_size=0.8, **QUIET)
        except ValueError:  # such as too few cells; nothing else is caught
            return
        for name, values in model.module.state_dict().items():
            assert np.isfinite(values.numpy()).all(), name
        for source in model.modalities:
            has = mdata.obs_names.isin(mdata[source].obs_names)
            z = model.get_latent_representation(modality=source)
            assert np.isnan(z[~has]).all()
            for target in model.modalities:
                if source == target or source in model.module.sources[target]:
                    measured = model.module.arm(target).likelihood.measured.numpy()
                    predicted = model.predict(source, target).to_numpy()[~np.isnan(z).any(1)]
                    assert np.isfinite(predicted[:, measured]).all()
                    assert np.isnan(predicted[:, ~measured]).all()
