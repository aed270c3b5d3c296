"""Several processes that train one model: the objective of the union of their cells."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import fit, make_mdata
from scvi_cae import CoupledAE

TESTS = str(Path(__file__).parents[1])

GRADIENTS = """
import copy, sys
import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from conftest import make_mdata
from scvi_cae import CoupledAE

rank, store = int(sys.argv[1]), sys.argv[2]
mdata = make_mdata(60, fraction={"rna": 0.8, "ephys": 0.5}, missing={"ephys": 0.1})
CoupledAE.setup_mudata(mdata)
calm = {name: {"dropout": 0.0, "noise": 0.0} for name in mdata.mod}
cases = []
torch.set_default_dtype(torch.float64)
for loss in ("min_variance", "full_covariance"):
    torch.manual_seed(0)
    model = CoupledAE(mdata, n_latent=3, arms=calm, coupling_loss=loss)
    # In double precision, where a difference is not rounding.
    module = model.module.train().double()
    batch = {}
    for name, x in model._aligned(mdata).items():
        values = x.values(np.arange(mdata.n_obs))
        module.arm(name).fit(lambda values=values: [values])
        batch[name] = module.arm(name).observe(torch.from_numpy(values).double())
    odd = torch.arange(mdata.n_obs) % 2 == 1
    lacking = {**batch, "ephys": batch["ephys"].map(torch.clone)}
    for part in lacking["ephys"][:3]:
        part[odd] = 0
    for n, cells in ((50, batch), (51, batch), (50, lacking), (1, batch)):
        union = {name: x.map(lambda part: part[:n]) for name, x in cells.items()}
        alone = copy.deepcopy(module)
        output = alone(union)[2]
        output.loss.backward()
        cases.append((module, union, alone, output))
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
for module, union, alone, expected in cases:
    shared = DistributedDataParallel(copy.deepcopy(module))
    own = {name: x.map(lambda part: part[rank::2]) for name, x in union.items()}
    output = shared(own)[2]
    output.loss.backward()
    torch.testing.assert_close(output.loss, expected.loss, rtol=1e-10, atol=1e-10)
    for name, value in expected.extra_metrics.items():
        torch.testing.assert_close(output.extra_metrics[name], value, rtol=1e-10, atol=1e-10)
    for (name, a), b in zip(shared.module.named_parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-10, atol=1e-10, msg=name)
    for (name, a), b in zip(shared.module.named_buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=name)
distributed.barrier()  # one that leaves while the other still reads aborts it
distributed.destroy_process_group()
"""

TRAIN = """
import sys
sys.path.insert(0, {tests!r})
import torch, scvi
from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE

options, out = eval(sys.argv[1]), sys.argv[2]
mdata = make_mdata(missing={{"ephys": options.pop("missing", 0.05)}})
CoupledAE.setup_mudata(mdata)
if options.pop("seed", True):
    scvi.settings.seed = 3
model = CoupledAE(mdata, n_latent=3, **options.pop("model", {{}}))
model.train(accelerator="cpu", devices=2, strategy="ddp", **QUIET, **options)
assert not torch.distributed.is_initialized()
rank = model.trainer.global_rank
history = {{k: v.to_numpy() for k, v in model.history.items()}}
torch.save((model.module.state_dict(), history, model.trainer.current_epoch), f"{{out}}-{{rank}}.pt")
"""


@pytest.fixture
def train(tmp_path):
    """Train on two processes: state, history and number of epochs of each."""
    script = tmp_path / "script.py"
    script.write_text(TRAIN.format(tests=TESTS))

    def run(code=0, **options):
        command = [sys.executable, str(script), repr(options), str(tmp_path / "out")]
        result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert (result.returncode == 0) == (code == 0), result.stderr
        if code:
            return result.stderr
        assert "Warning: early_stopping" not in result.stderr
        return [torch.load(tmp_path / f"out-{rank}.pt", weights_only=False) for rank in (0, 1)]

    return run


def test_two_processes_have_the_gradients_of_one(tmp_path):
    script = f"import sys; sys.path.insert(0, {TESTS!r})\n{GRADIENTS}"
    command = [sys.executable, "-c", script]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stderr=subprocess.PIPE, text=True)
        for rank in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors


CALM = {name: {"dropout": 0.0, "noise": 0.0} for name in ("rna", "ephys")}


def test_two_processes_train_as_one_does(train):
    """With all cells in a batch and no noise, nothing is left to chance."""
    options = {"max_epochs": 8, "batch_size": None}
    (weights, history, _), (other, *_) = train(model={"arms": CALM}, **options)
    mdata = make_mdata(missing={"ephys": 0.05})
    CoupledAE.setup_mudata(mdata)
    import scvi

    scvi.settings.seed = 3
    alone = CoupledAE(mdata, n_latent=3, arms=CALM)
    alone.train(enable_progress_bar=False, **options)
    for name, value in alone.module.state_dict().items():
        assert torch.equal(weights[name], other[name])
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-4)
    assert set(history) == set(alone.history)
    for name, table in alone.history.items():
        np.testing.assert_allclose(history[name], table.to_numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_processes_stop_together_with_the_same_best_weights(train):
    stopping = {"early_stopping": True, "early_stopping_patience": 6, "early_stopping_min_delta": 0.5}
    options = {"max_epochs": 60, "batch_size": 35, "plan_kwargs": {"lr": 0.02}, **stopping}
    (weights, history, n), (other, _, m) = train(**options)
    assert n == m < 60
    assert len(history["train_loss"]) == n
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    assert all(x.isfinite().all() for x in weights.values())


@pytest.mark.slow
def test_processes_stream_data_with_few_gaps(train):
    """One process's part of a batch has gaps, and the other's has none."""
    streamed = {"resident_gb": 0, "buffer_size": 40}
    options = {"max_epochs": 8, "batch_size": None, "model": {"arms": CALM}, "missing": 0.001}
    (weights, *_), (other, *_) = train(**options, datasplitter_kwargs=streamed)
    (resident, *_), _ = train(**options)
    for name, value in weights.items():
        assert torch.equal(other[name], value)
        torch.testing.assert_close(value, resident[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_single_validation_cell_leaves_a_process_without(train):
    mdata = make_mdata(missing={"ephys": 0.05})
    pairs = (mdata.obsm["rna"] & mdata.obsm["ephys"]).nonzero()[0]
    train_cells = [cell for cell in range(mdata.n_obs) if cell != pairs[0]]
    split = [train_cells, pairs[:1].tolist()]
    (weights, history, _), (other, *_) = train(max_epochs=3, external_indexing=split)
    assert all(torch.equal(weights[name], other[name]) for name in weights)
    assert all(torch.from_numpy(x).isfinite().all() for x in history.values())


@pytest.mark.slow
def test_processes_that_draw_different_splits_are_refused(train):
    stderr = train(code=1, seed=False, max_epochs=3)
    assert "do not train the same: different are the split" in stderr
    assert "scvi.settings.seed" in stderr


def test_each_process_has_noise_of_its_own(mdata):
    from types import SimpleNamespace

    from scvi_cae.train import ShareWork
    from scvi_cae.train._resume import streams

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
