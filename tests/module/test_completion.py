from __future__ import annotations

import anndata
import mudata
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import fit, make_mdata
from scvi_cae import CoupledAE
from scvi_cae.module import Correlation
from scvi_cae.module import complete as complete_tensors
from scvi_cae.regression import KernelRidgeBaseline, LogisticBaseline, RidgeBaseline


def scores(n, n_features, n_factors, seed, noise=0.1):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n_factors)) @ rng.normal(size=(n_factors, n_features))
    x += noise * rng.normal(size=x.shape)
    return (x - x.mean(0)) / x.std(0)


def complete(*arrays):
    return complete_tensors(*map(torch.from_numpy, arrays)).numpy()


@given(st.integers(0, 1000), st.integers(2, 12), st.floats(0, 0.9))
@settings(deadline=None, max_examples=40)
def test_what_is_measured_stays_and_the_rest_is_expected_from_it(seed, n_features, missing):
    x = scores(60, n_features, 2, seed)
    observed = np.random.default_rng(seed).random(x.shape) >= missing
    correlation = Correlation(n_features)
    # In two parts, as from a disk.
    for part in (slice(0, 25), slice(25, None)):
        correlation.add(np.where(observed, x, np.nan)[part])
    matrix = correlation.matrix
    assert np.linalg.eigvalsh(matrix).min() > 0.009
    out = complete(np.where(observed, x, 7.0), observed, matrix)
    np.testing.assert_array_equal(out[observed], x[observed])
    assert (out[~observed.any(1)] == 0).all()
    for cell in np.flatnonzero(~observed.all(1) & observed.any(1))[:5]:
        o = observed[cell]
        expected = matrix[np.ix_(~o, o)] @ np.linalg.inv(matrix[np.ix_(o, o)]) @ np.clip(x[cell, o], -3, 3)
        np.testing.assert_allclose(out[cell, ~o], expected, atol=1e-8)


def test_a_feature_that_others_determine_is_found():
    x = scores(500, 8, 2, seed=0)
    correlation = Correlation(8)
    correlation.add(x[:400])
    observed = np.ones((100, 8), dtype=bool)
    observed[:, [2, 5]] = False
    found = complete(x[400:], observed, correlation.matrix)
    errors = ((found - x[400:]) ** 2)[:, [2, 5]].mean()
    assert errors < 0.2 * (x[400:][:, [2, 5]] ** 2).mean()


@pytest.mark.parametrize("kind", [RidgeBaseline, KernelRidgeBaseline, CoupledAE])
def test_predictions_withstand_features_that_a_query_lacks(kind):
    """Beside those of all features, the error grows little: two of eight features hold nothing that the others lack."""
    mdata = make_mdata(300, n_features={"rna": 12, "ephys": 8}, fraction={"rna": 1.0, "ephys": 1.0})
    x, y = (mdata[name].to_df().sort_index() for name in ("ephys", "rna"))
    if kind is CoupledAE:
        training = mdata[~mdata.obs_names.isin(x.index[200:])].copy()
        CoupledAE.setup_mudata(training)
        model = fit(training, max_epochs=60)

        def predict(values):
            query = mudata.MuData({"ephys": anndata.AnnData(values.astype(np.float32))})
            return model.predict("ephys", "rna", query).loc[values.index].to_numpy()
    else:
        predict = kind().fit(x[:200], y[:200]).predict
    fewer = x[200:].copy()
    fewer.iloc[:, [1, 6]] = np.nan
    truth = y[200:].to_numpy()
    zeroed = fewer.fillna(x[:200].mean())
    errors = [np.mean((predict(values) - truth) ** 2) for values in (x[200:], fewer, zeroed)]
    assert errors[1] - errors[0] < 0.5 * (errors[2] - errors[0])


def test_classes_withstand_features_that_a_query_lacks():
    x = scores(400, 6, 2, seed=3)
    kinds = np.where(x[:, 0] > 0, "a", "b")
    fitted = LogisticBaseline().fit(x[:300], kinds[:300])
    fewer = np.where(np.arange(6) == 0, np.nan, x[300:])
    accuracy = [(fitted.predict(z).argmax(1) == (kinds[300:] == "b")).mean() for z in (x[300:], fewer)]
    assert accuracy[1] > accuracy[0] - 0.1


def test_features_that_many_training_cells_lack_stay_missing():
    """Their gaps have a reason, which training saw as well; they neither are expected nor tell of others."""
    x = scores(300, 6, 2, seed=1)
    rare = x.copy()
    rare[:100, 2] = np.nan
    correlation = Correlation(6)
    correlation.add(rare)
    matrix = correlation.matrix
    np.testing.assert_array_equal(matrix[2], np.eye(6)[2])
    observed = np.ones((5, 6), dtype=bool)
    observed[:, [2, 4]] = False
    out = complete(x[:5], observed, matrix)
    assert (out[:, 2] == 0).all()
    assert (out[:, 4] != 0).all()


def test_networks_read_rare_features_as_in_training():
    mdata = make_mdata(200, missing={"ephys": 0.3})
    CoupledAE.setup_mudata(mdata)
    model = fit(mdata, max_epochs=5)
    likelihood = model.module.arm("ephys").likelihood
    observation = model.module.arm("ephys").observe(torch.from_numpy(mdata["ephys"].X.astype(np.float32)))
    values, observed = likelihood.complete(observation.values, observation.observed)
    torch.testing.assert_close(values, observation.values)
    torch.testing.assert_close(observed, observation.observed)
