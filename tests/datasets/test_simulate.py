"""The simulated data set: shapes, truth, missingness, and enough signal to learn from."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mudata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from scvi_cae.datasets import simulate_patchseq

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mudata import MuData

SHIPPED = Path(__file__).parents[2] / "data" / "simulated.h5mu"


def no_pull() -> AbstractContextManager[object]:
    """Keep mudata 0.3 from copying obs columns on reading and writing, as later versions do."""
    set_options = getattr(mudata, "set_options", None)
    return set_options(pull_on_update=False) if set_options else nullcontext()


def assert_same(a: MuData, b: MuData) -> None:
    assert list(a.mod) == list(b.mod)
    assert list(a.obs_names) == list(b.obs_names)
    assert list(a.obs["cell_type"]) == list(b.obs["cell_type"])
    assert {key for key in a.obsm if key.startswith("X_")} == {key for key in b.obsm if key.startswith("X_")}
    for key in a.obsm:
        np.testing.assert_allclose(a.obsm[key], b.obsm[key])
    for name in a.mod:
        assert list(a[name].obs_names) == list(b[name].obs_names)
        assert list(a[name].var_names) == list(b[name].var_names)
        np.testing.assert_allclose(dense(a, name), dense(b, name), rtol=1e-6)
    counts = [m["rna"].layers["counts"] for m in (a, b)]
    assert (counts[0] != counts[1]).nnz == 0


def dense(mdata: MuData, name: str) -> np.ndarray[Any, Any]:
    X = mdata[name].X
    return X.toarray() if sparse.issparse(X) else X


arguments = st.fixed_dictionaries(
    {
        "n_cells": st.integers(10, 80),
        "n_genes": st.integers(20, 40),
        "n_ephys": st.integers(4, 30),
        "n_morph": st.sampled_from([0, 1, 7, 15]),
        "n_types": st.integers(4, 12),
        "n_families": st.integers(1, 4),
        "n_latent": st.integers(1, 6),
        "n_private": st.integers(0, 3),
        "fraction_rna_only": st.floats(0, 0.5),
        "fraction_ephys_only": st.floats(0, 0.4),
        "fraction_morph": st.floats(0.2, 1),
        "missing_rate": st.floats(0, 1),
        "min_spikes": st.integers(0, 15),
        "seed": st.integers(0, 2**32),
    }
)


@given(arguments)
@settings(max_examples=20, deadline=None)
def test_what_is_asked_is_what_there_is(asked: dict[str, Any]) -> None:
    mdata = simulate_patchseq(**asked)
    n = asked["n_cells"]
    n_rna_only = round(n * asked["fraction_rna_only"])
    n_ephys_only = min(round(n * asked["fraction_ephys_only"]), n - n_rna_only)
    shapes = {"rna": (n - n_ephys_only, asked["n_genes"]), "ephys": (n - n_rna_only, asked["n_ephys"])}
    if asked["n_morph"]:
        shapes["morph"] = (round(asked["fraction_morph"] * (n - n_rna_only)), asked["n_morph"])
    assert {name: modality.shape for name, modality in mdata.mod.items()} == shapes
    assert mdata.n_obs == n

    counts = mdata["rna"].layers["counts"]
    assert counts.dtype.kind == "i"
    assert counts.min() >= 0
    assert counts.sum(axis=1).min() > 0
    assert np.isfinite(mdata["rna"].X.data).all()
    for modality in mdata.mod.values():
        assert modality.obs_names.is_unique
        assert modality.var_names.is_unique
        truth = mdata.obs.loc[modality.obs_names]
        for column in ("cell_type", "family"):
            assert (modality.obs[column].astype(str) == truth[column].astype(str)).all()

    # missing is what is written down as missing, and nothing else
    for name in set(mdata.mod) - {"rna"}:
        obs, block = mdata[name].obs, mdata[name].var["block"].to_numpy()
        missing = obs["missing_block"].to_numpy()[:, None] == block
        if name == "ephys":
            missing |= obs["few_spikes"].to_numpy()[:, None] & (block == "spike train")
            few = mdata[name][:, "Max number of APs"].X.ravel() < asked["min_spikes"]
            np.testing.assert_array_equal(obs["few_spikes"], few)
        np.testing.assert_array_equal(np.isnan(mdata[name].X), missing)

    assert mdata.obsm["X_true"].shape == (n, asked["n_latent"])
    assert ("X_true_private_rna" in mdata.obsm) == (asked["n_private"] > 0)
    assert mdata.uns["simulation"]["settings"] == asked
    assert_same(mdata, simulate_patchseq(**asked))


@pytest.fixture(scope="module")
def mdata() -> MuData:
    return simulate_patchseq(n_morph=12)


def test_global_random_state_plays_no_part() -> None:
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    a = simulate_patchseq(50)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    assert_same(a, simulate_patchseq(50))


def test_seeds_differ() -> None:
    a, b = simulate_patchseq(50, seed=1), simulate_patchseq(50, seed=2)
    assert not np.allclose(a.obsm["X_true"], b.obsm["X_true"])


def test_morphology_changes_nothing_else(mdata: MuData) -> None:
    without = simulate_patchseq()
    for name in ("rna", "ephys"):
        assert list(mdata[name].obs_names) == list(without[name].obs_names)
        np.testing.assert_array_equal(dense(mdata, name), dense(without, name))


def test_modalities_are_ordered_differently(mdata: MuData) -> None:
    paired = mdata["rna"].obs_names.intersection(mdata["ephys"].obs_names, sort=False)
    assert len(paired) == 420
    other_order = mdata["ephys"].obs_names[mdata["ephys"].obs_names.isin(paired)]
    assert np.mean(paired == other_order) < 0.05
    assert not mdata["rna"].obs_names.is_monotonic_increasing
    assert set(mdata["morph"].obs_names) <= set(mdata["ephys"].obs_names)


def test_features_are_plausible(mdata: MuData) -> None:
    ephys = mdata["ephys"].to_df()
    assert -75 < ephys["Resting membrane potential (mV)"].median() < -55
    assert (ephys["AP width (ms)"] > 0).all()
    assert ephys["Input resistance (MOhm)"].skew() > 0.5
    assert (ephys["Max number of APs"] % 1 == 0).all()
    assert ephys["Max number of APs"].between(1, 400).all()
    assert 0 < mdata["ephys"].obs["few_spikes"].mean() < 0.2
    assert mdata["ephys"].var.loc["Rheobase (pA)", "unit"] == "pA"
    assert mdata["ephys"].var.loc["Spike frequency adaptation", "unit"] == ""


def test_types_are_uneven_and_nested(mdata: MuData) -> None:
    counts = mdata.obs["cell_type"].value_counts()
    assert len(counts) == 9
    assert counts.max() > 3 * counts.min()
    assert (mdata.obs.groupby("cell_type", observed=True)["family"].nunique() == 1).all()


def pooled_r2(features: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> float:
    """Held-out share of the variance of standardised targets that ridge regression explains."""
    targets = (targets - targets.mean(axis=0)) / targets.std(axis=0)
    ridge = RidgeCV(np.logspace(0, 5, 11), alpha_per_target=True)
    predicted = cross_val_predict(ridge, features, targets, cv=KFold(5))
    return float(1 - np.mean((targets - predicted) ** 2))


def test_signal(mdata: MuData) -> None:
    """One modality predicts the other in part, and each tells most of the shared latent variables."""
    ephys = mdata["ephys"].to_df().dropna()
    cells = mdata["rna"].obs_names.intersection(ephys.index)
    ephys = ephys.loc[cells].to_numpy()
    ephys = (ephys - ephys.mean(axis=0)) / ephys.std(axis=0)
    rna = mdata["rna"][cells].X.toarray()
    rna = (rna - rna.mean(axis=0)) / rna.std(axis=0)
    truth = mdata.obsm["X_true"][mdata.obs_names.get_indexer(cells)]

    assert 0.3 < pooled_r2(rna, ephys) < 0.6
    assert 0.7 < pooled_r2(PCA(20, random_state=0).fit_transform(rna), truth) < 0.97
    assert 0.7 < pooled_r2(ephys, truth) < 0.97
    # the private variables are in their own modality, not in the other
    private = mdata.obsm["X_true_private_ephys"][mdata.obs_names.get_indexer(cells)]
    assert pooled_r2(ephys, private) > 0.3
    assert pooled_r2(rna, private) < 0.05


def test_generating_genes_are_known(mdata: MuData) -> None:
    """Only the genes named in the truth follow the shared latent variables."""
    truth = mdata.obsm["X_true"][mdata.obs_names.get_indexer(mdata["rna"].obs_names)]
    rna = mdata["rna"].to_df()
    correlation = np.abs(np.corrcoef(truth.T, rna.T)[:5, 5:]).max(axis=0)
    named = rna.columns.isin(mdata.uns["simulation"]["genes_on_latent"])
    assert 0.3 < named.mean() < 0.5
    assert np.median(correlation[named]) > 2 * np.median(correlation[~named])
    loadings = mdata.uns["simulation"]["loadings"]
    np.testing.assert_array_equal(loadings["rna"].any(axis=1), named)
    assert {name: value.shape for name, value in loadings.items()} == {
        "rna": (200, 5),
        "ephys": (24, 5),
        "morph": (12, 5),
    }


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"n_cells": 9}, "n_cells=9"),
        ({"n_genes": 5}, "n_genes=5"),
        ({"n_ephys": 3}, "n_ephys=3"),
        ({"n_morph": -1}, "n_morph=-1"),
        ({"n_families": 0}, "n_families=0"),
        ({"n_types": 2}, "n_types=2 is less than n_families=3"),
        ({"n_latent": 0}, "n_latent=0"),
        ({"n_private": -1}, "n_private=-1"),
        ({"min_spikes": -1}, "min_spikes=-1"),
        ({"seed": -1}, "seed=-1"),
        ({"fraction_rna_only": -0.1}, "fraction_rna_only=-0.1"),
        ({"fraction_ephys_only": 1.1}, "fraction_ephys_only=1.1"),
        ({"missing_rate": float("nan")}, "missing_rate=nan"),
        ({"fraction_morph": 2}, "fraction_morph=2"),
        (
            {"fraction_rna_only": 0.6, "fraction_ephys_only": 0.6},
            "fraction_ephys_only=0.6 sum to more than 1",
        ),
        ({"fraction_rna_only": 1, "fraction_ephys_only": 0}, "fraction_rna_only=1 leaves"),
        ({"fraction_rna_only": 0, "fraction_ephys_only": 1}, "fraction_ephys_only=1 leaves"),
        ({"n_morph": 3, "fraction_morph": 0}, "fraction_morph=0 leaves"),
    ],
)
def test_bad_arguments_are_named(bad: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        simulate_patchseq(**bad)


@pytest.mark.parametrize("n_private", [0, 2])
def test_written_and_read_back(tmp_path: Path, n_private: int) -> None:
    mdata = simulate_patchseq(60, n_morph=3, n_private=n_private)
    with no_pull():
        mdata.write(tmp_path / "a.h5mu")
        back = mudata.read_h5mu(tmp_path / "a.h5mu")
    assert_same(mdata, back)
    assert list(back.uns["simulation"]["genes_on_latent"]) == list(mdata.uns["simulation"]["genes_on_latent"])
    assert back.uns["simulation"]["settings"] == mdata.uns["simulation"]["settings"]


def test_shipped_file_is_what_the_generator_makes() -> None:
    assert SHIPPED.stat().st_size < 1e6
    with no_pull():
        shipped = mudata.read_h5mu(SHIPPED)
    assert_same(shipped, simulate_patchseq(**shipped.uns["simulation"]["settings"]))
