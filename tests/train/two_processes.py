"""What test_devices has two processes do, in one launch: importing scvi-tools takes each of them seconds.

``python two_processes.py FOLDER`` trains every case of :data:`TRAININGS` on two devices. Lightning starts the second
process by running the script again. Each process writes ``NAME-RANK.pt``, state, history and number of epochs, to the
folder, and what :func:`compare_gradients` finds; the last training is to be refused.
"""

from __future__ import annotations

import copy
import sys
import time
from pathlib import Path

import numpy as np
import scvi
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from conftest import QUIET, make_mdata
from scvi_cae import CoupledAE
from scvi_cae.data import AlignedData

CALM = {name: {"dropout": 0.0, "noise": 0.0} for name in ("rna", "ephys")}
#: With all cells in a batch and no noise, nothing is left to chance.
CERTAIN = {"max_epochs": 8, "batch_size": None}


def data(missing: float = 0.05):
    """What all trainings but one train on."""
    mdata = make_mdata(missing={"ephys": missing})
    CoupledAE.setup_mudata(mdata)
    return mdata


def single_validation_cell() -> list[list[int]]:
    """A split whose validation cells are a single one, of both modalities."""
    mdata = data()
    pair = int((mdata.obsm["rna"] & mdata.obsm["ephys"]).nonzero()[0][0])
    return [[cell for cell in range(mdata.n_obs) if cell != pair], [pair]]


#: Arguments of data, of models and of trainings.
TRAININGS = {
    "as one": ({}, {"arms": CALM}, CERTAIN),
    "stopping": (
        {},
        {},
        {
            "max_epochs": 60,
            "batch_size": 35,
            "plan_kwargs": {"lr": 0.02},
            "early_stopping": True,
            "early_stopping_patience": 6,
            "early_stopping_min_delta": 0.5,
        },
    ),
    "few gaps": ({"missing": 0.001}, {"arms": CALM}, CERTAIN),
    "few gaps, streamed": (
        {"missing": 0.001},
        {"arms": CALM},
        {**CERTAIN, "datasplitter_kwargs": {"resident_gb": 0, "buffer_size": 40}},
    ),
    "single validation cell": ({}, {}, {"max_epochs": 3, "external_indexing": single_validation_cell()}),
}


def train(of_data: dict, of_model: dict, options: dict, *, seed: int | None = 3):
    """A model trained by both processes."""
    mdata = data(**of_data)
    scvi.settings.seed = seed
    model = CoupledAE(mdata, n_latent=3, **of_model)
    model.train(accelerator="cpu", devices=2, strategy="ddp", **QUIET, **options)
    assert not distributed.is_initialized()
    return model


def compare_gradients(rank: int, store: Path) -> None:
    """Losses, metrics and gradients of a batch that two processes share with those of one that has it alone."""
    mdata = make_mdata(60, fraction={"rna": 0.8, "ephys": 0.5}, missing={"ephys": 0.1})
    CoupledAE.setup_mudata(mdata)
    cases = []
    torch.set_default_dtype(torch.float64)
    for loss in ("min_variance", "full_covariance"):
        torch.manual_seed(0)
        model = CoupledAE(mdata, n_latent=3, arms=CALM, coupling_loss=loss)
        # In double precision, where a difference is not rounding.
        module = model.module.train().double()
        batch = {}
        for name, x in ((arm, AlignedData(mdata, model.setup)[arm]) for arm in model.setup.arms):
            values = x.values(np.arange(mdata.n_obs))
            module.arm(name).fit(lambda values=values: [values])
            batch[name] = module.arm(name).observe(torch.from_numpy(values).double())
        odd = torch.arange(mdata.n_obs) % 2 == 1
        lacking = {**batch, "ephys": batch["ephys"].map(torch.clone)}
        for part in lacking["ephys"][:3]:
            part[odd] = 0
        for n, cells in ((50, batch), (51, batch), (50, lacking), (1, batch)):
            union = {name: x.map(lambda part, n=n: part[:n]) for name, x in cells.items()}
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


def main(folder: Path) -> None:
    """Everything, one after the other."""

    def write(name: str, result: object) -> None:
        torch.save(result, folder / f"{name}-{rank}.part")
        (folder / f"{name}-{rank}.part").rename(folder / f"{name}-{rank}.pt")
        # A process that goes ahead would meet what the other has not yet taken down.
        deadline = time.monotonic() + 60
        while not (folder / f"{name}-{1 - rank}.pt").exists():
            assert time.monotonic() < deadline, f"{name}: the other process has no result."
            time.sleep(0.01)

    for name, arguments in TRAININGS.items():
        model = train(*arguments)
        rank = model.trainer.global_rank
        history = {key: table.to_numpy() for key, table in model.history.items()}
        write(name, (model.module.state_dict(), history, model.trainer.current_epoch))
    try:
        compare_gradients(rank, folder / "store")
        difference = None
    except AssertionError as error:
        difference = str(error)
    distributed.destroy_process_group()
    torch.set_default_dtype(torch.float32)
    write("gradients", difference)
    # Without a seed, each process draws a split of its own.
    train({}, {}, {"max_epochs": 3}, seed=None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
