from __future__ import annotations

import os
import pickle
from pathlib import Path
from types import SimpleNamespace

import mudata
import numpy as np
import pytest
import torch

from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE
from scvi_cae._files import write_file


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    trained.save(folder)
    return folder


def test_round_trip_is_exact(trained, trained_mdata, saved):
    for adata in (trained_mdata.copy(), False):
        model = CoupledAE.load(saved, adata=adata)
        query = None if adata else trained_mdata.copy()
        np.testing.assert_array_equal(
            model.get_latent_representation(query), trained.get_latent_representation()
        )
        assert model.predict("rna", "ephys", adata=query).equals(trained.predict("rna", "ephys"))
        assert model.is_trained
        assert model.history.keys() == trained.history.keys()
        for name, table in trained.history.items():
            np.testing.assert_array_equal(model.history[name].to_numpy(float), table.to_numpy(float))
            assert model.history[name].index.equals(table.index.astype(model.history[name].index.dtype))
        np.testing.assert_array_equal(model.train_indices, trained.train_indices)
        np.testing.assert_array_equal(model.validation_indices, trained.validation_indices)


def test_settings_come_back(mdata, tmp_path):
    model = CoupledAE(
        mdata,
        n_latent=2,
        arms={"rna": {"hidden": (9, 5), "weight": 2.0}},
        coupling={("ephys", "rna"): (0.5, 0.25)},
        coupling_loss="full_covariance",
    )
    model.train(max_epochs=1, **QUIET)
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=False)
    assert loaded.module.arm("rna").config == model.module.arm("rna").config
    assert loaded.module.coupling == model.module.coupling == {("rna", "ephys"): (0.25, 0.5)}
    assert loaded.module.coupling_losses == model.module.coupling_losses


def test_layers_come_back(tmp_path):
    mdata = make_mdata()
    mdata["rna"].layers["shifted"] = mdata["rna"].X + 1000
    CoupledAE.setup_mudata(mdata, layers={"rna": "shifted"}, labels_key="kind")
    model = fit(mdata)
    model.save(tmp_path / "model")
    loaded = CoupledAE.load(tmp_path / "model", adata=mdata.copy())
    np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())


def test_a_model_without_data(trained_mdata, saved, tmp_path):
    model = CoupledAE.load(saved, adata=False)
    with pytest.raises(ValueError, match="loaded without data"):
        model.get_latent_representation()
    with pytest.raises(ValueError, match="load it with some to train it"):
        model.train(max_epochs=1)
    with pytest.raises(ValueError, match="loaded without data"):
        model.save(tmp_path / "with_data", save_anndata=True)
    # Saved again without data, it is the same model.
    model.save(tmp_path / "again")
    again = CoupledAE.load(tmp_path / "again", adata=False)
    query = mudata.MuData({"rna": trained_mdata["rna"][:9].copy()})
    np.testing.assert_array_equal(
        model.predict("rna", "ephys", query), again.predict("rna", "ephys", query.copy())
    )


def test_two_queries_one_after_the_other(trained, trained_mdata, saved):
    model = CoupledAE.load(saved, adata=False)
    for name in ("rna", "ephys", "rna"):
        query = mudata.MuData({name: trained_mdata[name][:7].copy()})
        expected = trained.predict(name, "ephys").loc[query.obs_names]
        np.testing.assert_allclose(model.predict(name, "ephys", adata=query), expected, rtol=1e-4, atol=1e-4)


def test_training_goes_on_after_loading(trained_mdata, saved):
    model = CoupledAE.load(saved, adata=trained_mdata.copy())
    n = len(model.history["train_loss"])
    model.train(max_epochs=2, **QUIET)
    assert len(model.history["train_loss"]) == n + 2


def test_data_are_saved_with_the_model(mdata, tmp_path):
    model = fit(mdata)
    model.save(tmp_path / "model", save_anndata=True)
    loaded = CoupledAE.load(tmp_path / "model")
    assert loaded.adata.n_obs == mdata.n_obs
    np.testing.assert_allclose(
        loaded.get_latent_representation(), model.get_latent_representation(), atol=1e-6
    )


def test_nothing_is_overwritten_unasked(trained, saved):
    before = (saved / "model.pt").read_bytes()
    with pytest.raises(ValueError, match="already exists.*overwrite=True"):
        trained.save(saved)
    assert (saved / "model.pt").read_bytes() == before
    trained.save(saved, overwrite=True)
    trained.save(saved, overwrite=True, prefix="second_")
    assert sorted(path.name for path in saved.iterdir()) == ["model.pt", "second_model.pt"]
    assert CoupledAE.load(saved, adata=False, prefix="second_").is_trained


