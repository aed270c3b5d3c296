"""Modalities that stay on disk: set up, trained on and embedded without a copy in memory."""

from __future__ import annotations

import warnings

import anndata
import h5py
import mudata
import numpy as np
import pytest
import scvi
import zarr
from anndata.io import read_elem, sparse_dataset
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE
from scvi_cae.data import StreamedData, _rows
from scvi_cae.model import _training
from scvi_cae.module._standardiser import Moments, mean_and_spread

STREAM = {"resident_gb": 0, "buffer_size": 50}


def in_memory(as_sparse: bool = True) -> mudata.MuData:
    mdata = make_mdata(200, missing={"ephys": 0.05}, seed=3)
    if as_sparse:
        X = mdata["rna"].X
        mdata["rna"].X = sparse.csr_matrix(np.where(X > 5, X, 0))
    return mdata


def zarr_modality(group: zarr.Group) -> anndata.AnnData:
    """As documented: names in memory, the matrix where it is."""
    X = group["X"]
    return anndata.AnnData(
        X if isinstance(X, zarr.Array) else sparse_dataset(X),
        obs=read_elem(group["obs"]),
        var=read_elem(group["var"]),
    )


@pytest.fixture(params=["h5mu", "h5mu-dense", "h5ad", "zarr", "zarr-dense"])
def pair(request, tmp_path):
    """The same data in memory and on disk."""
    mdata = in_memory("dense" not in request.param)
    if request.param.startswith("h5mu"):
        mdata.write_h5mu(tmp_path / "x.h5mu")
        backed = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
        assert backed.isbacked
    elif request.param == "h5ad":
        mdata["rna"].write_h5ad(tmp_path / "rna.h5ad")
        rna = anndata.read_h5ad(tmp_path / "rna.h5ad", backed="r")
        backed = mudata.MuData({"rna": rna, "ephys": mdata["ephys"].copy()})
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of zarr's version 3
            mdata.write_zarr(tmp_path / "x.zarr")
            group = zarr.open_group(tmp_path / "x.zarr", mode="r")
            backed = mudata.MuData({name: zarr_modality(group[f"mod/{name}"]) for name in mdata.mod})
    backed = backed if backed.obs_names.equals(mdata.obs_names) else pytest.fail("cells in another order")
    return mdata, backed


