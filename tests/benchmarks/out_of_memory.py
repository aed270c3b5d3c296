"""Time and memory of training and embedding from disk and in memory, for 10^4 to 10^6 cells.

    SCVI_CAE_DATA=... python tests/benchmarks/out_of_memory.py [--sizes 1e4 1e5 1e6] [--format h5 zarr]
        [--in-memory-up-to 1e5] [--steps 500] [--threads 1] [--folder FOLDER]

Data are cells with a simulated transcriptome only (sparse log counts of 1,286 genes, 18 % nonzero), and pairs
of transcriptome and electrophysiology: those of scala2020, or simulated ones if ``SCVI_CAE_DATA`` is not set.
The file is written in parts into FOLDER, by default a temporary one, and removed at the end; it has 1.9 GB
for 10^6 cells.

Each size and mode runs in its own process. "disk" streams the transcriptomes; "memory" reads all and trains
on dense data on the device (``resident_gb=inf``). Peak memory is the largest resident set of the process
above that after importing the package. Training runs at least one epoch of 90 % of the cells and at least
``--steps`` steps of 200 cells; its rate is that of training epochs only, and set-up and validation are timed
separately.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import lightning.pytorch as pl
import mudata
import numpy as np
import pandas as pd
import torch
import zarr
from anndata.io import read_elem, sparse_dataset, write_elem
from results import record
from scipy import sparse

import scvi_cae

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Number of cells simulated at once, and number of their types.
PART, N_TYPES = 20_000, 40
#: Electrophysiology is stored on the device in both modes. Mode "disk" streams transcriptomes even if they
#: fit, so that all sizes are comparable.
RESIDENT_GB = {"disk": 0.001, "memory": np.inf}


def pairs() -> mudata.MuData:
    """Real cells with both modalities if available, otherwise simulated cells."""
    try:
        mdata = scvi_cae.datasets.scala2020()
    except (FileNotFoundError, OSError):
        mdata = scvi_cae.datasets.simulate_patchseq(
            1208, n_genes=1286, n_ephys=29, fraction_rna_only=0, fraction_ephys_only=0
        )
    both = mdata["rna"].obs_names.intersection(mdata["ephys"].obs_names)
    return mudata.MuData({name: mdata[name][both].copy() for name in ("rna", "ephys")})


def simulated(n_cells: int, n_genes: int) -> Iterator[sparse.csr_matrix]:
    """Sparse log counts of cells of several types, in parts."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(0.3, size=(N_TYPES, n_genes)).astype(np.float32)
    some = 1 - np.exp(-rate)
    some *= 0.175 / some.mean()
    for start in range(0, n_cells, PART):
        kind = rng.integers(N_TYPES, size=min(PART, n_cells - start))
        u = rng.random((len(kind), n_genes), dtype=np.float32)
        yield sparse.csr_matrix(np.where(u < some[kind], np.log1p(rate[kind] / (u + 0.01)), 0))


def write(folder: Path, n_cells: int, how: str) -> None:
    """Write all transcriptomes, those of pairs last, and the electrophysiology of the pairs."""
    real = pairs()
    genes = real["rna"].var[[]]
    group = (
        h5py.File(folder / "rna.h5", "w") if how == "h5" else zarr.open_group(folder / "rna.zarr", mode="w")
    )
    parts = simulated(n_cells - real.n_obs, len(genes))
    write_elem(group, "X", next(parts))
    X = sparse_dataset(group["X"])
    for part in parts:
        X.append(part)
    X.append(sparse.csr_matrix(real["rna"].X, dtype=np.float32))
    names = [*(f"sim{i}" for i in range(n_cells - real.n_obs)), *real["rna"].obs_names]
    write_elem(group, "obs", pd.DataFrame(index=pd.Index(names)))
    write_elem(group, "var", genes)
    if how == "h5":
        group.close()
    real["ephys"].write_h5ad(folder / "ephys.h5ad")


class Clock(pl.Callback):
    """Seconds of each training epoch, up to its last step."""

    def __init__(self) -> None:
        self.epochs: dict[int, float] = {}

    def on_train_epoch_start(self, *_: Any) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        self.epochs[trainer.current_epoch] = time.perf_counter() - self._start


