"""Silhouettes of labels in latents."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from conftest import make_mdata
from scvi_cae.tl import silhouettes


@pytest.fixture
def mdata():
    """Three labels, separate in one modality, mixed in the other, which some cells lack."""
    rng = np.random.default_rng(0)
    mdata = make_mdata(90, fraction={"rna": 1.0, "ephys": 0.7})
    labels = np.resize(list("abc"), mdata.n_obs)
    mdata.obs["type"] = labels
    z = 5 * np.eye(3)[np.searchsorted(list("abc"), labels)] + rng.normal(size=(mdata.n_obs, 3))
    mdata.obsm["X_cae_rna"] = z
    mdata.obsm["X_cae_ephys"] = rng.normal(size=z.shape)
    mdata.obsm["X_cae_ephys"][~mdata.obs_names.isin(mdata["ephys"].obs_names)] = np.nan
    mdata.obs["X_cae_set"] = np.resize(["training", "test"], mdata.n_obs)
    return mdata


def test_separate_labels_have_high_silhouettes(mdata):
    table = silhouettes(mdata, "type", by="modality").set_index("modality")
    assert table.loc["rna", "mean"] > 0.5
    assert abs(table.loc["ephys", "mean"]) < 0.1
    held_out = (mdata.obs["X_cae_set"] == "test").to_numpy()
    assert table["n"].to_dict() == {
        "rna": held_out.sum(),
        "ephys": (held_out & np.isfinite(mdata.obsm["X_cae_ephys"][:, 0])).sum(),
    }


def test_rows_of_labels_summarise_those_of_cells(mdata):
    cells = silhouettes(mdata, "type", cells="all", by="cell")
    z = mdata.obsm["X_cae_rna"]
    np.testing.assert_allclose(
        cells.loc[cells["modality"] == "rna", "silhouette"], silhouette_samples(z, mdata.obs["type"])
    )
    labels = silhouettes(mdata, "type", cells="all")
    assert list(labels.columns) == ["modality", "key", "label", "mean", "sd", "n"]
    for row in labels.itertuples():
        values = cells.query("modality == @row.modality and label == @row.label")["silhouette"]
        assert (row.mean, row.sd, row.n) == (
            pytest.approx(values.mean()),
            pytest.approx(values.std()),
            len(values),
        )
    for _, part in labels.groupby("modality"):
        assert part["mean"].is_monotonic_decreasing


def test_training_cells_have_no_influence_on_held_out_ones(mdata):
    before = silhouettes(mdata, "type")
    mdata.obsm["X_cae_rna"][(mdata.obs["X_cae_set"] == "training").to_numpy()] += 50
    assert silhouettes(mdata, "type").equals(before)


def test_modalities_can_have_labels_of_their_own(mdata):
    mdata.obs["found_rna"] = mdata.obs["type"]
    mdata.obs["found_ephys"] = np.where(mdata.obs["type"] == "a", "a", "b")
    mdata.obs.loc[mdata.obs_names[:4], "found_ephys"] = None
    table = silhouettes(mdata, ["found", "type"], cells="all")
    assert set(table["key"]) == {"found", "type"}
    assert table.groupby(["key", "modality"]).size().to_dict() == {
        ("found", "rna"): 3,
        ("found", "ephys"): 2,
        ("type", "rna"): 3,
        ("type", "ephys"): 3,
    }
    n = table.query("key == 'found' and modality == 'ephys'")["n"].sum()
    assert n == np.isfinite(mdata.obsm["X_cae_ephys"][4:, 0]).sum()


def test_a_single_cell_of_a_label_has_no_spread(mdata):
    mdata.obs["type"] = np.where(np.arange(mdata.n_obs) == 1, "alone", mdata.obs["type"])
    row = silhouettes(mdata, "type").query("modality == 'rna' and label == 'alone'").iloc[0]
    assert (row["mean"], row["n"]) == (0, 1)
    assert np.isnan(row["sd"])


def test_what_is_wrong_is_named(mdata):
    mdata.obs["one"] = "a"
    with pytest.raises(ValueError, match="latents of modality 'rna' and a label in 'one', with 1 distinct"):
        silhouettes(mdata, "one")
    with pytest.raises(KeyError, match="family"):
        silhouettes(mdata, "family")
    with pytest.raises(ValueError, match="by='type'"):
        silhouettes(mdata, "type", by="type")
    with pytest.raises(ValueError, match="at least one"):
        silhouettes(mdata, [])
    with pytest.raises(KeyError, match="X_other"):
        silhouettes(mdata, "type", use_rep="X_other")
