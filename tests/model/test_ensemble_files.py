"""Saved ensembles: what comes back, what is refused, and what an interrupted writing leaves."""

from __future__ import annotations

import errno
import shutil
import warnings
import zipfile
from io import BytesIO
from pathlib import Path

import mudata
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import scvi_cae
from conftest import fit, make_mdata
from scvi_cae import CoupledAE, Ensemble
from scvi_cae._files import unfinished
from scvi_cae.model._fitted import from_plain, to_plain


def train(mdata, n_models=2, n_latent=2, **settings):
    """An ensemble that is trained for a moment."""
    ensemble = Ensemble(mdata, n_models, n_latent=n_latent, **settings)
    ensemble.train(max_epochs=2)
    return ensemble


@pytest.fixture(scope="module")
def data():
    out = make_mdata(
        150, {"rna": 70, "ephys": 8, "morph": 5}, fraction={"morph": 0.6}, missing={"ephys": 0.05}
    )
    Ensemble.setup_mudata(out, labels_key="kind")
    return out


@pytest.fixture(scope="module")
def ensemble(data):
    return train(data, 3)


@pytest.fixture(scope="module")
def small():
    """Models whose predictions are averaged, cheap to write."""
    mdata = make_mdata(40, {"rna": 3, "ephys": 2})
    CoupledAE.setup_mudata(mdata)
    return Ensemble.from_models([fit(mdata, n_latent=1, max_epochs=1, seed=seed) for seed in (0, 1)])


@pytest.fixture(scope="module")
def saved(ensemble, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "ensemble"
    ensemble.save(folder)
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    """A copy to damage."""
    return shutil.copytree(saved, tmp_path / "ensemble")


def names_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def assert_same(a, b, query=None):
    """Ensembles give the same predictions, intervals and latents; ``query`` is for the second, if it has no data."""
    requests = [
        (["rna"], "ephys"),
        (["ephys"], "rna"),
        (["rna", "morph"], "ephys"),
        (["ephys", "morph"], "kind"),
        (["kind"], "ephys"),
        (["rna"], "rna"),
    ]
    for source, target in requests:
        for options in ({}, {"out_of_fold": False}):
            expected = a.predict(source, target, **options)
            found = b.predict(source, target, adata=query, **options)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
            assert found.index.equals(expected.index)
            assert found.columns.equals(expected.columns)
    expected = a.predict("rna", "ephys", quantiles=[0.1, 0.9])
    np.testing.assert_allclose(
        b.predict("rna", "ephys", adata=query, quantiles=[0.1, 0.9]), expected, rtol=1e-6, atol=1e-6
    )
    assert a.weights(["rna", "morph"], "ephys").equals(b.weights(["rna", "morph"], "ephys"))
    np.testing.assert_array_equal(a.get_latent_representation(), b.get_latent_representation(query))
    assert a.set_membership().equals(b.set_membership(query))
    for one, other in zip(a.models, b.models, strict=True):
        novelty = one.novelty(modality="rna"), other.novelty(query, modality="rna")
        np.testing.assert_array_equal(*novelty)


def test_an_ensemble_comes_back_without_its_data(data, ensemble, saved):
    loaded = Ensemble.load(saved, adata=False)
    assert loaded.is_trained
    assert loaded.n_models == 3
    assert loaded.adata is None
    assert_same(ensemble, loaded, data)
    with pytest.raises(ValueError, match="loaded without data"):
        loaded.predict("rna", "ephys")
    with pytest.raises(RuntimeError, match="trained already"):
        loaded.train(max_epochs=1)


def test_an_ensemble_comes_back_with_data_of_its_own(data, ensemble, saved):
    mdata = data.copy()
    loaded = Ensemble.load(saved, adata=mdata)
    assert loaded.adata is mdata
    assert all(model.adata is mdata for model in loaded.models)
    assert_same(ensemble, loaded)


def test_data_are_saved_once_and_read_when_none_are_given(data, ensemble, tmp_path):
    before = data.copy()
    ensemble.save(tmp_path / "e", save_anndata=True)
    assert names_in(tmp_path / "e") == [
        "ensemble.pt",
        "mdata.h5mu",
        *(f"models/{k}/model.pt" for k in range(3)),
    ]
    loaded = Ensemble.load(tmp_path / "e")
    assert list(loaded.adata.obs_names) == list(before.obs_names)
    assert_same(ensemble, loaded)
    # Loaded, it is saved again, and replaces itself.
    loaded.save(tmp_path / "e", overwrite=True)
    assert names_in(tmp_path / "e") == ["ensemble.pt", *(f"models/{k}/model.pt" for k in range(3))]
    assert_same(ensemble, Ensemble.load(tmp_path / "e", adata=data.copy()))


def test_what_is_fitted_keeps_its_types(ensemble, saved):
    loaded = Ensemble.load(saved, adata=False)

    def types(value):
        if isinstance(value, dict):
            return {name: types(part) for name, part in value.items()}
        if isinstance(value, (list, tuple)):
            return [types(part) for part in value]
        return (value.dtype, value.shape) if isinstance(value, np.ndarray) else value

    for before, after in zip(ensemble._companions, loaded._companions, strict=True):
        assert types(before.state()) == types(after.state())
        assert before.state()
    assert ensemble._stacks.keys() == loaded._stacks.keys()
    for key, stack in ensemble._stacks.items():
        assert types(stack._asdict()) == types(loaded._stacks[key]._asdict())
        for before, after in zip(stack, loaded._stacks[key], strict=True):
            np.testing.assert_array_equal(before, after)


ARRAYS = st.sampled_from(["float32", "float64", "int64", "int32", "uint8", "bool"]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)
STATES = st.recursive(
    ARRAYS | st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(), parts, max_size=3),
    max_leaves=8,
)


