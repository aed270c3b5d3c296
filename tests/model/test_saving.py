from __future__ import annotations

import os
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace

import mudata
import numpy as np
import pandas as pd
import pytest
import torch

from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE
from scvi_cae._files import write_file
from scvi_cae.model._saved_files import digest


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
    with pytest.raises(ValueError, match="is not a complete CoupledAE file"):
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


class Killed(BaseException):
    """End of a process: nothing after it reaches the disk."""


class Disk:
    """Every step of writing, which fails, or kills the process, at a given step.

    A step that writes contents fails twice: before it, and when it has written half.
    """

    def __init__(self, monkeypatch, fatal, error):
        self.steps, self.fatal, self.error, self.dead = 0, fatal, error, False
        for owner, name in (
            (Path, "replace"),
            (Path, "rename"),
            (Path, "unlink"),
            (Path, "rmdir"),
            (Path, "mkdir"),
            (shutil, "rmtree"),
        ):
            self.patch(monkeypatch, owner, name)
        self.patch(monkeypatch, torch, "save", half=lambda payload, file: file.write(b"half"))
        self.patch(
            monkeypatch, mudata.MuData, "write_h5mu", half=lambda self, path: path.write_bytes(b"half")
        )

    def step(self):
        self.steps += 1
        self.dead |= self.steps == self.fatal and self.error is Killed
        if self.dead or self.steps == self.fatal:
            raise self.error

    def patch(self, monkeypatch, owner, name, half=None):
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            self.step()
            if half is not None:
                if self.steps + 1 == self.fatal:
                    half(*args)
                self.step()
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("error", [Killed, OSError(28, "No space left on device")], ids=["killed", "full"])
@pytest.mark.parametrize("old_data", [True, False])
@pytest.mark.parametrize("new_data", [True, False])
def test_whatever_fails_the_old_model_or_the_new_one_is_there_whole(
    mdata, tmp_path, monkeypatch, error, old_data, new_data
):
    old = fit(mdata)
    other = make_mdata(60)
    CoupledAE.setup_mudata(other)
    new = fit(other, n_latent=2)
    expected = {3: (mdata, old_data), 2: (other, new_data)}
    found = set()
    for fatal in range(1, 100):
        folder = tmp_path / str(fatal)
        old.save(folder, save_anndata=old_data)
        (folder / "thesis.txt").write_text("precious")
        with monkeypatch.context() as patch:
            disk = Disk(patch, fatal, error)
            try:
                new.save(folder, overwrite=True, save_anndata=new_data)
            except (Killed, OSError):
                pass
        with warnings.catch_warnings():
            # Data of the old model, beside a new one without data.
            warnings.filterwarnings("ignore", message=".*saved without data")
            loaded = CoupledAE.load(folder)
        n_latent = loaded.module.n_latent
        found.add(n_latent)
        data, has_data = expected[n_latent]
        assert (loaded.adata is not None) == has_data
        if has_data:
            assert list(loaded.adata.obs_names) == list(data.obs_names)
        assert (folder / "thesis.txt").read_text() == "precious"
        if error is not Killed and n_latent == 3:
            assert not [path for path in folder.iterdir() if path.name.startswith(".")]
        new.save(folder, overwrite=True, save_anndata=new_data)
        names = {"model.pt", "thesis.txt", *(["mdata.h5mu"] if new_data else [])}
        assert {path.name for path in folder.iterdir()} == names
        if disk.steps < fatal:
            break
    assert found == {2, 3}
    assert fatal >= 5


def test_a_full_disk_is_named(trained, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise RuntimeError(
            "Can't close file (errno = 28, error message = 'No space left on device', buf = 0x1)"
        )

    monkeypatch.setattr(mudata.MuData, "write_h5mu", full)
    with pytest.raises(OSError, match="No space left on device. Free some, or choose another place"):
        trained.save(tmp_path / "model", save_anndata=True)
    assert not (tmp_path / "model").exists()


def test_data_of_another_save_are_refused(mdata, tmp_path):
    model = fit(mdata)
    model.save(tmp_path / "a", save_anndata=True)
    model.save(tmp_path / "b", save_anndata=True)
    shutil.copy(tmp_path / "a" / "mdata.h5mu", tmp_path / "b" / "mdata.h5mu")
    with pytest.raises(
        ValueError, match="by another save. Give the data, adata=mdata, or load the model alone"
    ):
        CoupledAE.load(tmp_path / "b")
    assert CoupledAE.load(tmp_path / "b", adata=mdata.copy()).is_trained
    assert CoupledAE.load(tmp_path / "b", adata=False).is_trained
    (tmp_path / "b" / "mdata.h5mu").write_text("junk")
    with pytest.raises(ValueError, match="mdata.h5mu is damaged"):
        CoupledAE.load(tmp_path / "b")
    (tmp_path / "b" / "mdata.h5mu").unlink()
    with pytest.warns(UserWarning, match="not there any more"):
        assert CoupledAE.load(tmp_path / "b").adata is None


def test_one_flipped_bit_changes_nothing_or_is_refused(trained, trained_mdata, saved, tmp_path):
    whole, rng = (saved / "model.pt").read_bytes(), np.random.default_rng(0)
    expected = trained.predict("rna", "ephys")
    n_refused = 0
    for place in rng.integers(len(whole), size=40):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "model.pt").write_bytes(damaged)
        try:
            model = CoupledAE.load(tmp_path, adata=False)
        except ValueError:
            n_refused += 1
        else:
            pd.testing.assert_frame_equal(model.predict("rna", "ephys", trained_mdata.copy()), expected)
    assert n_refused > 30


