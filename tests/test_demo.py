"""The demonstration writes complete files, with scores that the saved model reproduces."""

from __future__ import annotations

import os

import matplotlib.image
import mudata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from scvi_cae import Ensemble
from scvi_cae.cli import app
from scvi_cae.evaluate import score

FILES = {"latent.h5mu", "model", "umap.png", "training.png", "scores.csv"}


def check(out, result, data, keys) -> None:
    assert result.exit_code == 0, (result.output, result.exception)
    assert {path.name for path in out.iterdir()} == FILES
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    for name in ("umap.png", "training.png"):
        image = matplotlib.image.imread(out / name)
        assert min(image.shape[:2]) >= 500
        assert image[..., :3].std() > 0.05  # not blank

    mdata = mudata.read_h5mu(out / "latent.h5mu")
    assert set(mdata.obs["X_cae_set"]) == {"training", "test"}
    for adata in mdata.mod.values():
        assert np.isfinite(adata.obsm["X_cae"]).all()
        assert np.isfinite(adata.obsm["X_umap"]).all()
        assert adata.obsm["X_umap"].shape == (adata.n_obs, 2)

    model = Ensemble.load(out / "model", adata=mdata)
    np.testing.assert_allclose(model.get_latent_representation(), mdata.obsm["X_cae"], rtol=1e-4, atol=1e-5)
    scores = pd.read_csv(out / "scores.csv")
    assert set(scores["data"]) == {data}
    assert set(scores["seed"]) == {0}
    test = np.flatnonzero(mdata.obs["X_cae_set"] == "test")
    baselines = ["ridge", "tuned kernel ridge", "type mean"]
    expected = score(model, test, labels_key=keys, baselines=baselines)
    pd.testing.assert_frame_equal(
        scores[expected.columns], expected, check_exact=False, atol=6e-4, rtol=0, check_dtype=False
    )
    assert (scores["knows_type"] == (scores["method"] == "type mean")).all()
    for heading in ("Ensemble", "ridge", "type mean *", f"data: {data}, seed: 0"):
        assert heading in result.stdout
    for value in scores["value"]:
        assert f"{value:.3f}" in result.stdout
    across = scores[(scores["source"] == "rna") & (scores["metric"] == "r2")]
    values = across.set_index(["target", "method"])["value"]["ephys"]
    best = values[["ridge", "tuned kernel ridge"]].idxmax()
    assert f"ephys from rna with R2 {values['Ensemble']:.3f} ({best}: {values[best]:.3f})" in result.stdout


def test_simulated(tmp_path):
    out = tmp_path / "demo"
    check(
        out,
        CliRunner().invoke(app, ["demo", "--out", str(out), "--max-epochs", "3"]),
        "simulated",
        "cell_type",
    )


@pytest.mark.slow
@pytest.mark.skipif(
    "SCVI_CAE_DATA" not in os.environ, reason="SCVI_CAE_DATA does not name the folder of real data"
)
def test_scala2020(tmp_path):
    out = tmp_path / "demo"
    args = ["demo", "--data", "scala2020", "--out", str(out), "--max-epochs", "20"]
    check(out, CliRunner().invoke(app, args), "scala2020", "rna_type")
    assert "low quality" not in set(mudata.read_h5mu(out / "latent.h5mu").obs["rna_family"])
