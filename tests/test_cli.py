"""The command line: what it writes, what it refuses, and how it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import scvi_cae
from conftest import make_mdata
from scvi_cae._files import write_file, write_folder
from scvi_cae.cli import app

#: The command as it is installed; importing scvi-tools takes it seconds, so that most tests run it in this process.
SCRIPT = Path(sys.executable).with_name("scvi-cae")


def run(*args: object, code: int = 0):
    """Run a command; ``stdout`` and ``stderr`` are its result's."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def error_of(*args: object) -> str:
    """The one line on stderr of a command that fails as expected."""
    result = run(*args, code=1)
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "in.h5mu"
    make_mdata(missing={"ephys": 0.05}).write_h5mu(path)
    return path


@pytest.fixture(scope="module")
def fitted(data):
    path = data.parent / "model"
    result = run("fit", data, path, "--n-latent", 3, "--max-epochs", 5)
    assert result.stdout == ""
    assert f"Saved the model to {path}." in result.stderr
    return path


def query(data, path, *names):
    """A file with some of the modalities only."""
    full = mudata.read_h5mu(data)
    mudata.MuData({name: full[name] for name in names}).write_h5mu(path)
    return path


def test_version_and_help():
    assert run("--version").stdout.strip() == scvi_cae.__version__
    for command in ("fit", "embed", "predict", "novelty", "map", "demo"):
        assert command in run("--help").stdout
        assert "--overwrite" in run(command, "--help").stdout


def test_the_installed_command_has_help():
    result = subprocess.run([SCRIPT, "--help"], check=True, capture_output=True, text=True)
    assert result.stderr == ""
    for command in ("fit", "embed", "predict", "novelty", "map", "demo"):
        assert command in result.stdout