def test_data_of_another_model_are_not_taken_for_its_own(mdata, tmp_path):
    fit(mdata).save(tmp_path / "model", save_anndata=True)
    other = make_mdata(60)
    CoupledAE.setup_mudata(other)
    fit(other).save(tmp_path / "model", overwrite=True)
    assert CoupledAE.load(tmp_path / "model").adata is None


def test_sets_are_found_by_name_in_data_of_another_order(trained, trained_mdata, saved):
    other = mudata.MuData({name: adata[::-1].copy() for name, adata in trained_mdata.mod.items()})
    model = CoupledAE.load(saved, adata=other)
    assert list(other.obs_names) != list(trained_mdata.obs_names)
    for cells in ("train_indices", "validation_indices"):
        names = other.obs_names[getattr(model, cells)]
        assert list(names) == list(trained_mdata.obs_names[getattr(trained, cells)])


def test_damaged_weights(saved, tmp_path):
    payload = torch.load(saved / "model.pt", weights_only=True)
    payload["model_state_dict"].popitem()
    torch.save(payload, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="damaged"):
        CoupledAE.load(tmp_path, adata=False)


def test_the_home_folder(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    trained.save("~/model")
    assert CoupledAE.load("~/model", adata=False).is_trained
    assert (tmp_path / "model" / "model.pt").exists()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def half(name):
        Path(name).write_text("ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_file(path, half)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_no_model(tmp_path):
    with pytest.raises(ValueError, match="No saved model at"):
        CoupledAE.load(tmp_path / "nowhere", adata=False)


@pytest.mark.parametrize("size", [0, 10, 2000])
def test_a_truncated_file(saved, tmp_path, size):
    (tmp_path / "model.pt").write_bytes((saved / "model.pt").read_bytes()[:size])
    with pytest.raises(ValueError, match="truncated, or was written by something else"):
        CoupledAE.load(tmp_path, adata=False)


def test_foreign_files(saved, tmp_path):
    torch.save({"weights": torch.zeros(3)}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="is not a CoupledAE file"):
        CoupledAE.load(tmp_path, adata=False)
    payload = torch.load(saved / "model.pt", weights_only=True)
    payload["attr_dict"]["registry_"]["model_name"] = "SCVI"
    torch.save(payload, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="holds a model of class SCVI"):
        CoupledAE.load(tmp_path, adata=False)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


def test_no_code_from_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bomb = {"model_state_dict": Bomb(), "var_names": {}, "attr_dict": {}}
    for plant in (
        lambda: torch.save(bomb, "model.pt"),
        lambda: Path("model.pt").write_bytes(pickle.dumps(bomb)),
    ):
        plant()
        with pytest.raises(ValueError, match="written by something else"):
            CoupledAE.load(tmp_path, adata=False)
        assert not (tmp_path / "exploded").exists()


def test_data_with_other_features(saved, trained_mdata):
    other = mudata.MuData({"rna": trained_mdata["rna"][:, 1:].copy(), "ephys": trained_mdata["ephys"].copy()})
    with pytest.raises(ValueError, match="lacks 1 features of the model: 'rna_0'"):
        CoupledAE.load(saved, adata=other)


def test_only_the_first_of_several_processes_saves(mdata, tmp_path):
    model = fit(mdata)
    model.trainer = SimpleNamespace(is_global_zero=False)
    model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_sets_follow_the_names_of_cells_in_other_data(tmp_path):
    """Attached in another order, or with cells left out, each cell is still in its own set."""
    mdata = make_mdata()
    CoupledAE.setup_mudata(mdata)
    model = fit(mdata, train_size=0.6, validation_size=0.2)
    split = (model.train_indices, model.validation_indices, model.test_indices)
    names = [set(mdata.obs_names[cells]) for cells in split]
    order = np.random.default_rng(0).permutation(mdata.n_obs)
    for cells in (order, order[: mdata.n_obs // 2]):
        other = mdata[cells].copy()
        model.adata = other
        found = (model.train_indices, model.validation_indices, model.test_indices)
        for before, positions in zip(names, found, strict=True):
            assert set(other.obs_names[positions]) == before & set(other.obs_names)