@given(STATES)
def test_states_come_back_from_an_archive(state):
    archive = BytesIO()
    torch.save(to_plain(state), archive)
    archive.seek(0)

    def assert_equal(found, expected):
        assert type(found) is type(expected)
        if isinstance(expected, np.ndarray):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        elif isinstance(expected, dict):
            assert list(found) == list(expected)
            for name in expected:
                assert_equal(found[name], expected[name])
        elif isinstance(expected, list):
            assert len(found) == len(expected)
            for one, other in zip(found, expected, strict=True):
                assert_equal(one, other)
        else:
            assert found == expected

    assert_equal(from_plain(torch.load(archive, weights_only=True)), state)


def test_models_that_are_averaged_come_back(small, tmp_path):
    small.save(tmp_path / "e")
    loaded = Ensemble.load(tmp_path / "e", adata=False)
    assert loaded.predict("rna", "ephys", small.adata).equals(small.predict("rna", "ephys"))
    with pytest.raises(KeyError, match="No weights"):
        loaded.weights("rna", "ephys")


def test_each_model_is_one_by_itself(data, ensemble, saved):
    model = CoupledAE.load(saved / "models" / "1", adata=False)
    assert model.predict("rna", "ephys", data).equals(ensemble.models[1].predict("rna", "ephys"))


def test_no_code_is_run_from_the_files(saved):
    torch.load(saved / "ensemble.pt", weights_only=True)