@given(st.integers(0, 1000), st.integers(1, 60), st.floats(0, 0.9), st.sampled_from([0.0, 1e3, 1e5]))
def test_moments_of_parts_are_those_of_all(seed, part, missing, offset):
    rng = np.random.default_rng(seed)
    values = offset + rng.normal(size=(100, 5)) * [1, 2, 3, 1e-3, 0]
    values[rng.random(values.shape) < missing] = np.nan
    moments = Moments(5)
    for start in range(0, 100, part):
        moments.add(values[start : start + part])
    observed = ~np.isnan(values)
    np.testing.assert_array_equal(moments.n, observed.sum(0))
    mean, spread = mean_and_spread(moments)
    expected_mean, expected_spread = mean_and_spread(values)
    np.testing.assert_allclose(mean, expected_mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(spread, expected_spread, rtol=1e-6)
    assert spread[4] == 0
    if observed.any(0).all():
        np.testing.assert_allclose(mean, np.nanmean(values, 0), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(spread[:3], np.nanstd(values, 0)[:3], rtol=1e-6, atol=1e-9 * offset)


def fit(mdata, **kwargs):
    CoupledAE.setup_mudata(mdata)
    scvi.settings.seed = 0
    model = CoupledAE(mdata, n_latent=3)
    model.train(**{"max_epochs": 5, "batch_size": 40, **QUIET, **kwargs})
    return model


def assert_same_weights(one, other):
    for name, x in one.module.state_dict().items():
        assert (x == other.module.state_dict()[name]).all(), name


def test_the_same_model_from_disk_and_from_memory(pair):
    memory, disk = pair
    for kwargs in ({}, {"datasplitter_kwargs": STREAM}):
        models = [fit(mdata, **kwargs) for mdata in (memory, disk)]
        assert_same_weights(*models)
        for modality in (None, "rna", "ephys"):
            latents = [model.get_latent_representation(modality=modality) for model in models]
            np.testing.assert_array_equal(*latents)
        indices = np.random.default_rng(0).permutation(memory.n_obs)[:30]
        np.testing.assert_array_equal(*(model.predict("rna", "ephys", indices=indices) for model in models))


def test_order_of_indices_is_kept(pair):
    _, disk = pair
    model = fit(disk, max_epochs=1)
    indices = np.random.default_rng(0).permutation(disk.n_obs)[:30]
    latents = model.get_latent_representation()
    np.testing.assert_allclose(model.get_latent_representation(indices=indices), latents[indices], atol=1e-6)


def test_a_model_reads_other_data_from_disk(pair):
    memory, disk = pair
    model = fit(memory, max_epochs=1)
    np.testing.assert_array_equal(
        model.get_latent_representation(disk), model.get_latent_representation(memory)
    )
    np.testing.assert_array_equal(
        model.predict("rna", "ephys", adata=disk), model.predict("rna", "ephys", adata=memory)
    )
    model.write_latent(disk)
    np.testing.assert_array_equal(disk.obsm["X_cae"], model.get_latent_representation(memory))
    assert disk["rna"].obsm["X_cae"].shape == (disk["rna"].n_obs, 3)


def test_latents_are_not_written_to_the_file(tmp_path):
    in_memory().write_h5mu(tmp_path / "x.h5mu")
    before = (tmp_path / "x.h5mu").read_bytes()
    disk = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
    fit(disk, max_epochs=1, datasplitter_kwargs=STREAM).write_latent()
    disk.file.close()
    assert (tmp_path / "x.h5mu").read_bytes() == before


def test_streamed_training_learns_as_much():
    mdata = in_memory()
    losses = [
        fit(mdata, max_epochs=20, **kwargs).history["reconstruction_loss_validation"].to_numpy().min()
        for kwargs in ({}, {"datasplitter_kwargs": STREAM})
    ]
    assert losses[1] < 1.2 * losses[0]


def test_streamed_training_repeats_with_the_seed(pair):
    _, disk = pair
    assert_same_weights(*(fit(disk, datasplitter_kwargs=STREAM) for _ in range(2)))


def test_no_more_rows_than_allowed_are_in_memory(tmp_path, monkeypatch):
    mdata = make_mdata(600, fraction={"rna": 1, "ephys": 0}, seed=1)
    mdata["rna"].X = sparse.csr_matrix(mdata["rna"].X)
    mdata.write_h5mu(tmp_path / "x.h5mu")
    disk = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
    monkeypatch.setattr(_rows, "MAX_ROWS", 64)
    monkeypatch.setattr("scvi_cae.data._aligned.MAX_ROWS", 64)
    slices, buffers = [], []
    read_slice, read = _rows.read_slice, StreamedData._read
    monkeypatch.setattr(_rows, "read_slice", lambda x, a, b: slices.append(b - a) or read_slice(x, a, b))
    monkeypatch.setattr(
        StreamedData, "_read", lambda self, cells: buffers.append(len(cells)) or read(self, cells)
    )
    model = fit(disk, max_epochs=2, datasplitter_kwargs={"resident_gb": 5e-6, "buffer_size": 100})
    model.write_latent()
    model.predict("rna", "ephys")
    assert max(slices) <= 64
    assert len(buffers) > 6
    assert max(buffers) <= 100
    assert np.isfinite(disk.obsm["X_cae"]).all()


def test_data_that_are_too_large_when_dense_are_streamed(monkeypatch):
    placed = []
    before = _training.training_data
    monkeypatch.setattr(
        _training,
        "training_data",
        lambda *args, **kwargs: placed.append(before(*args, **kwargs)) or placed[-1],
    )
    mdata = in_memory()
    fit(mdata, max_epochs=1)
    fit(mdata, max_epochs=1, datasplitter_kwargs={"resident_gb": 1e-5})
    assert [isinstance(data, StreamedData) for data in placed] == [False, True]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.inf, "'rna' has 1 infinite values; the first: cell 'cell7', feature 'rna_2'"),
        (np.nan, "1 of 30 features are measured in no cell.*'rna_2'"),
        (1e21, "'rna' has 1 infinite values; the first: cell 'cell7', feature 'rna_2'"),
    ],
)
def test_values_on_disk_are_checked(tmp_path, value, message, monkeypatch):
    monkeypatch.setattr(_rows, "MAX_ROWS", 5)
    mdata = make_mdata(50, fraction={"rna": 1, "ephys": 1})
    X = mdata["rna"].X
    if np.isnan(value):
        X[:, 2] = value
    else:
        X[mdata["rna"].obs_names.get_loc("cell7"), 2] = value
    mdata.write_h5mu(tmp_path / "x.h5mu")
    disk = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
    with pytest.raises(ValueError, match=message):
        CoupledAE.setup_mudata(disk)
    disk.file.close()


def test_counts_and_empty_cells_on_disk_warn(tmp_path):
    mdata = make_mdata(50)
    mdata["rna"].X = sparse.csr_matrix(np.random.default_rng(0).poisson(40.0, size=mdata["rna"].shape) * 1.0)
    mdata["ephys"].X[5] = np.nan
    mdata.write_h5mu(tmp_path / "x.h5mu")
    disk = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
    with (
        pytest.warns(UserWarning, match="'rna' looks like raw counts"),
        pytest.warns(UserWarning, match="'ephys': 1 cells have no value"),
    ):
        CoupledAE.setup_mudata(disk)
    disk.file.close()


def test_a_matrix_on_disk_by_columns_is_refused(tmp_path):
    mdata = in_memory()
    mdata["rna"].X = mdata["rna"].X.tocsc()
    mdata.write_h5mu(tmp_path / "x.h5mu")
    disk = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
    with pytest.raises(ValueError, match=r"'rna' is stored by features on disk \(CSC\).*tocsr\(\)"):
        CoupledAE.setup_mudata(disk)
    disk.file.close()


def test_a_layer_on_disk(tmp_path):
    mdata = in_memory()
    mdata["rna"].layers["twice"] = mdata["rna"].X * 2
    mdata["rna"].write_h5ad(tmp_path / "rna.h5ad")
    with h5py.File(tmp_path / "rna.h5ad") as file:
        layer = sparse_dataset(file["layers/twice"])
        rna = anndata.AnnData(obs=mdata["rna"].obs, var=mdata["rna"].var, layers={"twice": layer})
        disk = mudata.MuData({"rna": rna, "ephys": mdata["ephys"].copy()})
        models = []
        for x in (mdata, disk):
            CoupledAE.setup_mudata(x, layers={"rna": "twice"})
            scvi.settings.seed = 0
            models.append(CoupledAE(x, n_latent=3))
            models[-1].train(max_epochs=2, datasplitter_kwargs=STREAM, **QUIET)
        assert_same_weights(*models)
