"""What a trained model costs in use: embedding of many cells, quantiles beside plain predictions, and the import.

    OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python tests/benchmarks/inference.py
        [--cells 100000] [--genes 1286] [--repeats 5]

Cells are simulated, and repeated up to the number asked for: dense single precision in memory. Compared things are timed
in turn in one run. Embedding is beside reading the values once (their sum); quantiles (``[0.05, 0.95]``) are beside
``predict`` without them, after a first call of each, of a model and of an ensemble of five, for new cells; importing
``scvi_cae`` and its classes is beside importing scvi-tools alone, each in a process of its own.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import subprocess
import sys
import time
import warnings
from typing import TYPE_CHECKING

import anndata
import mudata
import numpy as np
import torch

import scvi_cae

if TYPE_CHECKING:
    from collections.abc import Callable


def seconds(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def in_turn(functions: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each function, called in turn after a first call of each."""
    for function in functions.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            times[name].append(seconds(function))
    return {name: statistics.median(found) for name, found in times.items()}


def imported(code: str) -> Callable[[], object]:
    """A function that runs an import in a new process."""
    return lambda: subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def main() -> None:
    """Time all and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--genes", type=int, default=1286)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)

    mdata = scvi_cae.datasets.simulate_patchseq(1200, n_genes=args.genes, n_ephys=24)
    scvi_cae.CoupledAE.setup_mudata(mdata)
    model = scvi_cae.CoupledAE(mdata)
    model.train(20, enable_progress_bar=False)
    rna = mdata["rna"].X
    rna = np.asarray(rna.todense() if hasattr(rna, "todense") else rna, dtype=np.float32)
    rows = np.resize(np.arange(len(rna)), args.cells)
    many = anndata.AnnData(rna[rows], var=mdata["rna"].var[[]])
    many.obs_names = [f"new{i}" for i in range(args.cells)]
    query = mudata.MuData({"rna": many})

    aligned = model.align(query)
    timed = in_turn(
        {
            "sum of the values": lambda: many.X.sum(),
            "first layer alone": lambda: (
                many.X @ model.module.arm("rna").encoder.first.weight.detach().numpy().T
            ),
            "embedding, aligned data": lambda: model.get_latent_representation(aligned),
            "alignment": lambda: model.align(query),
            "embedding": lambda: model.get_latent_representation(query),
        },
        args.repeats,
    )
    for name, taken in timed.items():
        print(f"{name:40} {taken:7.2f} s   {args.cells / taken:10,.0f} cells/s", flush=True)

    few = mudata.MuData({"rna": many[:5000].copy()})
    ensemble = scvi_cae.Ensemble(mdata)
    ensemble.train(20)
    for name, predictor in (("CoupledAE", model), ("Ensemble", ensemble)):
        data = predictor.align(few)
        timed = in_turn(
            {
                "plain": lambda p=predictor, d=data: p.predict("rna", "ephys", d),
                "quantiles": lambda p=predictor, d=data: p.predict("rna", "ephys", d, quantiles=[0.05, 0.95]),
            },
            args.repeats,
        )
        ratio = timed["quantiles"] / timed["plain"]
        print(
            f"{name}: 5,000 cells, predict {timed['plain']:.3f} s   quantiles {timed['quantiles']:.3f} s   ratio {ratio:.2f}",
            flush=True,
        )

    timed = in_turn(
        {
            "scvi": imported("import scvi.model"),
            "scvi_cae": imported("from scvi_cae import CoupledAE, Ensemble"),
            "cli": imported("import scvi_cae.cli"),
        },
        args.repeats,
    )
    shown = "   ".join(f"{name} {taken:.2f} s" for name, taken in timed.items())
    print(f"import: {shown}   ratio {timed['scvi_cae'] / timed['scvi']:.2f}")


if __name__ == "__main__":
    main()