def peak_memory() -> int:
    """Largest resident set of this process so far, in bytes; getrusage starts from that of its parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def worker(folder: Path, how: str, way: str, steps: int) -> dict[str, float]:
    """Train and embed; seconds and gigabytes."""
    imported = peak_memory()
    group = h5py.File(folder / "rna.h5") if how == "h5" else zarr.open_group(folder / "rna.zarr", mode="r")
    X = sparse_dataset(group["X"])
    rna = anndata.AnnData(
        X if way == "disk" else X.to_memory(), obs=read_elem(group["obs"]), var=read_elem(group["var"])
    )
    out: dict[str, float] = {}
    start = time.perf_counter()
    mdata = mudata.MuData({"rna": rna, "ephys": anndata.read_h5ad(folder / "ephys.h5ad")})
    scvi_cae.CoupledAE.setup_mudata(mdata)
    model = scvi_cae.CoupledAE(mdata)
    out["set_up"] = time.perf_counter() - start
    clock, start = Clock(), time.perf_counter()
    model.train(
        max(1, round(steps / (0.9 * mdata.n_obs / 200))),
        train_size=0.9,
        datasplitter_kwargs={"resident_gb": RESIDENT_GB[way]},
        callbacks=[clock],
        enable_progress_bar=False,
    )
    out["rest_of_train"] = time.perf_counter() - start - sum(clock.epochs.values())
    n_trained = len(model.train_indices) * len(clock.epochs)
    out["train_us"] = 1e6 * sum(clock.epochs.values()) / n_trained
    start = time.perf_counter()
    model.write_latent()
    out["embed"] = time.perf_counter() - start
    assert np.isfinite(mdata.obsm["X_cae"]).all()
    out["peak_gb"] = (peak_memory() - imported) / 1e9
    return out


def main() -> None:
    """Run all sizes and ways, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=float, nargs="+", default=[1e4, 1e5, 1e6])
    parser.add_argument("--format", nargs="+", choices=["h5", "zarr"], default=["h5"])
    parser.add_argument("--in-memory-up-to", type=float, default=1e5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(args.threads)
    if args.worker:
        how, way = args.worker
        print(json.dumps(worker(args.folder, how, way, args.steps)))
        return
    print(
        f"{'cells':>8} {'':12} {'set-up':>8} {'fit, place':>10} {'training':>9} {'embedding':>9} {'training':>9} "
        f"{'of that':>9} {'peak':>6}\n"
        f"{'':21} {'us/cell':>8} {'us/cell':>10} {'us/cell':>9} {'us/cell':>9} {'cells/s':>9} {'in memory':>9} {'GB':>6}"
    )
    rows = {}
    for size in map(int, args.sizes):
        for how in args.format:
            folder = Path(tempfile.mkdtemp(dir=args.folder))
            try:
                write(folder, size, how)
                ways = ["memory", "disk"] if size <= args.in_memory_up_to else ["disk"]
                rate = {}
                for way in ways:
                    command = [sys.executable, __file__, "--worker", how, way, "--folder", str(folder)]
                    command += ["--steps", str(args.steps), "--threads", str(args.threads)]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    out = json.loads(done.stdout.splitlines()[-1])
                    rate[way] = 1e6 / out["train_us"]
                    of_memory = rate["disk"] / rate["memory"] if len(rate) == 2 else None
                    ratio = f"{of_memory:.0%}" if of_memory else ""
                    microseconds = {
                        "set-up": 1e6 * out["set_up"] / size,
                        "training": out["train_us"],
                        "embedding": 1e6 * out["embed"] / size,
                    }
                    rows[f"{size:,}", how if way == "disk" else "memory"] = {
                        **microseconds,
                        "of in memory": of_memory,
                        "peak": out["peak_gb"],
                    }
                    print(
                        f"{size:>8} {how + ', ' + way:12} {1e6 * out['set_up'] / size:8.1f} "
                        f"{1e6 * out['rest_of_train'] / size:10.1f} {out['train_us']:9.1f} "
                        f"{1e6 * out['embed'] / size:9.1f} {rate[way]:9.0f} {ratio:>9} {out['peak_gb']:6.2f}",
                        flush=True,
                    )
            finally:
                shutil.rmtree(folder)
    record("large data", pd.DataFrame.from_dict(rows, orient="index"))


if __name__ == "__main__":
    main()