def test_a_home_folder_and_new_parents(small, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    small.save("~/new/e")
    assert Ensemble.load("~/new/e", adata=False).n_models == 2


def test_only_a_trained_ensemble_is_saved(data, small, tmp_path):
    with pytest.raises(RuntimeError, match=r"Call ensemble\.train\(\) first"):
        Ensemble(data, 3).save(tmp_path / "e")
    small.save(tmp_path / "e")
    with pytest.raises(ValueError, match="loaded without data"):
        Ensemble.load(tmp_path / "e", adata=False).save(tmp_path / "f", save_anndata=True)
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_weights_that_are_not_finite_are_refused(tmp_path):
    mdata = make_mdata(40, {"rna": 3, "ephys": 2})
    CoupledAE.setup_mudata(mdata)
    models = [fit(mdata, n_latent=1, max_epochs=1, seed=seed) for seed in (0, 1)]
    next(models[1].module.parameters()).data.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        Ensemble.from_models(models).save(tmp_path / "e")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_replaced_only_when_asked(small, tmp_path):
    small.save(tmp_path / "e")
    with pytest.raises(ValueError, match="overwrite=True"):
        small.save(tmp_path / "e")
    one = Ensemble.from_models(small.models[:1])
    one.save(tmp_path / "e", overwrite=True)
    assert names_in(tmp_path / "e") == ["ensemble.pt", "models/0/model.pt"]
    assert Ensemble.load(tmp_path / "e", adata=False).n_models == 1


@pytest.mark.parametrize("stray", ["thesis.txt", "models/thesis.txt", "models/0/thesis.txt", "mdata.h5mu"])
@pytest.mark.parametrize("has_ensemble", [True, False])
def test_other_files_are_neither_mixed_nor_lost(small, tmp_path, stray, has_ensemble):
    folder = tmp_path / "e"
    if has_ensemble:
        small.save(folder)
    (folder / stray).parent.mkdir(parents=True, exist_ok=True)
    (folder / stray).write_text("precious")
    before = names_in(folder)
    named = (
        f"other contents .*{stray}" if has_ensemble else f"no complete ensemble, but '{Path(stray).parts[0]}'"
    )
    with pytest.raises(ValueError, match=f"{named}.* choose another folder|{named}.* Choose another folder"):
        small.save(folder, overwrite=True)
    assert names_in(folder) == before
    assert (folder / stray).read_text() == "precious"


def test_a_folder_that_is_empty_but_for_what_a_killed_process_left(small, tmp_path):
    folder = tmp_path / "e"
    unfinished(folder / "models", "0" * 32).mkdir(parents=True)
    unfinished(folder / "ensemble.pt", "0" * 32).touch()
    small.save(folder, overwrite=True)
    assert names_in(folder) == ["ensemble.pt", "models/0/model.pt", "models/1/model.pt"]


def test_a_file_or_a_single_model_is_not_replaced(small, tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ValueError, match="is a file"):
        small.save(tmp_path / "file", overwrite=True)
    small.models[0].save(tmp_path / "model")
    with pytest.raises(ValueError, match="holds a saved CoupledAE"):
        small.save(tmp_path / "model", overwrite=True)
    small.save(tmp_path / "e")
    with pytest.raises(ValueError, match="holds a saved Ensemble"):
        small.models[0].save(tmp_path / "e", overwrite=True)


def test_the_other_class_is_named(small, saved, tmp_path):
    small.models[0].save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"scvi_cae\.CoupledAE\.load\('.*model'\)"):
        Ensemble.load(tmp_path / "model")
    with pytest.raises(ValueError, match=r"scvi_cae\.Ensemble\.load\('.*ensemble'\)"):
        CoupledAE.load(saved)
    with pytest.raises(ValueError, match=r"No saved model .* Ensemble\.save\(\) wrote"):
        Ensemble.load(tmp_path / "nothing")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("name", ["ensemble.pt", "models/1/model.pt"])
def test_a_truncated_file_is_refused(copied, name, kept):
    path = copied / name
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(ValueError, match=f"{name} is not a complete .* file"):
        Ensemble.load(copied, adata=False)


@pytest.mark.parametrize("name", ["ensemble.pt", "models/1/model.pt"])
def test_a_flipped_bit_is_found(copied, name):
    path = copied / name
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        largest = archive.read(max(archive.infolist(), key=lambda item: item.file_size))
    content[content.index(largest) + len(largest) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        Ensemble.load(copied, adata=False)


@pytest.mark.parametrize("key", ["companions", "stacks", "models"])
def test_altered_contents_are_found(copied, key):
    path = copied / "ensemble.pt"
    payload = torch.load(path, weights_only=True)
    payload[key].reverse()
    torch.save(payload, path)
    with pytest.raises(ValueError, match=r"ensemble\.pt holds a damaged model"):
        Ensemble.load(copied, adata=False)


@pytest.mark.parametrize("content", [[1, 2], {"models": 1}, {"models": [], "companions": [], "stacks": []}])
def test_an_archive_of_something_else_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "ensemble.pt")
    with pytest.raises(ValueError, match=r"not a complete Ensemble file|holds a damaged model"):
        Ensemble.load(tmp_path, adata=False)


