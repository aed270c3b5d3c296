"""The whole way on real Patch-seq: what the README promises holds on cells that were not trained on."""

from __future__ import annotations

import os

import mudata
import numpy as np
import pytest
import scvi

import scvi_cae
from scvi_cae.evaluate import score

pytestmark = [
    pytest.mark.slow,
    # A few values of the data are outliers.
    pytest.mark.filterwarnings("ignore:Modality 'ephys'. .* values, in .* features:UserWarning"),
    pytest.mark.skipif(
        "SCVI_CAE_DATA" not in os.environ, reason="SCVI_CAE_DATA does not name a folder of real data"
    ),
]


@pytest.fixture(scope="module")
def mdata():
    full = scvi_cae.datasets.scala2020()
    scvi_cae.CoupledAE.setup_mudata(full)
    return full


def scores(model):
    table = score(model)
    return {(r.method, r.metric, r.target, r.source): r.value for r in table.itertuples()}


def test_two_modalities_of_the_paired_cells(mdata):
    """Fold 0 of the ten of tests/benchmarks/scala2020_folds.py."""
    cells = mdata["rna"].obs_names
    paired = mudata.MuData({name: mdata[name][cells].copy() for name in ("rna", "ephys")})
    scvi_cae.CoupledAE.setup_mudata(paired)
    position = paired.obs_names.get_indexer(cells)
    test = position[np.random.RandomState(42).permutation(len(cells))[:120]]
    scvi.settings.seed = 0
    model = scvi_cae.CoupledAE(paired)
    model.train(external_indexing=[np.setdiff1d(position, test), None, test], enable_progress_bar=False)
    r2 = scores(model)
    assert r2["CoupledAE", "r2", "ephys", "rna"] > r2["ridge", "r2", "ephys", "rna"] - 0.03
    assert r2["CoupledAE", "r2", "rna", "ephys"] > r2["ridge", "r2", "rna", "ephys"]
    assert r2["CoupledAE", "r2", "ephys", "ephys"] > 0.6
    assert r2["CoupledAE", "foscttm", "ephys", "rna"] < 0.15


def test_three_modalities_of_all_cells(mdata):
    """Cells with any subset of the modalities train and are embedded; nothing is dropped."""
    scvi.settings.seed = 0
    model = scvi_cae.CoupledAE(mdata, n_latent=5)
    model.train(max_epochs=40, train_size=0.8, enable_progress_bar=False)
    assert len(model.train_indices) + len(model.validation_indices) == mdata.n_obs == 1329
    assert np.isfinite(model.get_latent_representation()).all()
    r2 = scores(model)
    for source in ("rna", "ephys", "morph"):
        for target in ("rna", "ephys", "morph"):
            assert r2["CoupledAE", "r2", target, source] > 0, (source, target)
