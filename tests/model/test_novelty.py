from __future__ import annotations

import mudata
import numpy as np
import pytest

from conftest import fit, make_mdata
from scvi_cae import CoupledAE


@pytest.fixture(scope="module")
def model():
    mdata = make_mdata(500, missing={"ephys": 0.05})
    CoupledAE.setup_mudata(mdata, labels_key="kind")
    return fit(mdata, max_epochs=150, train_size=0.7)


def test_cells_like_the_training_cells_are_typical(model):
    found = model.novelty(modality="ephys", indices=model.validation_indices)
    assert found["distance"].median() == pytest.approx(1, abs=0.25)
    assert 0 < (found["p_value"] < 0.1).mean() < 0.2
    lacking = ~model.adata.obs_names.isin(model.adata["ephys"].obs_names)
    assert (model.novelty(modality="ephys")["p_value"].isna() == lacking).all()


@pytest.mark.parametrize("modality", ["rna", "ephys"])
@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + 2 * np.nanstd(x, axis=0),
        lambda x: 4 * x,
        lambda x: np.random.default_rng(0).permuted(x, axis=0),
    ],
    ids=["shifted", "scaled", "shuffled"],
)
def test_cells_unlike_them_are_flagged(model, modality, change):
    other = make_mdata(500, missing={"ephys": 0.05})
    before = model.novelty(other, modality)
    other[modality].X = change(other[modality].X).astype(np.float32)
    after = model.novelty(other, modality)
    assert after["distance"].median() > 1.5 * before["distance"].median()
    assert (after["p_value"] < 0.05).mean() > 0.3


def test_order_of_cells_does_not_matter(model):
    cells = np.random.default_rng(0).permutation(model.adata.n_obs)[:50]
    some = model.novelty(modality="rna", indices=cells)
    np.testing.assert_allclose(some, model.novelty(modality="rna").iloc[cells], rtol=1e-4)


def test_the_reference_distribution_is_saved(model, tmp_path):
    query = mudata.MuData({"ephys": make_mdata(500)["ephys"].copy()})
    expected = model.novelty(query)
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=False)
    np.testing.assert_allclose(loaded.novelty(query), expected, rtol=1e-5)


def test_the_modality_must_be_known(model):
    with pytest.raises(ValueError, match="Name the modality"):
        model.novelty()
    with pytest.raises(ValueError, match="'kind' are labels"):
        model.novelty(modality="kind")
