"""Several processes that train one model: the objective of the union of their cells."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scvi
import torch

from conftest import QUIET, fit
from scvi_cae import CoupledAE
from scvi_cae.train import ShareWork
from scvi_cae.train._resume import streams
from train import two_processes


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Folder and errors of the two processes, which are launched once for all tests."""
    folder = tmp_path_factory.mktemp("two_processes")
    tests = [path for path in sys.path if path.endswith("tests")]
    paths = os.pathsep.join(filter(None, [*tests, os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, two_processes.__file__, folder],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": paths},
    )
    return folder, result


@pytest.fixture
def trained_by_two(launched):
    """State, history and number of epochs of a training, from both processes."""
    folder, result = launched

    def read(name):
        files = [folder / f"{name}-{rank}.pt" for rank in (0, 1)]
        assert all(file.exists() for file in files), result.stderr
        assert "Warning: early_stopping" not in result.stderr
        return [torch.load(file, weights_only=False) for file in files]

    return read


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(trained_by_two):
    assert trained_by_two("gradients") == [None, None]  # no difference; they are compared where they are


@pytest.mark.slow
def test_two_processes_train_as_one_does(trained_by_two):
    (weights, history, _), (other, *_) = trained_by_two("as one")
    of_data, of_model, options = two_processes.TRAININGS["as one"]
    mdata = two_processes.data(**of_data)
    scvi.settings.seed = 3
    alone = CoupledAE(mdata, n_latent=3, **of_model)
    alone.train(**options, **QUIET)
    for name, value in alone.module.state_dict().items():
        assert torch.equal(weights[name], other[name])
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-4)
    assert set(history) == set(alone.history)
    for name, table in alone.history.items():
        np.testing.assert_allclose(history[name], table.to_numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_processes_stop_together_with_the_same_best_weights(trained_by_two):
    (weights, history, n), (other, _, m) = trained_by_two("stopping")
    assert n == m < two_processes.TRAININGS["stopping"][2]["max_epochs"]
    assert len(history["train_loss"]) == n
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    assert all(x.isfinite().all() for x in weights.values())


@pytest.mark.slow
def test_processes_stream_data_with_few_gaps(trained_by_two):
    """One process's part of a batch has gaps, and the other's has none."""
    (weights, *_), (other, *_) = trained_by_two("few gaps, streamed")
    (resident, *_), _ = trained_by_two("few gaps")
    for name, value in weights.items():
        assert torch.equal(other[name], value)
        torch.testing.assert_close(value, resident[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_single_validation_cell_leaves_a_process_without(trained_by_two):
    (weights, history, _), (other, *_) = trained_by_two("single validation cell")
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    assert all(torch.from_numpy(x).isfinite().all() for x in history.values())


@pytest.mark.slow
def test_processes_that_draw_different_splits_are_refused(launched):
    _, result = launched
    assert result.returncode != 0
    assert "do not train the same: different are the split" in result.stderr
    assert "scvi.settings.seed" in result.stderr


def test_each_process_has_noise_of_its_own(mdata):
    states = []
    for rank in (0, 1):
        model = fit(mdata, max_epochs=1)
        model.module.draw_from([torch.Generator()])
        plan = model.trainer.lightning_module
        trainer = SimpleNamespace(
            world_size=2,
            global_rank=rank,
            strategy=SimpleNamespace(broadcast=lambda x: 7),
            datamodule=model.trainer.datamodule,
        )
        ShareWork(dict).setup(trainer, plan, "fit")
        states.append((trainer.datamodule.stream.initial_seed(), *(x.initial_seed() for x in streams(plan))))
    assert states[0][0] == states[1][0]
    assert not set(states[0][1:]) & set(states[1])