def test_fit_saves_what_the_options_say(data, tmp_path):
    mdata = mudata.read_h5mu(data)
    mdata["rna"].layers["half"] = mdata["rna"].X / 2
    mdata.write_h5mu(tmp_path / "in.h5mu")
    run(
        "fit", tmp_path / "in.h5mu", tmp_path / "model", "--modalities", "ephys,rna", "--layer", "rna=half", "--labels-key",
        "kind", "--n-latent", 4, "--max-epochs", 2, "--train-size", 0.8, "--seed", 3,
    )  # fmt: skip
    model = scvi_cae.CoupledAE.load(tmp_path / "model", adata=False)
    assert model.modalities == ["ephys", "rna"]
    assert model.labels == ["kind"]
    assert dict(model.get_setup_arg("layers")) == {"rna": "half"}
    assert model.labels == ["kind"]
    assert model.module.n_latent == 4
    assert len(model.history["train_loss"]) == 2
    assert len(model.train_indices) == pytest.approx(0.8 * mdata.n_obs, abs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5mu", "model"]


def test_the_same_seed_fits_the_same_model(data, tmp_path):
    latents = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run("fit", data, tmp_path / name, "--n-latent", 3, "--max-epochs", 2, "--seed", seed)
        run("embed", tmp_path / name, data, tmp_path / f"{name}.h5mu")
        latents.append(mudata.read_h5mu(tmp_path / f"{name}.h5mu").obsm["X_cae"])
    np.testing.assert_array_equal(latents[0], latents[1])
    assert not np.allclose(latents[0], latents[2])


def test_embed_adds_latents_and_nothing_else(data, fitted, tmp_path):
    run("embed", fitted, data, tmp_path / "out.h5mu", "--key", "X_z")
    before, after = mudata.read_h5mu(data), mudata.read_h5mu(tmp_path / "out.h5mu")
    model = scvi_cae.CoupledAE.load(fitted, adata=before)
    np.testing.assert_allclose(after.obsm["X_z"], model.get_latent_representation(), rtol=1e-5)
    assert after["rna"].obsm["X_z"].shape == (after["rna"].n_obs, 3)
    assert set(after.uns) == set(mudata.read_h5mu(data).uns)
    assert after.obs.pop("X_z_set").isin(["training", "validation", "test"]).all()
    pd.testing.assert_frame_equal(after.obs, before.obs)
    np.testing.assert_array_equal(after["ephys"].X, before["ephys"].X)


def test_embed_and_predict_a_query_with_one_modality(data, fitted, tmp_path):
    alone = query(data, tmp_path / "rna.h5mu", "rna")
    run("embed", fitted, alone, tmp_path / "out.h5mu")
    after = mudata.read_h5mu(tmp_path / "out.h5mu")
    assert np.isfinite(after.obsm["X_cae"]).all()
    assert list(after.mod) == ["rna"]
    run("predict", fitted, alone, tmp_path / "out.csv", "--source", "rna", "--target", "ephys")
    table = pd.read_csv(tmp_path / "out.csv", index_col="cell")
    assert table.index.tolist() == after.obs_names.tolist()
    assert np.isfinite(table.to_numpy()).all()
    csv = tmp_path / "no.csv"
    assert "no modality" in error_of("predict", fitted, alone, csv, "--source", "ephys", "--target", "rna")
    assert not csv.exists()


@pytest.mark.parametrize(
    ("suffix", "separator"),
    [(".csv", ","), (".tsv", "\t"), (".CSV", ","), (".csv.gz", ","), (".Tsv.GZ", "\t")],
)
def test_predict_writes_the_models_predictions(data, fitted, tmp_path, suffix, separator):
    out = tmp_path / f"out{suffix}"
    result = run("predict", fitted, data, out, "--source", "rna", "--target", "ephys")
    model = scvi_cae.CoupledAE.load(fitted, adata=mudata.read_h5mu(data))
    expected = model.predict("rna", "ephys")
    assert f"{expected.isna().all(axis=1).sum()} of them lack 'rna'" in result.stderr
    packed = "gzip" if suffix.lower().endswith(".gz") else None
    table = pd.read_csv(out, sep=separator, index_col="cell", compression=packed)
    assert table.columns.tolist() == expected.columns.tolist()
    np.testing.assert_allclose(table, expected, rtol=1e-4)


def test_fit_takes_likelihoods_batches_and_labels(data, tmp_path):
    mdata = mudata.read_h5mu(data)
    mdata["ephys"].obs["rig"] = np.where(np.arange(mdata["ephys"].n_obs) % 2, "a", "b")
    mdata.write_h5mu(tmp_path / "in.h5mu")
    run(
        "fit", tmp_path / "in.h5mu", tmp_path / "model", "--likelihood", "ephys=gaussian", "--batch-key", "ephys=rig",
        "--labels-key", "kind", "--stratify-by", "kind", "--n-latent", 3, "--max-epochs", 2,
    )  # fmt: skip
    model = scvi_cae.CoupledAE.load(tmp_path / "model", adata=False)
    assert dict(model.get_setup_arg("likelihoods")) == {"ephys": "gaussian"}
    assert model.batches("ephys") == ["a", "b"]
    run(
        "predict",
        tmp_path / "model",
        tmp_path / "in.h5mu",
        tmp_path / "out.csv",
        "--source",
        "rna,ephys",
        "--target",
        "kind",
    )
    table = pd.read_csv(tmp_path / "out.csv", index_col="cell")
    assert table.columns.tolist() == ["a", "b"]
    np.testing.assert_allclose(table.sum(axis=1), 1, rtol=1e-4)


def outputs(data, fitted, out):
    """Every command that writes a file or folder there."""
    return {
        "fit": ("fit", data, out, "--n-latent", 3, "--max-epochs", 1),
        "embed": ("embed", fitted, data, out),
        "predict": ("predict", fitted, data, out, "--source", "rna", "--target", "ephys"),
        "novelty": ("novelty", fitted, data, out, "--modality", "rna"),
        "demo": ("demo", "--out", out),
    }


@pytest.mark.parametrize(
    ("command", "name"), [("embed", "out.h5mu"), ("predict", "out.csv"), ("novelty", "out.csv")]
)
def test_files_are_refused_before_any_work_and_replaced_when_told(data, fitted, tmp_path, command, name):
    out = tmp_path / name
    out.write_bytes(b"precious")
    args = outputs(tmp_path / "not there", tmp_path / "neither", out)[command]
    assert "--overwrite" in (message := error_of(*args))  # not: there is no input
    assert str(out) in message
    assert out.read_bytes() == b"precious"
    run(*outputs(data, fitted, out)[command], "--overwrite")
    assert out.read_bytes() != b"precious"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("command", ["fit", "demo"])
def test_folders_are_refused_before_any_work(tmp_path, command):
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.pt").write_bytes(b"precious")
    args = outputs(tmp_path / "not there", None, out)[command]
    assert "--overwrite" in error_of(*args)
    (out / "thesis.txt").write_bytes(b"precious")
    assert "thesis.txt" in error_of(*args, "--overwrite")
    assert {path.read_bytes() for path in out.iterdir()} == {b"precious"}


def test_a_model_is_replaced_when_told(data, tmp_path):
    out = tmp_path / "model"
    for n in (2, 3):
        run("fit", data, out, "--n-latent", n, "--max-epochs", 1, "--overwrite")
    assert scvi_cae.CoupledAE.load(out, adata=False).module.n_latent == 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("command", ["fit", "embed", "predict"])
def test_a_failure_while_writing_leaves_what_was_there(data, fitted, tmp_path, monkeypatch, command):
    out = tmp_path / {"fit": "out", "embed": "out.h5mu", "predict": "out.csv"}[command]
    if command == "fit":
        out.mkdir()
    precious = out / "model.pt" if command == "fit" else out
    precious.write_bytes(b"precious")

    def half(self, path, *args, **kwargs):
        target = os.path.join(path, "model.pt") if os.path.isdir(path) else path  # noqa: PTH112, PTH118
        with open(target, "wb") as file:  # noqa: PTH123
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scvi_cae.CoupledAE, "save", half)
    monkeypatch.setattr(mudata.MuData, "write_h5mu", half)
    monkeypatch.setattr(pd.DataFrame, "to_csv", half)
    result = run(*outputs(data, fitted, out)[command], "--overwrite", code=1)
    assert "Error: [Errno 28] No space left on device" in result.stderr
    assert precious.read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_store_whose_place_cannot_be_taken_is_put_back(tmp_path, monkeypatch):
    out = tmp_path / "out.zarr"
    out.mkdir()
    (out / "file").write_bytes(b"precious")
    rename = Path.rename

    def refuse_new(self, target):
        if (self / "new").exists():
            raise PermissionError("no")
        return rename(self, target)

    def write(folder):
        folder.mkdir()
        (folder / "new").write_bytes(b"new")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse_new)
        with pytest.raises(PermissionError, match="no"):
            write_file(out, write)
    assert (out / "file").read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [out]
    write_file(out, write)
    assert [path.name for path in out.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [out]


def test_files_move_into_an_old_folder_and_others_stay(tmp_path):
    out = tmp_path / "out"
    (out / "model").mkdir(parents=True)
    for name in ("thesis", "scores", "model/model.pt", "model/notes"):
        (out / name).write_text("old")

    def write(folder):
        (folder / "model").mkdir()
        (folder / "scores").write_text("new")
        (folder / "model" / "model.pt").write_text("new")

    write_folder(out, write, overwrite=True)
    found = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    assert found == {"thesis": "old", "scores": "new", "model/model.pt": "new", "model/notes": "old"}
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_that_appears_while_a_model_trains_is_not_replaced(data, tmp_path, monkeypatch, overwrite):
    out = tmp_path / "out"
    save = scvi_cae.CoupledAE.save

    def late(self, *args, **kwargs):
        out.mkdir()
        (out / "thesis.txt").write_text("precious")
        save(self, *args, **kwargs)

    monkeypatch.setattr(scvi_cae.CoupledAE, "save", late)
    args = ("fit", data, out, "--n-latent", 3, "--max-epochs", 1)
    if overwrite:
        run(*args, "--overwrite")
        where = out
    else:
        message = run(*args, code=1).stderr.splitlines()[-1]
        (where,) = set(tmp_path.iterdir()) - {out}
        assert str(where) in message
        assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert (out / "thesis.txt").read_text() == "precious"
    assert scvi_cae.CoupledAE.load(where, adata=False).is_trained


def test_inputs_that_cannot_be_read(data, fitted, tmp_path):
    out = tmp_path / "out"
    assert "There is no file" in error_of("fit", tmp_path / "none.h5mu", out)
    (junk := tmp_path / "junk.h5mu").write_text("hello")
    assert "not a complete MuData" in error_of("fit", junk, out)
    (torn := tmp_path / "torn.h5mu").write_bytes(data.read_bytes()[:3000])
    assert "not a complete MuData" in error_of("embed", fitted, torn, tmp_path / "x.h5mu")
    mudata.read_h5mu(data)["rna"].write_h5ad(tmp_path / "one.h5ad")
    assert "mudata.MuData({" in error_of("fit", tmp_path / "one.h5ad", out)
    assert "No saved model" in error_of("embed", tmp_path, data, tmp_path / "x.h5mu")
    (tmp_path / "model.pt").write_text("hello")
    assert "not a complete CoupledAE" in error_of("embed", tmp_path, data, tmp_path / "x.h5mu")
    assert not out.exists()


def test_requests_that_do_not_fit_the_data(data, fitted, tmp_path):
    out = tmp_path / "out"
    assert "No modality 'atac'" in error_of("fit", data, out, "--modalities", "rna,atac")
    assert "No column 'nope'" in error_of("fit", data, out, "--labels-key", "nope")
    assert "no layer 'nope'" in error_of("fit", data, out, "--layer", "rna=nope")
    assert "--train-size 0.0" in error_of("fit", data, out, "--train-size", 0)
    assert "latent dimensions" in error_of("fit", data, out, "--n-latent", 500)
    assert "There is no folder" in error_of("fit", data, out / "deeper", "--max-epochs", 1)
    csv = ("predict", fitted, data, tmp_path / "x.csv", "--source", "rna")
    assert "no modality 'morph'" in error_of(*csv, "--target", "morph")
    xls = ("predict", fitted, data, tmp_path / "x.xls", "--source", "rna", "--target", "ephys")
    assert ".csv or .tsv" in error_of(*xls)
    assert ".h5mu" in error_of("embed", fitted, data, tmp_path / "x.h5ad")
    (tmp_path / "x.csv").mkdir()
    assert "is a folder" in error_of(*csv, "--target", "ephys")
    assert "is a file" in error_of("fit", data, data, "--overwrite")
    renamed = mudata.read_h5mu(data)
    mudata.MuData({"atac": renamed["rna"]}).write_h5mu(tmp_path / "atac.h5mu")
    assert "none of the model's modalities" in error_of(
        "embed", fitted, tmp_path / "atac.h5mu", tmp_path / "x.h5mu"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"atac.h5mu", "x.csv"}


@pytest.mark.parametrize(
    "args",
    [
        ("fit", "in.h5mu"),
        ("fit", "in.h5mu", "out", "--layer", "rna"),
        ("fit", "in.h5mu", "out", "--layer", "rna=a", "--layer", "rna=b"),
        ("fit", "in.h5mu", "out", "--modalities", "rna,,ephys"),
        ("fit", "in.h5mu", "out", "--n-latent", "0"),
        ("fit", "in.h5mu", "out", "--max-epochs", "many"),
        ("demo", "--data", "unknown"),
        ("nothing",),
    ],
)
def test_usage_errors_end_with_2(args):
    run(*args, code=2)


@pytest.fixture(scope="module")
def fitted_ensemble(data):
    path = data.parent / "ensemble"
    result = run(
        "fit", data, path, "--n-models", 3, "--n-latent", 3, "--max-epochs", 3, "--labels-key", "kind"
    )
    assert result.stdout == ""
    assert "Training 3 models together" in result.stderr
    assert result.stderr.count("Epoch") == result.stderr.count("reconstruction loss: train") == 1
    assert f"Saved the ensemble to {path}." in result.stderr
    return path


def test_an_ensemble_embeds_and_predicts(data, fitted_ensemble, tmp_path):
    ensemble = scvi_cae.Ensemble.load(fitted_ensemble, adata=mudata.read_h5mu(data))
    assert ensemble.n_models == 3
    assert ensemble.labels == ["kind"]
    run("embed", fitted_ensemble, data, tmp_path / "out.h5mu")
    after = mudata.read_h5mu(tmp_path / "out.h5mu")
    np.testing.assert_allclose(after.obsm["X_cae"], ensemble.get_latent_representation(), rtol=1e-5)
    assert after["rna"].obsm["X_cae"].shape == (after["rna"].n_obs, 9)
    for target in ("ephys", "kind"):
        csv = tmp_path / f"{target}.csv"
        run("predict", fitted_ensemble, data, csv, "--source", "rna", "--target", target)
        table = pd.read_csv(csv, index_col="cell")
        np.testing.assert_allclose(table, ensemble.predict("rna", target), rtol=1e-5)


def test_cells_are_mapped_to_the_classes_of_a_model(data, fitted, fitted_ensemble, tmp_path):
    other = make_mdata(60, seed=1)
    other["rna"].obs_names = "other " + other["rna"].obs_names
    mudata.MuData({"rna": other["rna"][:, :25].copy()}).write_h5mu(tmp_path / "in.h5mu")
    result = run("map", fitted_ensemble, tmp_path / "in.h5mu", tmp_path / "out.csv", "--coverage", 0.8)
    n = other["rna"].n_obs
    # Sets are not calibrated for cells that lack features.
    assert f"Labels 'kind': {n} of {n} cells mapped; sets of 0.8 calibrated for 0 of them." in result.stderr
    assert "features found" in result.stderr
    table = pd.read_csv(tmp_path / "out.csv", index_col="cell")
    ensemble = scvi_cae.Ensemble.load(fitted_ensemble, adata=False)
    query = scvi_cae.Ensemble.prepare_query_mudata(mudata.read_h5mu(tmp_path / "in.h5mu"), ensemble)
    expected = ensemble.map_query(query, coverage=0.8)
    assert (table["kind_set"] == expected["kind_set"].astype(str)).all()
    assert set(table) == set(expected)
    for folder, options, message in (
        (fitted_ensemble, ("--labels", "type"), "--labels type: the model was set up with the labels 'kind'"),
        (fitted_ensemble, ("--source", "ephys"), "to map from; it has 'rna'"),
        (fitted, (), "no labels to map to"),
    ):
        failed = run("map", folder, tmp_path / "in.h5mu", tmp_path / "x.csv", *options, code=1)
        assert message in failed.stderr
    assert not (tmp_path / "x.csv").exists()
    assert "--overwrite" in error_of("map", tmp_path / "no model", tmp_path / "in.h5mu", tmp_path / "out.csv")


def test_recordings_are_aligned_before_they_are_mapped(data, fitted_ensemble, tmp_path):
    """What the warning of a shift advises is done, so that it is not said."""
    ephys = mudata.read_h5mu(data)["ephys"].copy()
    ephys.obs_names = "other " + ephys.obs_names
    ephys.X = 1.4 * ephys.X + 3
    mudata.MuData({"ephys": ephys}).write_h5mu(tmp_path / "in.h5mu")
    ensemble = scvi_cae.Ensemble.load(fitted_ensemble, adata=False)
    with pytest.warns(UserWarning, match="not distributed as the training cells"):
        query = scvi_cae.Ensemble.prepare_query_mudata(mudata.read_h5mu(tmp_path / "in.h5mu"), ensemble)
    for align, mapped in (((), query), (("--align", "class_balanced"), ensemble.align_query(query))):
        out = tmp_path / f"{len(align)}.csv"
        result = run("map", fitted_ensemble, tmp_path / "in.h5mu", out, *align)
        assert ("not distributed as the training cells" in result.stderr) == (not align)
        assert ("'ephys': aligned by class_balanced; it no longer differs from" in result.stderr) == bool(
            align
        )
        found = pd.read_csv(out, index_col="cell")["kind_probability"]
        np.testing.assert_allclose(found, ensemble.map_query(mapped)["kind_probability"], atol=1e-5)
        assert ("distribution: --align class_balanced." in result.stderr) == (not align)
    mudata.MuData({"ephys": ephys[:30].copy()}).write_h5mu(tmp_path / "few.h5mu")
    failed = run(
        "map", fitted_ensemble, tmp_path / "few.h5mu", tmp_path / "x.csv", "--align", "moments", code=1
    )
    assert "an alignment takes at least 50" in failed.stderr
    assert "--rename ephys=" in failed.stderr


def test_recordings_are_aligned_before_they_are_embedded_and_predicted(data, fitted_ensemble, tmp_path):
    """Predictions are in the laboratory's own units."""
    full = mudata.read_h5mu(data)
    ephys = full["ephys"].copy()
    ephys.obs_names = "other " + ephys.obs_names
    ephys.X = 1.4 * ephys.X + 3
    mudata.MuData({"ephys": ephys}).write_h5mu(tmp_path / "in.h5mu")
    ensemble = scvi_cae.Ensemble.load(fitted_ensemble, adata=False)
    with pytest.warns(UserWarning, match="not distributed as the training cells"):
        query = scvi_cae.Ensemble.prepare_query_mudata(mudata.read_h5mu(tmp_path / "in.h5mu"), ensemble)
    aligned = ensemble.align_query(query, "moments")
    in_file = fitted_ensemble, tmp_path / "in.h5mu"
    run("embed", *in_file, tmp_path / "out.h5mu", "--align", "ephys=moments")
    z = mudata.read_h5mu(tmp_path / "out.h5mu").obsm["X_cae"]
    np.testing.assert_allclose(z, ensemble.get_latent_representation(aligned), rtol=1e-3, atol=1e-4)
    result = run(
        "predict", *in_file, tmp_path / "out.csv", "--source", "ephys", "--target", "ephys", "--align", "moments"
    )  # fmt: skip
    assert "Warning" not in result.stderr
    found = pd.read_csv(tmp_path / "out.csv", index_col="cell")
    np.testing.assert_allclose(found, ensemble.predict("ephys", "ephys", aligned), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.mean(), ephys.to_df().mean(), rtol=0.2)


def test_one_of_several_narrow_modalities_is_aligned_by_name(tmp_path):
    full = make_mdata(n_features={"rna": 30, "ephys": 8, "morph": 6})
    full.write_h5mu(tmp_path / "in.h5mu")
    run("fit", tmp_path / "in.h5mu", tmp_path / "model", "--n-latent", 3, "--max-epochs", 2)
    for name in ("ephys", "morph"):
        full[name].X = 2 * full[name].X + 5
    other = mudata.MuData({name: full[name].copy() for name in ("ephys", "morph")})
    other.write_h5mu(tmp_path / "other.h5mu")
    predict = (
        "predict",
        tmp_path / "model",
        tmp_path / "other.h5mu",
        tmp_path / "out.csv",
        "--target",
        "rna",
    )
    predict = (*predict, "--source", "ephys", "--source", "morph")
    message = run(*predict, "--align", "moments", code=1).stderr.splitlines()[-1]
    assert message.endswith("Name the one to align: --align MODALITY=METHOD")
    message = run(*predict, "--align", "atac=moments", code=1).stderr.splitlines()[-1]
    assert "no modality 'atac'" in message
    result = run(*predict, "--align", "ephys=moments", "--align", "morph=ranks")
    for name, method in (("ephys", "moments"), ("morph", "ranks")):
        assert f"{name!r}: aligned by {method}; it no longer differs from" in result.stderr
    assert "from 'ephys' and 'morph'" in result.stderr
    for wrong, why in (
        (["mean"], "is not a method"),
        (["ephys=moments", "ephys=ranks"], "one method too many"),
        (["ephys=moments", "ranks"], "one method too many"),
    ):
        options = [x for text in wrong for x in ("--align", text)]
        assert why in " ".join(run(*predict, *options, code=2).stderr.replace("│", " ").split())


def test_quantiles_and_several_sources_are_read_back_as_they_were(data, fitted_ensemble, tmp_path):
    out, full = tmp_path / "out.csv", mudata.read_h5mu(data)
    ensemble = scvi_cae.Ensemble.load(fitted_ensemble, adata=False)
    predict = ("predict", fitted_ensemble, data, out, "--target", "ephys")
    quantiles = ("--quantiles", 0.05, "--quantiles", 0.95)
    result = run(*predict, "--source", "rna", "--source", "kind", *quantiles)
    assert "from 'rna' and 'kind'" in result.stderr
    expected = ensemble.predict(["rna", "kind"], "ephys", full, quantiles=[0.05, 0.95], tidy=True)
    found = pd.read_csv(out, dtype={"value": "float32"})
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-5)
    run(*predict, "--source", "rna,kind", "--overwrite")
    found = pd.read_csv(out, index_col="cell").astype("float32")
    pd.testing.assert_frame_equal(found, ensemble.predict(["rna", "kind"], "ephys", full), rtol=1e-5)
    message = error_of(*predict, "--source", "rna", "--overwrite", "--quantiles", 0.0001)
    assert "--quantiles 0.0001 need at least" in message
    message = error_of(*predict, "--source", "rna", "--overwrite", "--quantiles", 0.1, "--quantiles", 1.5)
    assert "--quantiles 0.1 --quantiles 1.5 must be" in message
    message = error_of(*predict, "--source", "rna", "--overwrite", "--recalibrate")
    assert "--recalibrate is for quantiles: add --quantiles" in message
    message = error_of(*predict, "--source", "rna", "--overwrite", "--recalibrate", *quantiles)
    assert "19 cells of the data that were not trained on" in message


