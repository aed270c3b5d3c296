"""Trainings that are killed, and taken up from a file by another process."""

from __future__ import annotations

import os
import shutil
import signal
import warnings
from copy import deepcopy
from functools import partial
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import scvi
import torch
from sklearn.linear_model import Ridge, RidgeCV

from conftest import QUIET, fit, make_mdata
from scvi_cae import CoupledAE
from scvi_cae.evaluate import RidgeBaseline, WithTypeMean
from scvi_cae.module import CoupledModule
from scvi_cae.train import describe

OPTIONS = {
    "stopping": {
        "max_epochs": 60,
        "early_stopping": True,
        "early_stopping_patience": 12,
        "early_stopping_warmup_epochs": 15,
        "early_stopping_min_delta": 0.5,
        "plan_kwargs": {"lr": 0.02},
    },
    "last weights": {"max_epochs": 12, "train_size": 1.0},
    "streamed": {"max_epochs": 12, "datasplitter_kwargs": {"resident_gb": 0, "buffer_size": 40}},
    "plateau": {
        "max_epochs": 15,
        "plan_kwargs": {
            "schedule": "constant",
            "reduce_lr_on_plateau": True,
            "lr_patience": 1,
            "lr_threshold": 1e3,
        },
        "datasplitter_kwargs": {"bootstrap_batches": 3},
    },
}


def train_until_killed(name, path, fatal):
    """Train a model with a checkpoint, and be killed in a step in the middle of an epoch."""
    forward, steps = CoupledModule.forward, []

    def killed(self, tensors):
        steps.append(self.training)
        if sum(steps) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, tensors)

    CoupledModule.forward = killed
    fit(mdata(), seed=3, batch_size=40, checkpoint=path, **OPTIONS[name])


def mdata():
    out = make_mdata(missing={"ephys": 0.05})
    CoupledAE.setup_mudata(out)
    return out


@pytest.mark.parametrize(
    "name",
    [
        "stopping",
        "last weights",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("streamed", "plateau")),
    ],
)
def test_a_killed_training_ends_with_the_same_weights(name, tmp_path, processes):
    path = tmp_path / "fit.ckpt"
    n_steps = 3 * 7 + 2  # in the eighth epoch
    process = processes.Process(target=train_until_killed, args=(name, path, n_steps))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert [x.name for x in tmp_path.iterdir()] == ["fit.ckpt"]
    # What goes on takes split and random numbers from the file: another seed.
    resumed = fit(mdata(), seed=5, batch_size=40, checkpoint=path, **OPTIONS[name])
    weights, history = resumed.module.state_dict(), resumed.history

    expected = fit(mdata(), seed=3, batch_size=40, **OPTIONS[name])
    for key, value in expected.module.state_dict().items():
        assert torch.equal(weights[key], value), key
    assert set(history) == set(expected.history)
    for key, table in expected.history.items():
        np.testing.assert_array_equal(history[key].to_numpy(), table.to_numpy())
    n_epochs = len(history["train_loss"])
    assert n_epochs > 10
    assert (n_epochs < OPTIONS[name]["max_epochs"]) == (name == "stopping")


def test_a_complete_training_is_not_repeated(tmp_path):
    path = tmp_path / "fit.ckpt"
    options = {**OPTIONS["stopping"], "batch_size": 40, "checkpoint": path}
    first = fit(mdata(), **options)
    steps = []

    class Count(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            steps.append(trainer.current_epoch)

    again = fit(mdata(), seed=5, **options, callbacks=[Count()])
    assert not steps
    assert again.is_trained
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(m.module.state_dict().values() for m in (first, again)), strict=True)
    )
    assert len(again.history["train_loss"]) == len(first.history["train_loss"]) < 60
    np.testing.assert_array_equal(again.train_indices, first.train_indices)


def test_other_batches_of_the_same_names_are_refused(tmp_path):
    path = tmp_path / "fit.ckpt"
    for turn in range(2):
        data = make_mdata()
        data["ephys"].obs["rig"] = np.roll(np.resize(["a", "b", "b"], data["ephys"].n_obs), turn)
        CoupledAE.setup_mudata(data, batch_key={"ephys": "rig"})
        if not turn:
            fit(data, checkpoint=path)
    with pytest.raises(ValueError, match="Different: the batches of cells of 'ephys'"):
        fit(data, checkpoint=path)


