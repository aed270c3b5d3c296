from __future__ import annotations

import mudata
import numpy as np
import pytest
import scvi

import scvi_cae
from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE

QUANTILES = [0.1, 0.9]


@pytest.fixture(scope="module")
def model():
    mdata = make_mdata(300)
    CoupledAE.setup_mudata(mdata)
    return fit(mdata, max_epochs=60, train_size=0.7, monitor=None)


def other_cells(n, seed):
    """Cells that the model was not trained on, of other names."""
    cells = make_mdata(n, seed=seed)
    for adata in cells.mod.values():
        adata.obs_names = "other " + adata.obs_names
    return mudata.MuData(cells.mod)


def noisy_lab(n=300, seed=1):
    """Other cells, recorded with an offset and much noise."""
    mdata = other_cells(n, seed)
    rng = np.random.default_rng(seed)
    adata = mdata["ephys"]
    adata.X = (adata.X + 3 * adata.X.std(0) * (1 + rng.normal(size=adata.shape))).astype(np.float32)
    return mdata


def coverage(table, truth):
    lower, upper = (table.xs(q, axis=1, level="quantile").loc[truth.index] for q in QUANTILES)
    inside = (truth >= lower) & (truth <= upper)
    return inside.to_numpy()[truth.notna().to_numpy()].mean()


@pytest.mark.parametrize("kind", ["one", "ensemble"])
def test_intervals_hold_for_the_other_cells_of_another_laboratory(model, kind):
    if kind == "ensemble":
        model = scvi_cae.Ensemble.from_models([model])
    other = noisy_lab()
    paired = other["rna"].obs_names.intersection(other["ephys"].obs_names)
    known, rest = paired[:100], paired[100:]
    query = mudata.MuData({"rna": other["rna"].copy(), "ephys": other["ephys"][known].copy()})
    truth = other["ephys"].to_df().loc[rest]
    before = model.predict("rna", "ephys", query, quantiles=QUANTILES)
    after = model.predict("rna", "ephys", query, quantiles=QUANTILES, recalibrate=True)
    assert coverage(before, truth) < 0.4
    assert coverage(after, truth) == pytest.approx(0.8, abs=0.08)


def test_cells_of_the_training_do_not_calibrate(model):
    training = model.adata[model.train_indices].copy()
    with pytest.raises(ValueError, match="at least 9 cells of the data .* as few as 0"):
        model.predict("rna", "ephys", training, quantiles=QUANTILES, recalibrate=True)


@pytest.mark.parametrize(
    ("modalities", "arguments", "message"),
    [
        (["rna", "ephys"], {"recalibrate": True}, "add quantiles"),
        (["rna"], {"recalibrate": True, "quantiles": QUANTILES}, "the data lack 'ephys'"),
        (
            ["rna", "ephys"],
            {"recalibrate": True, "quantiles": [0.01]},
            "99 cells of the data .* Measure both",
        ),
    ],
)
def test_what_cannot_be_recalibrated(model, modalities, arguments, message):
    other = other_cells(80, seed=5)
    query = mudata.MuData({name: other[name].copy() for name in modalities})
    with pytest.raises(ValueError, match=message):
        model.predict("rna", "ephys", query, **arguments)


def test_an_adapted_model_is_calibrated_on_cells_that_it_did_not_learn_from(model):
    query = noisy_lab(200)
    adapted = CoupledAE.load_query_data(query, model)
    scvi.settings.seed = 0
    adapted.train(max_epochs=5, train_size=0.5, **QUIET)
    sets = adapted.set_membership(query)
    table = adapted.predict("rna", "ephys", query, quantiles=QUANTILES, recalibrate=True)
    unseen = sets.index[sets == "validation"].intersection(query["ephys"].obs_names)
    unseen = unseen.intersection(query["rna"].obs_names)
    assert coverage(table, query["ephys"].to_df().loc[unseen]) == pytest.approx(0.8, abs=0.1)