def test_novelty_is_written(data, fitted, tmp_path):
    full = mudata.read_h5mu(data)
    strange = full["ephys"].copy()
    strange.X = strange.X + 1000
    out = tmp_path / "out.csv"
    assert "Name the modality: --modality is one of" in error_of("novelty", fitted, data, out)
    result = run("novelty", fitted, data, out, "--modality", "ephys")
    model = scvi_cae.CoupledAE.load(fitted, adata=False)
    expected = model.novelty(full, "ephys")
    found = pd.read_csv(out, index_col="cell")
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4)
    n = int((expected["p_value"] < 0.05).sum())
    assert f"{n} of {full['ephys'].n_obs} cells have a p-value below 0.05" in result.stderr
    mudata.MuData({"ephys": strange}).write_h5mu(tmp_path / "strange.h5mu")
    run("novelty", fitted, tmp_path / "strange.h5mu", out, "--prepare", "--overwrite")
    assert pd.read_csv(out)["p_value"].max() < found["p_value"].min() + 1e-6


@pytest.mark.parametrize("options", [["--prepare"], ["--rename", "rna=names.csv"], ["--normalize"]])
def test_an_ensemble_takes_prepared_queries(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    counts = make_mdata(n_features={"rna": 40, "ephys": 8})
    raw = np.random.default_rng(0).poisson(np.abs(counts["rna"].X) * 50).astype(np.float32)
    logs = np.log1p(raw / raw.sum(1, keepdims=True) * 1e4)
    counts["rna"].X = logs
    counts.write_h5mu("in.h5mu")
    run("fit", "in.h5mu", "model", "--n-models", 2, "--n-latent", 3, "--max-epochs", 2)
    rna = counts["rna"].copy()
    if "--normalize" in options:
        rna.X = raw
    elif "--rename" in options:
        pd.DataFrame({"data": "other " + rna.var_names, "model": rna.var_names}).to_csv(
            "names.csv", index=False
        )
        rna.var_names = "other " + rna.var_names
    mudata.MuData({"rna": rna[:, : 40 if "--normalize" in options else 30].copy()}).write_h5mu("query.h5mu")
    result = run("embed", "model", "query.h5mu", "out.h5mu", *options)
    assert "features found" in result.stderr
    assert np.isfinite(mudata.read_h5mu("out.h5mu").obsm["X_cae"]).all()
    run("predict", "model", "query.h5mu", "out.csv", "--source", "rna", "--target", "ephys", *options)
    table = pd.read_csv("out.csv", index_col="cell")
    assert table.shape == (rna.n_obs, 8)
    assert np.isfinite(table.to_numpy()).all()


def test_groups_are_kept_together_in_the_parts_of_an_ensemble(data, tmp_path):
    mdata = mudata.read_h5mu(data)
    mdata.obs["donor"] = [f"d{i % 6}" for i in range(mdata.n_obs)]
    mdata.write_h5mu(tmp_path / "in.h5mu")
    fit = ("fit", tmp_path / "in.h5mu", tmp_path / "out", "--n-models", 3, "--n-latent", 2, "--max-epochs", 1)
    run(*fit, "--group-by", "donor")
    for model in scvi_cae.Ensemble.load(tmp_path / "out", adata=mdata).models:
        donors = mdata.obs["donor"].to_numpy()
        assert not set(donors[model.train_indices]) & set(donors[model.validation_indices])
    error = run(*fit, "--overwrite", "--group-by", "kind", code=1).stderr
    assert "too few for 3 folds. Lower --n-models, or group by another column" in error
    assert "No column 'nope'" in run(*fit, "--overwrite", "--group-by", "nope", code=1).stderr


def test_ctrl_c_while_an_ensemble_trains_writes_nothing(data, tmp_path, monkeypatch):
    from scvi_cae.train import StackedTrainingPlan

    step = StackedTrainingPlan.training_step

    def interrupted(self, *args, **kwargs):
        if self.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(StackedTrainingPlan, "training_step", interrupted)
    fit = ("fit", data, tmp_path / "out", "--n-models", 2, "--n-latent", 2, "--max-epochs", 50)
    assert "Interrupted: nothing was written." in run(*fit, code=130).stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        ("--n-models", 2, "--checkpoint", "x.ckpt"),
        ("--n-models", 2, "--train-size", 0.8),
        ("--n-models", 2, "--stratify-by", "kind"),
        ("--n-models", 2, "--devices", 2),
        ("--group-by", "kind"),
    ],
)
def test_options_of_a_single_model_and_of_ensembles_are_kept_apart(options):
    message = " ".join(run("fit", "in.h5mu", "out", *options, code=2).stderr.replace("│", " ").split())
    assert f"Invalid value for '{options[-2]}'" in message
    assert "Leave out" in message or "leave out" in message