def test_other_settings_and_data_are_refused_by_name(tmp_path):
    path = tmp_path / "fit.ckpt"
    fit(mdata(), checkpoint=path)
    written = path.read_bytes()
    assert b"numpy" not in written  # plain tensors and values

    def refused(match, data=None, **kwargs):
        with pytest.raises(ValueError, match=match):
            fit(data or mdata(), **{"checkpoint": path, **kwargs})
        assert path.read_bytes() == written

    refused(r"train\(max_epochs\) \(3 then, 4 now\)", max_epochs=4)
    refused(r"CoupledAE\(n_latent\) \(3 then, 2 now\)", n_latent=2)
    refused(r"train\(plan_kwargs\) \(None then, {'lr': 0.1} now\)", plan_kwargs={"lr": 0.1})
    refused(r"train\(gradient_clip_val\)", gradient_clip_val=1.0)
    refused("external_indexing", external_indexing=[np.arange(100)])
    refused("not both", ckpt_path="x")
    changed = mdata()
    changed["rna"].X[0, 0] += 1
    refused(r"Different: the values of 'rna' \(", changed)
    renamed = make_mdata(missing={"ephys": 0.05})
    renamed["ephys"].var_names = [f"new{i}" for i in range(renamed["ephys"].n_vars)]
    renamed.update()
    CoupledAE.setup_mudata(renamed)
    refused("the features of 'ephys'", renamed)
    gaussian = make_mdata(missing={"ephys": 0.05})
    CoupledAE.setup_mudata(gaussian, likelihoods={"ephys": "gaussian"})
    refused("the set-up", gaussian)
    fit(mdata(), checkpoint=path, callbacks=[pl.Callback()], enable_model_summary=False)

    model = fit(mdata())
    with pytest.raises(ValueError, match="the weights to start from"):
        model.train(max_epochs=3, checkpoint=path, **QUIET)


def test_what_is_not_a_checkpoint_is_refused_and_kept(tmp_path):
    path = tmp_path / "thesis"
    path.write_text("precious")
    with pytest.raises(ValueError, match="not a checkpoint"):
        fit(mdata(), checkpoint=path)
    assert path.read_text() == "precious"
    torch.save({"scvi_cae": scvi.settings}, path)
    with pytest.raises(ValueError, match="not a checkpoint"):
        fit(mdata(), checkpoint=path)
    with pytest.raises(FileNotFoundError, match="no folder"):
        fit(mdata(), checkpoint=tmp_path / "nowhere" / "file")


def test_writing_takes_little_of_the_time(tmp_path, monkeypatch):
    from scvi_cae.train import _resume

    now = [0.0]
    monkeypatch.setattr(_resume.time, "perf_counter", lambda: now[0])
    written = []

    class Slow(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            now[0] += 1.0

        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            written.append(trainer.current_epoch)
            now[0] += 0.07

    fit(mdata(), max_epochs=14, checkpoint=tmp_path / "x", callbacks=[Slow()])
    assert written == [0, 4, 8, 12, 13]


@pytest.mark.parametrize("failure", ["no folder", "disk full", "read-only"])
def test_a_training_goes_on_when_its_file_cannot_be_written(tmp_path, monkeypatch, failure):
    folder = tmp_path / "folder"
    folder.mkdir()

    class Break(pl.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                if failure == "no folder":
                    shutil.rmtree(folder)
                    folder.write_text("something else")
                elif failure == "disk full":
                    monkeypatch.setattr(
                        pl.Trainer, "save_checkpoint", fail(OSError(28, "No space left on device"))
                    )
                else:
                    monkeypatch.setattr(Path, "replace", fail(PermissionError(13, "Permission denied")))

    def fail(error):
        def failing(*args, **kwargs):
            raise error

        return failing

    monkeypatch.setattr("scvi_cae.train._resume.COST", 1e9)  # writes after each epoch
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = fit(mdata(), max_epochs=6, checkpoint=folder / "fit.ckpt", callbacks=[Break()])
    assert len(model.history["train_loss"]) == 6
    found = [str(x.message) for x in caught if "state of the training cannot be written" in str(x.message)]
    assert len(found) == 1
    assert str(folder / "fit.ckpt") in found[0]
    assert ("does not exist" if failure == "no folder" else "holds an earlier state") in found[0]
    if failure == "no folder":
        assert folder.read_text() == "something else"
    else:
        assert [path.name for path in folder.iterdir()] == ["fit.ckpt"]


def test_what_killed_processes_left_beside_the_file_is_deleted(tmp_path):
    (tmp_path / f".{'0' * 32}-fit.ckpt").write_text("half a file")
    (tmp_path / f".{'0' * 32}-other.ckpt").write_text("of another training")
    fit(mdata(), checkpoint=tmp_path / "fit.ckpt")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".{'0' * 32}-other.ckpt", "fit.ckpt"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Ridge(1.0), Ridge(2.0)),
        (RidgeCV(np.linspace(1, 2, 2000)), RidgeCV(np.linspace(1, 2, 2000) ** 2)),
        (WithTypeMean(RidgeBaseline([1.0])), WithTypeMean(RidgeBaseline([2.0]))),
        (pd.Series([1.0] * 100), pd.Series([1.0] * 50 + [2.0] + [1.0] * 49)),
        (pd.Series([1.0], ["a"]), pd.Series([1.0], ["b"])),
        (pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [1]})),
        (pd.Categorical(["a", None]), pd.Categorical(["a", "a"])),
        (partial(int, base=2), partial(int, base=3)),
        ([{"a": i} for i in range(12)], [{"a": i + (i == 6)} for i in range(12)]),
        ([np.arange(i) for i in range(12)], [np.arange(i + (i == 6)) for i in range(12)]),
        (np.array(["a", None] * 6, dtype=object), np.array(["a", "None"] * 6, dtype=object)),
        (int, float),
        (np.sum, np.mean),
    ],
)
def test_what_differs_is_described_differently(one, other):
    assert describe(one) == describe(deepcopy(one)) != describe(other)
    assert " at 0x" not in describe(one)
