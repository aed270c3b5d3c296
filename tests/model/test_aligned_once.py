"""Each public call aligns the data once."""

from __future__ import annotations

import mudata
import pytest

import scvi_cae
from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE, Ensemble, fit_many, splits
from scvi_cae.data import AlignedData, AlignedLabels, AlignedMatrix


@pytest.fixture
def made(monkeypatch):
    """Numbers of aligned data, matrices and labels made since the test began."""
    counts = {"data": 0, "matrices": 0, "labels": 0}
    for key, cls in (("data", AlignedData), ("matrices", AlignedMatrix), ("labels", AlignedLabels)):

        def counted(self, *args, key=key, before=cls.__init__, **kwargs):
            counts[key] += 1
            before(self, *args, **kwargs)

        monkeypatch.setattr(cls, "__init__", counted)
    return counts


@pytest.fixture(scope="module")
def mdata():
    out = make_mdata()
    CoupledAE.setup_mudata(out, labels_key="kind")
    return out


def folds(mdata):
    """Three folds of the training cells of one split, whose test cells all of them share."""
    return splits.within(splits.k_fold(mdata, 3)[0], 3)


@pytest.fixture(scope="module")
def fits(mdata):
    return [fit.model for fit in fit_many(mdata, folds(mdata), max_epochs=2)]


CALLS = {
    "predict": lambda model: model.predict("rna", "ephys"),
    "several sources": lambda model: model.predict(["rna", "kind"], "ephys"),
    "quantiles": lambda model: model.predict("rna", "ephys", quantiles=[0.3, 0.7]),
    "latent": lambda model: model.get_latent_representation(),
    "write_latent": lambda model: model.write_latent(),
    "attribute": lambda model: model.attribute("rna", "ephys"),
    "score": lambda model: scvi_cae.evaluate.score(model, labels_key="kind"),
    "report": lambda model: scvi_cae.tl.prediction_report(model, "rna", "ephys"),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", ["model", "ensemble"])
def test_inference(fits, made, call, kind):
    model = fits[0] if kind == "model" else Ensemble.from_models(fits)
    CALLS[call](model)
    assert made["data"] == 1
    assert made["matrices"] <= 2
    assert made["labels"] <= 1


def test_training(mdata, made):
    model = CoupledAE(mdata, n_latent=3)
    assert made == {"data": 0, "matrices": 0, "labels": 0}
    model.train(max_epochs=2, **QUIET)
    assert made == {"data": 1, "matrices": 2, "labels": 1}


def test_many_fits(mdata, made):
    wanted = folds(mdata)
    made.update(dict.fromkeys(made, 0))
    fit_many(mdata, wanted, seeds=[0, 1, 2], max_epochs=1)
    assert made == {"data": 1, "matrices": 2, "labels": 1}


def test_novelty(fits, made):
    fits[0].novelty(modality="ephys")
    assert made["data"] == 1
    assert made["matrices"] == 1


def test_novelty_of_the_only_modality(fits, mdata, made):
    fits[0].novelty(mudata.MuData({"ephys": mdata["ephys"].copy()}))
    assert made["data"] == 1
    assert made["matrices"] == 2  # one is of the absent modality


def test_each_cell_is_read_once_in_the_modalities_that_it_has(fits, mdata, monkeypatch):
    read = []
    before = AlignedMatrix.read
    monkeypatch.setattr(
        AlignedMatrix, "read", lambda self, cells: read.append(len(cells)) or before(self, cells)
    )
    query = mudata.MuData({"rna": mdata["rna"].copy()})
    fits[0].get_latent_representation(query)
    assert sum(read) == query.n_obs