def test_an_ensemble_replaces_an_ensemble_only(data, fitted, fitted_ensemble, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(fitted_ensemble, folder)
    fit = ("fit", data, folder, "--n-latent", 2, "--max-epochs", 1)
    assert "--overwrite" in error_of(*fit, "--n-models", 2)
    # As a process that was killed left it.
    (folder / f".{'0' * 32}-models").mkdir()
    run(*fit, "--n-models", 2, "--overwrite")
    assert sorted(path.name for path in folder.iterdir()) == ["ensemble.pt", "models"]
    assert sorted(path.name for path in (folder / "models").iterdir()) == ["0", "1"]
    assert "other contents" in error_of(*fit, "--overwrite")
    (folder / "models" / "thesis.txt").write_text("precious")
    assert "models/thesis.txt" in error_of(*fit, "--n-models", 2, "--overwrite")
    other = ("fit", data, fitted, "--n-models", 2, "--overwrite")
    assert "other contents" in error_of(*other)


def test_a_damaged_ensemble_is_refused(data, fitted_ensemble, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(fitted_ensemble, folder)
    (folder / "models" / "1" / "model.pt").unlink()
    embed = ("embed", folder, data, tmp_path / "x.h5mu")
    assert "the ensemble is not complete" in error_of(*embed)
    (folder / "ensemble.pt").write_bytes(b"")
    assert "not a complete Ensemble file" in error_of(*embed)


def test_own_warnings_are_shown_in_a_line(tmp_path):
    counts = make_mdata()
    counts["rna"].X = np.round(np.abs(counts["rna"].X) * 100)
    counts.write_h5mu(tmp_path / "in.h5mu")
    result = run("fit", tmp_path / "in.h5mu", tmp_path / "out", "--n-latent", 3, "--max-epochs", 1)
    assert result.stderr.startswith("Warning: Modality 'rna' looks like raw counts")
    assert "FutureWarning" not in result.stderr
    assert ".py" not in result.stderr


def test_a_bug_keeps_its_traceback(data, fitted, tmp_path, monkeypatch):
    monkeypatch.setattr(scvi_cae.CoupledAE, "predict", lambda *_, **__: np.zeros(2).reshape(3))
    result = CliRunner().invoke(
        app,
        ["predict", str(fitted), str(data), str(tmp_path / "x.csv"), "--source", "rna", "--target", "ephys"],
    )
    # raised in this file, which is not the package's
    assert isinstance(result.exception, ValueError)
    assert result.exit_code == 1


def test_ctrl_c_while_training_writes_nothing(data, tmp_path, monkeypatch):
    from scvi_cae.cli._progress import TrainingProgress

    end = TrainingProgress.on_train_epoch_end

    def interrupt(self, trainer, pl_module):
        end(self, trainer, pl_module)
        if trainer.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(TrainingProgress, "on_train_epoch_end", interrupt)
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.pt").write_bytes(b"precious")
    result = run("fit", data, out, "--n-latent", 3, "--max-epochs", 50, "--overwrite", code=130)
    assert "Interrupted: nothing was written." in result.stderr
    assert (out / "model.pt").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_checkpoint_is_taken_up_and_deleted_when_the_model_is_saved(data, tmp_path, monkeypatch):
    from scvi_cae.cli._progress import TrainingProgress

    end = TrainingProgress.on_train_epoch_end

    def interrupt(self, trainer, pl_module):
        end(self, trainer, pl_module)
        if trainer.current_epoch == 2:
            signal.raise_signal(signal.SIGINT)

    checkpoint = tmp_path / "fit.ckpt"
    args = ("fit", data, tmp_path / "out", "--n-latent", 3, "--max-epochs", 6)
    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "on_train_epoch_end", interrupt)
        result = run(*args, "--checkpoint", checkpoint, code=130)
    assert f"Interrupted: the same command goes on from {checkpoint}." in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["fit.ckpt"]
    # The seed plays no part any more.
    run(*args, "--checkpoint", checkpoint, "--seed", 7)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    run("fit", data, tmp_path / "again", *args[3:])
    resumed, whole = (scvi_cae.CoupledAE.load(tmp_path / name, adata=False) for name in ("out", "again"))
    for name, value in whole.module.state_dict().items():
        np.testing.assert_array_equal(resumed.module.state_dict()[name], value)
    assert "is a folder" in error_of(*args, "--overwrite", "--checkpoint", tmp_path)
    (tmp_path / "thesis").write_text("precious")
    assert "not a checkpoint" in error_of(*args, "--overwrite", "--checkpoint", tmp_path / "thesis")
    assert (tmp_path / "thesis").read_text() == "precious"


@pytest.mark.slow
def test_two_devices_write_one_model(data, tmp_path):
    options = ("--n-latent", "3", "--max-epochs", "3", "--accelerator", "cpu", "--devices", "2")
    result = subprocess.run(
        [SCRIPT, "fit", data, tmp_path / "out", *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("Saved the model") == result.stderr.count("Epoch") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert scvi_cae.CoupledAE.load(tmp_path / "out", adata=False).is_trained


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_process_stopped_in_training_leaves_the_old_model(data, tmp_path, signum, code):
    """From outside, as a terminal or a cluster does it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "model.pt").write_bytes(b"precious")
    options = ("--n-latent", "3", "--max-epochs", "100000", "--overwrite")
    # As in a terminal, where progress is shown while it is made.
    shown = {**os.environ, "FORCE_COLOR": "1"}
    with subprocess.Popen([SCRIPT, "fit", data, out, *options], stderr=subprocess.PIPE, env=shown) as process:
        try:
            stderr = b""
            while b"Epoch" not in stderr:
                assert (more := process.stderr.read1()), stderr
                stderr += more
            time.sleep(0.5)
            process.send_signal(signum)
            stderr = (stderr + process.communicate(timeout=60)[1]).decode()
        finally:
            process.kill()
    assert process.returncode == code
    if signum == signal.SIGINT:
        assert "Interrupted: nothing was written." in stderr
        assert "Traceback" not in stderr
    assert (out / "model.pt").read_bytes() == b"precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_help_does_not_import_torch():
    script = "import sys, scvi_cae.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


SHORT = "import sys; from scvi_cae.cli import app; sys.argv[0] = 'scvi-cae'\ntry: app()\nfinally: print('torch' in sys.modules)"


@pytest.mark.parametrize("wrong", ["no model", "damaged model", "no data", "ending", "folder", "names"])
def test_wrong_paths_are_refused_before_torch_is_imported(data, fitted, tmp_path, wrong):
    model = tmp_path / "model"
    model.mkdir()
    contents = bytearray((fitted / "model.pt").read_bytes())
    contents[len(contents) // 2] ^= 1
    (model / "model.pt").write_bytes(contents)
    args = {
        "no model": ("embed", tmp_path, data, tmp_path / "out.h5mu"),
        "damaged model": ("embed", model, data, tmp_path / "out.h5mu"),
        "no data": ("embed", fitted, tmp_path / "none.h5mu", tmp_path / "out.h5mu"),
        "ending": ("embed", fitted, data, tmp_path / "out.txt"),
        "folder": ("fit", data, tmp_path / "none" / "out"),
        "names": ("embed", fitted, data, tmp_path / "out.h5mu", "--rename", "rna=none.csv"),
    }[wrong]
    result = subprocess.run(
        [sys.executable, "-c", SHORT, *map(str, args)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("Error: ")
    assert result.stdout == "False\n"


def test_zarr_is_read_and_written(data, fitted, tmp_path):
    store, out = tmp_path / "in.zarr", tmp_path / "out.ZARR"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mudata about formats of zarr
        make_mdata(missing={"ephys": 0.05}).write_zarr(store)
    run("fit", store, tmp_path / "model", "--n-latent", 3, "--max-epochs", 1)
    run("embed", fitted, store, out)
    assert "--overwrite" in error_of("embed", fitted, store, out)
    run("embed", fitted, data, out, "--overwrite")
    run("embed", fitted, store, tmp_path / "out.H5MU")
    expected = mudata.read_h5mu(tmp_path / "out.H5MU")
    np.testing.assert_array_equal(mudata.read_zarr(out).obsm["X_cae"], expected.obsm["X_cae"])
    assert {path.name for path in tmp_path.iterdir()} == {"in.zarr", "model", "out.ZARR", "out.H5MU"}
    assert "is a folder, and no zarr store" in error_of("fit", tmp_path / "model", tmp_path / "other")
    (other := tmp_path / "other.zarr").mkdir()
    assert "is a folder" in error_of("embed", fitted, store, other, "--overwrite")


def test_data_with_other_features_are_prepared_when_told(data, fitted, tmp_path):
    full = mudata.read_h5mu(data)
    rna, ephys = full["rna"][:, 5:].copy(), full["ephys"].copy()
    ephys.X = ephys.X / 1000
    ephys.var_names = [name.upper() for name in ephys.var_names]
    mudata.MuData({"rna": rna, "ephys": ephys}).write_h5mu(tmp_path / "q.h5mu")
    (names := tmp_path / "names.csv").write_text(
        "theirs,ours,factor,concept\n"
        + "`EPHYS_0` * 2,ephys_0,500,\n"
        + "".join(f"EPHYS_{i},ephys_{i},1000,a comment\n" for i in range(1, 8))
    )
    embed = ("embed", fitted, tmp_path / "q.h5mu", tmp_path / "out.h5mu")
    assert "--prepare brings the data to them" in error_of(*embed)
    assert "--rename ephys=FILE" in run(*embed, "--prepare", code=1).stderr.splitlines()[-1]
    assert "--rename: there is no file none.csv" in error_of(*embed, "--rename", "ephys=none.csv")
    assert not (tmp_path / "out.h5mu").exists()
    result = run(*embed, "--rename", f"ephys={names}")
    assert (
        "Modality 'rna': 25 of the model's 30 features found, 0 of them renamed, 5 missing" in result.stderr
    )
    assert "Modality 'ephys': 8 of the model's 8 features found, 8 of them renamed" in result.stderr
    out = mudata.read_h5mu(tmp_path / "out.h5mu")
    assert list(out["ephys"].var_names) == list(ephys.var_names)
    model = scvi_cae.CoupledAE.load(fitted, adata=False)
    where = full.obs_names.get_indexer(out.obs_names)
    np.testing.assert_allclose(
        out.obsm["X_cae_ephys"], model.get_latent_representation(full, "ephys")[where], rtol=1e-3, atol=1e-3
    )
    assert out.obs["X_cae_set"].notna().all()


def test_raw_counts_are_normalised_when_told(tmp_path):
    full = scvi_cae.datasets.simulate_patchseq(120)
    rna = full["rna"]
    raw = anndata.AnnData(rna.layers["counts"], obs=rna.obs, var=rna.var)
    full.write_h5mu(tmp_path / "in.h5mu")
    mudata.MuData({"rna": raw}).write_h5mu(tmp_path / "raw.h5mu")
    mudata.MuData({"rna": rna.copy()}).write_h5mu(tmp_path / "logs.h5mu")
    run("fit", tmp_path / "in.h5mu", tmp_path / "model", "--n-latent", 3, "--max-epochs", 5)

    def predict(name, *options):
        out = tmp_path / "out.csv"
        files = (tmp_path / "model", tmp_path / f"{name}.h5mu", out)
        result = run("predict", *files, "--source", "rna", "--target", "ephys", "--overwrite", *options)
        return result.stderr, pd.read_csv(out, index_col=0)

    stderr, _ = predict("raw")
    assert "its values are counts" in stderr
    assert "Bring them onto it: --normalize." in stderr
    _, expected = predict("logs")
    stderr, normalised = predict("raw", "--normalize")
    assert "Warning" not in stderr
    pd.testing.assert_frame_equal(normalised, expected, rtol=1e-3, atol=1e-3)
    part = raw[:, :150].copy()
    mudata.MuData({"rna": part}).write_h5mu(tmp_path / "part.h5mu")
    message = run(
        "predict",
        tmp_path / "model",
        tmp_path / "part.h5mu",
        tmp_path / "out.csv",
        "--source",
        "rna",
        "--target",
        "ephys",
        "--overwrite",
        "--normalize",
        code=1,
    ).stderr.splitlines()[-1]
    assert message.endswith("pass --match-medians.")
    assert len(predict("part", "--match-medians")[1]) == len(expected)


def test_the_librarys_advice_is_in_options(data, tmp_path):
    def advice(*options):
        return error_of("fit", data, tmp_path / "out", *options)

    mdata = mudata.read_h5mu(data)
    mdata.mod["empty"] = mdata["rna"][:, :0].copy()
    mdata.update()
    mdata.write_h5mu(tmp_path / "empty.h5mu")
    message = error_of("fit", tmp_path / "empty.h5mu", tmp_path / "out")
    assert message.endswith("Leave it out: --modalities.")
    assert "--layer rna=counts" in advice("--likelihood", "rna=negative_binomial")
    assert "--modalities rna,rna" in advice("--modalities", "rna,rna")
    assert "--layer names 'atac'" in advice("--layer", "atac=x")
    assert "--likelihood rna=poisson must be" in advice("--likelihood", "rna=poisson")
    assert "--batch-key names 'atac'" in advice("--batch-key", "atac=x")
    assert "--train-size, --stratify-by or --seed. Fewer latent dimensions (--n-latent)" in advice(
        "--n-latent", 500
    )
    assert not (tmp_path / "out").exists()


def test_arrow_strings_are_embedded(data, fitted, tmp_path, monkeypatch):
    read = mudata.read_h5mu

    def as_arrow(*args, **kwargs):
        mdata = read(*args, **kwargs)
        for table in (mdata, *mdata.mod.values()):
            table.obs.index = table.obs.index.astype("string")
            table.obs["name"] = pd.array(["a"] * table.n_obs, dtype="string")
        return mdata

    with monkeypatch.context() as patch:
        patch.setattr(mudata, "read_h5mu", as_arrow)
        run("embed", fitted, data, tmp_path / "out.h5mu")
    assert list(read(tmp_path / "out.h5mu").obs_names) == list(read(data).obs_names)


def write_tables(folder, fraction=1.0):
    """Counts, genes x cells, and features with a word among their numbers; annotations with another key."""
    rng = np.random.default_rng(0)
    cells = [f"cell_{i}" for i in range(60)]
    level = rng.gamma(2, size=(1, 60))
    counts = pd.DataFrame(rng.poisson(5 * level, (20, 60)), index=[f"g{i}" for i in range(20)], columns=cells)
    ephys = pd.DataFrame(rng.normal(size=(60, 4)), index=cells, columns=list("abcd")) + level.T
    ephys = ephys.astype(str)
    ephys.iloc[3, 1] = "fail"
    counts.to_csv(folder / "rna.csv.gz")
    ephys.to_csv(folder / "ephys.tsv", sep=";")
    pd.DataFrame({"Number": range(60), "Cell": cells, "mouse": ["a", "b"] * 30}).to_csv(
        folder / "obs.csv", index=False
    )
    return [
        x
        for name in ("rna.csv.gz", "ephys.tsv", "obs.csv")
        for x in ("--table", f"{name.partition('.')[0]}={folder / name}")
    ]


def test_tables_are_fitted_and_read_for_the_other_commands(tmp_path):
    tables = write_tables(tmp_path)
    message = error_of("fit", *tables, tmp_path / "model")
    assert "column 'b' has numbers, and 1 other entries: 'fail', the first in row 'cell_3'" in message
    assert "missing: --missing fail. Otherwise correct them." in message
    result = run("fit", *tables, "--missing", "fail", tmp_path / "model", "--n-latent", 2, "--max-epochs", 2)
    assert "rna    rna.csv.gz: 60 cells x 20 genes; cells' names in the header row" in result.stderr
    assert "Pairs: 60 of rna and ephys" in result.stderr
    result = run("read", *tables, "--missing", "fail", tmp_path / "in.h5mu")
    assert result.stdout == ""
    run(
        "predict",
        tmp_path / "model",
        tmp_path / "in.h5mu",
        tmp_path / "out.csv",
        "--source",
        "rna",
        "--target",
        "ephys",
    )
    assert pd.read_csv(tmp_path / "out.csv", index_col=0).shape == (60, 4)
    assert mudata.read_h5mu(tmp_path / "in.h5mu").obs["mouse"].nunique() == 2
    assert "already exists" in error_of("read", *tables, "--missing", "fail", tmp_path / "in.h5mu")


def test_advice_on_tables_is_in_options(tmp_path):
    tables = write_tables(tmp_path)
    out = tmp_path / "out.h5mu"
    assert "Give at least one --table" in run("read", out, code=2).stderr
    for arguments, message in (
        ((*tables, "a", "b"), "With --table, give one path: the folder for the model; there are 2"),
        (("model",), "Give a MuData file and a folder; there are 1"),
        ((out, "model", "--join", "case"), "Options for tables need --table"),
    ):
        assert message in " ".join(run("fit", *arguments, code=2).stderr.replace("│", " ").split())
    assert "--table ephys: there is no file none.csv" in error_of("read", "--table", "ephys=none.csv", out)
    assert "Give a modality, too" in error_of("read", *tables[4:], out)
    assert "--join upper must be one of 'blanks'" in error_of("read", *tables, "--join", "upper", out)
    ephys = (tmp_path / "ephys.tsv").read_text().replace("fail", "").replace("cell_", "CELL_")
    (tmp_path / "ephys.tsv").write_text(ephys)
    result = run("read", *tables, out)
    assert "but for case in their names" in " ".join(result.stderr.split())
    assert "To join them: --join case" in " ".join(result.stderr.split())
    run("read", *tables, "--join", "case", out, "--overwrite")
    assert mudata.read_h5mu(out).n_obs == 60
    (tmp_path / "ephys.tsv").write_text(ephys.replace("CELL_", "other"))
    message = error_of("read", *tables[:4], out, "--overwrite")
    assert message.endswith("say which tables have cells in columns: --transposed none.")
    run("read", *tables[:4], out, "--overwrite", "--transposed", "rna")
    assert mudata.read_h5mu(out).n_obs == 120
