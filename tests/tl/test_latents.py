"""Latents, set membership and labels in a MuData."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import make_mdata
from scvi_cae.tl._latents import cell_mask, labels_of, latents


@pytest.fixture
def mdata():
    mdata = make_mdata(40)
    mdata.obsm["X_z_rna"] = np.zeros((mdata.n_obs, 3))
    mdata.obs["X_z_set"] = np.resize(["training", "training", "validation", "test"], mdata.n_obs)
    return mdata


def test_latents(mdata):
    assert {name: z.shape for name, z in latents(mdata, "X_z").items()} == {"rna": (mdata.n_obs, 3)}
    with pytest.raises(KeyError, match=r"No latents of 'ephys' under use_rep='X_z'.*X_z_ephys.*write_latent"):
        latents(mdata, "X_z", ["rna", "ephys"])
    with pytest.raises(KeyError, match="No latents of any modality.*X_other_rna"):
        latents(mdata, "X_other")


def test_held_out_cells_are_test_cells_or_else_validation_cells(mdata):
    sets = mdata.obs["X_z_set"]
    np.testing.assert_array_equal(cell_mask(mdata, "X_z", "held-out"), sets == "test")
    np.testing.assert_array_equal(cell_mask(mdata, "X_z", "training"), sets == "training")
    assert cell_mask(mdata, "X_z", "all").all()
    mdata.obs["X_z_set"] = sets.where(sets != "test", "training")
    np.testing.assert_array_equal(cell_mask(mdata, "X_z", "held-out"), sets == "validation")
    mdata.obs["X_z_set"] = "training"
    with pytest.raises(ValueError, match="have no held-out cells.*cells='all'"):
        cell_mask(mdata, "X_z", "held-out")


def test_cells_by_position_and_mask(mdata):
    assert np.flatnonzero(cell_mask(mdata, "X_z", [3, 5])).tolist() == [3, 5]
    np.testing.assert_array_equal(
        cell_mask(mdata, "X_z", np.arange(mdata.n_obs) < 4), np.arange(mdata.n_obs) < 4
    )
    with pytest.raises(ValueError, match="must be 'held-out', 'training', 'all'"):
        cell_mask(mdata, "X_z", "some")
    del mdata.obs["X_z_set"]
    with pytest.raises(KeyError, match="The set of each cell .* is missing from .*X_z_set"):
        cell_mask(mdata, "X_z", "training")


def test_labels(mdata):
    mdata.obs["cluster"] = [float(i % 3) if i else np.nan for i in range(mdata.n_obs)]
    assert labels_of(mdata, "cluster").tolist()[:4] == [None, "1", "2", "0"]
    with pytest.raises(KeyError, match="No column 'family'"):
        labels_of(mdata, "family")