def _reverse(payload):
    field = payload["attr_dict"]["registry_"]["field_registries"]["modality_ephys"]["state_registry"]
    field["column_names"].reverse()
    payload["var_names"]["ephys"].reverse()


def _nan(payload):
    next(x for x in payload["model_state_dict"].values() if x.is_floating_point()).fill_(np.nan)


@pytest.mark.parametrize(
    "alter",
    [
        lambda payload: payload["model_state_dict"].popitem(),
        lambda payload: payload["model_state_dict"].update(other=torch.zeros(3)),
        lambda payload: payload["attr_dict"]["init_params_"]["non_kwargs"].update(n_latent=10**9),
        lambda payload: payload["attr_dict"].pop("fitted"),
        lambda payload: payload.pop("scvi_cae_saved"),
        lambda payload: payload["model_state_dict"].update(
            {name: torch.zeros(1).expand(2**50) for name in payload["model_state_dict"]}
        ),
        _reverse,
        _nan,
    ],
)
def test_what_was_altered_is_damaged(saved, tmp_path, alter):
    payload = torch.load(saved / "model.pt", weights_only=True)
    alter(payload)
    torch.save(payload, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="damaged"):
        CoupledAE.load(tmp_path, adata=False)


@pytest.mark.parametrize(
    "alter",
    [
        lambda attributes: attributes["init_params_"]["non_kwargs"].update(n_latent=10**9),
        lambda attributes: attributes["init_params_"]["non_kwargs"].update(n_latent=10**12),
        lambda attributes: attributes["init_params_"]["non_kwargs"].update(other=1),
        lambda attributes: attributes.pop("init_params_"),
        lambda attributes: attributes.pop("fitted"),
    ],
)
def test_what_cannot_be_a_model_is_damaged_also_with_its_own_digest(saved, tmp_path, alter):
    """Sizes are compared before memory is allocated."""
    payload = torch.load(saved / "model.pt", weights_only=True)
    alter(payload["attr_dict"])
    del payload["scvi_cae_saved"]["digest"]
    payload["scvi_cae_saved"]["digest"] = digest(payload)
    torch.save(payload, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="damaged model: its weights do not fit its settings"):
        CoupledAE.load(tmp_path, adata=False)


def test_a_compressed_archive_is_no_model(saved, tmp_path):
    with (
        zipfile.ZipFile(saved / "model.pt") as archive,
        zipfile.ZipFile(tmp_path / "model.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for item in archive.infolist():
            packed.writestr(item.filename, archive.read(item))
    with pytest.raises(ValueError, match="not a complete CoupledAE file"):
        CoupledAE.load(tmp_path, adata=False)


def test_a_file_of_the_user_is_not_taken_for_data_of_a_model(mdata, tmp_path):
    model = fit(mdata)
    (tmp_path / "mdata.h5mu").write_text("precious")
    (tmp_path / "second_mdata.h5mu").mkdir()
    for prefix in (None, "second_"):
        model.save(tmp_path, overwrite=True, prefix=prefix)
    assert (tmp_path / "mdata.h5mu").read_text() == "precious"
    assert (tmp_path / "second_mdata.h5mu").is_dir()


def test_an_interruption_after_the_new_model_took_its_place_leaves_its_data(mdata, tmp_path, monkeypatch):
    fit(mdata).save(tmp_path / "model", save_anndata=True)
    other = make_mdata(60)
    CoupledAE.setup_mudata(other)
    new = fit(other)
    replace = Path.replace

    def interrupted(self, target):
        replace(self, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new.save(tmp_path / "model", overwrite=True, save_anndata=True)
    assert CoupledAE.load(tmp_path / "model").adata.n_obs == other.n_obs


def test_weights_that_are_not_finite_are_not_saved(mdata, tmp_path):
    model = fit(mdata)
    with torch.no_grad():
        next(model.module.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("dtype", ["string", "object"])
def test_nullable_strings_are_saved(tmp_path, dtype):
    mdata = make_mdata()
    for adata in (mdata, *mdata.mod.values()):
        adata.obs["name"] = pd.array([f"a{i}" for i in range(adata.n_obs)], dtype=dtype)
        adata.obs.index = adata.obs.index.astype(dtype)
        adata.var.index = adata.var.index.astype(dtype)
        adata.obs["which"] = pd.array(["a", "b"] * adata.n_obs, dtype=dtype)[: adata.n_obs]
    CoupledAE.setup_mudata(mdata)
    model = fit(mdata)
    before = {name: (adata.X, adata.obs.copy()) for name, adata in mdata.mod.items()}
    model.save(tmp_path / "model", save_anndata=True)
    for name, (matrix, obs) in before.items():
        assert mdata[name].X is matrix
        pd.testing.assert_frame_equal(mdata[name].obs, obs)
    loaded = CoupledAE.load(tmp_path / "model")
    assert list(loaded.adata.obs_names) == list(mdata.obs_names)
    assert list(loaded.adata["rna"].obs["name"]) == list(mdata["rna"].obs["name"])
    np.testing.assert_array_equal(loaded.get_latent_representation(), model.get_latent_representation())
