from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scvi

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE, splits
from scvi_cae.evaluate import _cross_validate, cross_validate, score

TRAIN = {"max_epochs": 3}


@pytest.fixture(scope="module")
def mdata():
    out = make_mdata()
    CoupledAE.setup_mudata(out)
    return out


def test_scores_are_those_of_each_fold_and_seed(mdata):
    folds = splits.k_fold(mdata, 3)
    table = cross_validate(mdata, folds, [0, 1], {"n_latent": 2}, TRAIN, labels_key="kind", progress=False)
    scvi.settings.seed = 1
    model = CoupledAE(mdata, n_latent=2)
    model.train(external_indexing=folds[2], **TRAIN, **QUIET)
    expected = score(model, folds[2].test, "kind")
    found = table.query("fold == 2 and seed == 1 and method == 'CoupledAE'").reset_index(drop=True)
    ours = expected[expected["method"] == "CoupledAE"].reset_index(drop=True)
    np.testing.assert_allclose(found["value"], ours["value"], rtol=1e-3)
    ridge = table.query("fold == 2 and method == 'ridge'")
    assert ridge["seed"].tolist() == [0, 0]
    np.testing.assert_allclose(
        np.sort(ridge["value"]), np.sort(expected[expected["method"] == "ridge"]["value"]), rtol=1e-5
    )


def test_a_later_call_goes_on_where_an_interrupted_one_ended(mdata, tmp_path, monkeypatch):
    folds, train = splits.k_fold(mdata, 3), {**TRAIN, "n_together": 1}
    fit_many, trained = _cross_validate.fit_many, []

    def interrupted(mdata, block, *args, **kwargs):
        trained.append(len(block))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return fit_many(mdata, block, *args, **kwargs)

    monkeypatch.setattr(_cross_validate, "fit_many", interrupted)
    call = {"model_kwargs": {"n_latent": 2}, "train_kwargs": train, "directory": tmp_path, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        cross_validate(mdata, folds, **call)
    trained.append(0)
    table = cross_validate(mdata, folds, **call)
    assert trained == [1, 1, 1, 0, 1]
    pd.testing.assert_frame_equal(
        table, cross_validate(mdata, folds, **{**call, "directory": None}), check_exact=True
    )
    n_trained = len(trained)
    pd.testing.assert_frame_equal(cross_validate(mdata, folds, **call), table, check_exact=True)
    assert len(trained) == n_trained
    with pytest.raises(ValueError, match="a call with other seeds"):
        cross_validate(mdata, folds, [5], **call)
    with pytest.raises(ValueError, match="a call with other model_kwargs"):
        cross_validate(mdata, folds, **{**call, "model_kwargs": {"n_latent": 3}})


def test_splits_need_test_cells(mdata):
    with pytest.raises(ValueError, match="Split 0 has no test cells"):
        cross_validate(mdata, [(np.arange(50), np.arange(50, 60))])


def test_number_of_folds(mdata):
    table = cross_validate(mdata, 2, model_kwargs={"n_latent": 2}, train_kwargs=TRAIN, progress=False)
    assert table["fold"].unique().tolist() == [0, 1]