def test_a_model_that_is_missing_or_of_another_save_is_refused(copied):
    shutil.copy(copied / "models/0/model.pt", copied / "models/1/model.pt")
    with pytest.raises(
        ValueError, match=r"models/1/model\.pt is not the model that was saved with this ensemble"
    ):
        Ensemble.load(copied, adata=False)
    shutil.rmtree(copied / "models/1")
    with pytest.raises(ValueError, match=r"models/1/model\.pt is missing"):
        Ensemble.load(copied, adata=False)


def test_data_of_another_save_are_refused(small, tmp_path):
    for name in ("e", "f"):
        small.save(tmp_path / name, save_anndata=True)
    shutil.copy(tmp_path / "f" / "mdata.h5mu", tmp_path / "e" / "mdata.h5mu")
    with pytest.raises(ValueError, match="another save"):
        Ensemble.load(tmp_path / "e")
    (tmp_path / "e" / "mdata.h5mu").unlink()
    with pytest.warns(UserWarning, match="not there any more"):
        assert Ensemble.load(tmp_path / "e").adata is None


def test_data_with_other_features_are_refused(saved):
    with pytest.raises(ValueError, match="lacks 40 features"):
        Ensemble.load(saved, adata=make_mdata())


class Killed(BaseException):
    """End of a process: nothing after it reaches the disk."""


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "old_data", "new_data"),
    [
        (Killed, True, True),
        (Killed, True, False),
        (Killed, False, True),
        (FULL, True, True),
        (FULL, False, False),
    ],
    ids=["killed", "killed-old-data", "killed-new-data", "full", "full-no-data"],
)
def test_whatever_fails_the_old_ensemble_or_the_new_one_is_there_whole(
    small, tmp_path, monkeypatch, error, old_data, new_data
):
    new = Ensemble.from_models(small.models[:1])
    has_data = {2: old_data, 1: new_data}
    small.save(tmp_path / "old", save_anndata=old_data)
    found = set()
    for fatal in range(1, 100):
        folder = shutil.copytree(tmp_path / "old", tmp_path / str(fatal))
        steps = 0

        def step(fatal=fatal):
            nonlocal steps
            steps += 1
            if steps == fatal or (steps > fatal and error is Killed):
                raise error

        def counted(original):
            def run(*args, **kwargs):
                step()
                return original(*args, **kwargs)

            return run

        with monkeypatch.context() as patch:
            for owner, names in (
                (Path, ("replace", "rename", "unlink", "mkdir", "touch", "write_bytes")),
                (shutil, ("rmtree",)),
                (mudata.MuData, ("write_h5mu",)),
            ):
                for name in names:
                    patch.setattr(owner, name, counted(getattr(owner, name)))
            try:
                new.save(folder, overwrite=True, save_anndata=new_data)
            except (Killed, OSError):
                pass
        with warnings.catch_warnings():
            # Data of the old ensemble, beside a new one without data.
            warnings.filterwarnings("ignore", message=".*saved without data")
            loaded = Ensemble.load(folder)
        found.add(loaded.n_models)
        assert (loaded.adata is not None) == has_data[loaded.n_models]
        if error is not Killed and loaded.n_models == 2:
            assert names_in(folder) == names_in(tmp_path / "old")
        # Whatever is left does not stand in the way of the next save.
        new.save(folder, overwrite=True, save_anndata=new_data)
        assert names_in(folder) == ["ensemble.pt", *(["mdata.h5mu"] if new_data else []), "models/0/model.pt"]
        if steps < fatal:
            break
    assert found == {1, 2}
    assert fatal >= 8


def test_a_new_folder_is_complete_or_not_there(small, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left"):
        small.save(tmp_path / "e")
    assert not list(tmp_path.iterdir())


def test_an_unfinished_name_is_only_read_with_its_own_file(small, tmp_path):
    small.save(tmp_path / "e")
    (tmp_path / "e" / "models").rename(unfinished(tmp_path / "e" / "models", "0" * 32))
    with pytest.raises(ValueError, match="is missing"):
        Ensemble.load(tmp_path / "e")


def test_scores_of_a_loaded_ensemble_are_those_before(data, ensemble, saved):
    cells = np.arange(30)
    loaded = Ensemble.load(saved, adata=data.copy())
    a, b = (scvi_cae.evaluate.score(one, indices=cells) for one in (ensemble, loaded))
    assert a.equals(b)
