"""The linear baseline of the published analysis."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

import scvi_cae
from conftest import make_mdata
from scvi_cae.tl import outliers, pca_cca


@pytest.fixture
def complete():
    """All cells have both modalities."""
    return make_mdata(n_cells=150, fraction={"rna": 1.0, "ephys": 1.0})


def values_of(mdata, name):
    return np.asarray(mdata[name][mdata.obs_names].X, dtype=float)


def test_it_is_scikit_learns_cca_of_its_components(complete):
    train = np.arange(100)
    fitted = pca_cca(complete, n_latent=2, n_components=(6, 4), train_cells=train)
    components = []
    for name, n in (("rna", 6), ("ephys", 4)):
        x = values_of(complete, name)
        x = StandardScaler().fit(x[train]).transform(x)
        components.append(PCA(n).fit(x[train]).transform(x))
    cca = CCA(2, max_iter=10_000, tol=1e-12).fit(*(c[train] for c in components))
    for z, expected in zip(fitted.transform().values(), cca.transform(*components), strict=True):
        correlation = np.corrcoef(z[train].T, expected[train].T)[:2, 2:]
        np.testing.assert_allclose(np.abs(correlation), np.eye(2), atol=1e-3)
    assert (np.diff(fitted.correlations) <= 0).all()


@pytest.mark.parametrize("fraction", [1.0, 0.8])
def test_latents_of_the_training_pairs_are_white(fraction):
    """Also if other cells have only one modality; test cells have no influence."""
    mdata = make_mdata(n_cells=200, fraction={"rna": fraction, "ephys": fraction}, missing={"ephys": 0.05})
    train = np.arange(120)
    pca_cca(mdata, n_latent=3, n_components=8, train_cells=train)
    latents = [mdata.obsm[f"X_cca_{name}"][train] for name in ("rna", "ephys")]
    both = np.isfinite(np.hstack(latents)).all(1)
    for z in latents:
        np.testing.assert_allclose(z[both].mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(np.cov(z[both].T, ddof=0), np.eye(3), atol=1e-6)


def test_both_decoders(complete):
    train, test = np.arange(100), np.arange(100, 150)
    own, crossed = (
        pca_cca(complete, n_latent=4, n_components=8, train_cells=train, decoder=d, key_added=f"X_{d}")
        for d in ("own", "crossed")
    )
    for source in ("rna", "ephys"):
        for target in ("rna", "ephys"):
            table = own.predict(source, target, indices=test)
            assert table.index.tolist() == complete.obs_names[test].tolist()
            assert table.columns.tolist() == complete[target].var_names.tolist()
            truth = values_of(complete, target)
            centred = truth[test] - truth[train].mean(0)
            r2 = 1 - ((truth[test] - table) ** 2).to_numpy().sum() / (centred**2).sum()
            assert r2 > 0.8  # both are linear in four shared dimensions
            other = crossed.predict(source, target, indices=test)
            assert np.allclose(other, table) == (source == target)
    # The own decoder is the regression of a modality on its latents, and is applied to those of the other.
    z = own.transform()
    x = values_of(complete, "ephys")
    coefficients, *_ = np.linalg.lstsq(z["ephys"][train], x[train] - x[train].mean(0), rcond=None)
    expected = x[train].mean(0) + z["rna"][test] @ coefficients
    np.testing.assert_allclose(own.predict("rna", "ephys", indices=test), expected, rtol=1e-3)


def test_crossed_decoders_fit_the_training_cells_best():
    mdata = make_mdata(n_cells=150, fraction={"rna": 1.0, "ephys": 1.0})
    rng = np.random.default_rng(0)
    for adata in mdata.mod.values():
        adata.X = adata.X + 10 * rng.normal(size=adata.shape)
    errors = []
    for decoder in ("own", "crossed"):
        fitted = pca_cca(mdata, n_latent=2, n_components=5, train_cells="all", decoder=decoder)
        errors.append(np.square(fitted.predict("rna", "ephys").to_numpy() - values_of(mdata, "ephys")).mean())
    assert errors[1] < errors[0]


def test_latents_are_stored_under_the_keys_of_a_model():
    mdata = make_mdata(n_cells=200)
    scvi_cae.CoupledAE.setup_mudata(mdata)
    model = scvi_cae.CoupledAE(mdata, n_latent=2)
    model.train(max_epochs=2, train_size=0.6, validation_size=0.2, enable_progress_bar=False)
    model.write_latent(mdata)
    fitted = pca_cca(mdata, n_latent=2)
    assert (mdata.obs["X_cca_set"] == mdata.obs["X_cae_set"]).all()
    for name, adata in mdata.mod.items():
        has = mdata.obs_names.isin(adata.obs_names)
        z = mdata.obsm[f"X_cca_{name}"]
        np.testing.assert_array_equal(np.isfinite(z).all(1), has)
        np.testing.assert_array_equal(adata.obsm["X_cca"], z[mdata.obs_names.get_indexer(adata.obs_names)])
        np.testing.assert_array_equal(fitted.transform()[name], z)
    rna, ephys, joint = (mdata.obsm[key] for key in ("X_cca_rna", "X_cca_ephys", "X_cca"))
    np.testing.assert_allclose(
        joint, np.where(np.isnan(rna), ephys, np.where(np.isnan(ephys), rna, (rna + ephys) / 2))
    )
    outliers(mdata, use_rep="X_cca", level=0.1)
    assert mdata.obs["outlier"].notna().any()


def test_test_cells_have_no_influence(complete):
    train = np.arange(100)
    fitted = pca_cca(complete, n_latent=2, train_cells=train)
    z = fitted.transform(complete)["rna"]
    other = complete.copy()
    other["ephys"].X[~other["ephys"].obs_names.isin(other.obs_names[train])] = 0
    again = pca_cca(other, n_latent=2, train_cells=train)
    np.testing.assert_allclose(again.transform()["rna"], z)
    assert other.obs["X_cca_set"].tolist() == ["training"] * 100 + ["test"] * 50


def test_other_cells_of_one_modality(complete):
    fitted = pca_cca(complete, n_latent=2, train_cells=np.arange(100))
    cells = complete.obs_names[100:110]
    shuffled = complete["rna"][cells, ::-1].copy()
    new = mudata.MuData({"rna": shuffled})
    expected = fitted.predict("rna", "ephys", indices=np.arange(100, 110))
    pd.testing.assert_frame_equal(fitted.predict("rna", "ephys", new).loc[list(cells)], expected)
    assert np.isnan(fitted.transform(new)["ephys"]).all()
    assert fitted.predict("ephys", "rna", new).isna().all(axis=None)
    lacking = mudata.MuData({"rna": complete["rna"][:, 1:].copy()})
    with pytest.raises(ValueError, match="'rna' lacks 1 feature"):
        fitted.predict("rna", "ephys", lacking)


def test_layers(complete):
    complete["rna"].layers["scaled"] = complete["rna"].X * 2
    doubled = pca_cca(complete, n_latent=2, layers={"rna": "scaled"}, train_cells="all")
    plain = pca_cca(complete, n_latent=2, train_cells="all")
    np.testing.assert_allclose(doubled.transform()["rna"], plain.transform()["rna"], atol=1e-3)
    np.testing.assert_allclose(doubled.predict("ephys", "rna"), 2 * plain.predict("ephys", "rna"), rtol=1e-3)


def test_it_names_what_is_wrong(complete):
    for modalities in (["rna"], ["rna", "rna"], ["rna", "morph"]):
        with pytest.raises(ValueError, match="of two modalities, not of"):
            pca_cca(complete, modalities, train_cells="all")
    with pytest.raises(KeyError, match="X_cae_set"):
        pca_cca(complete)
    with pytest.raises(ValueError, match="'both' must be"):
        pca_cca(complete, train_cells="all", decoder="both")
    with pytest.raises(ValueError, match="layers names 'morph'"):
        pca_cca(complete, train_cells="all", layers={"morph": "x"})
    with pytest.raises(ValueError, match="cannot name latents"):
        pca_cca(complete, train_cells="all", key_added="")
    with pytest.raises(ValueError, match="1 training cells have both 'rna' and 'ephys'"):
        pca_cca(complete, train_cells=[0])
    with pytest.raises(ValueError, match="PCACCA of 'rna' and 'ephys', 2 dimensions has no modality 'morph'"):
        pca_cca(complete, n_latent=2, train_cells="all").predict("morph", "rna")
    complete["ephys"].X[:, 0] = np.nan
    with pytest.raises(ValueError, match="'ephys' has features without a value.*'ephys_0'"):
        pca_cca(complete, train_cells="all")
