"""What things cost, beside what people would use instead, in one run on one core.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 python tests/benchmarks/speed.py [--repeats 3] [--part fits]

fits
    Seconds to fit the training cells of the first fold of ``scala2020_folds.py`` (1,088 pairs of 1,286 genes and 29
    features), with default settings: one ``CoupledAE``, an ``Ensemble``, UniVI and MOFA+ (``external.py``, if they are
    installed), and regressions of electrophysiology on genes. All in turn, ``--repeats`` times.
calls
    Seconds to import the models, and scvi-tools alone; to embed 100,000 cells, drawn from the transcriptomes with
    replacement and dense in memory; to predict 1,208 cells, and quantiles of them, after a first call of each.

Times are wall times on a machine that may do other work, too: their ratios say more than they do.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import time
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anndata
import mudata
import numpy as np
import pandas as pd
import scvi
import torch
from external import MOFABaseline, UniVIBaseline
from results import record
from scala2020_folds import paired_cells, ten_folds

from scvi_cae import CoupledAE, Ensemble
from scvi_cae.evaluate import BaggedKernelRidgeBaseline, KernelRidgeBaseline, RidgeBaseline

if TYPE_CHECKING:
    from collections.abc import Callable

#: Methods of other packages, with the modules that they need.
OTHERS = {"MOFA+": (MOFABaseline, "mofapy2"), "UniVI": (UniVIBaseline, "univi")}
REGRESSIONS = {
    "ridge": RidgeBaseline,
    "kernel ridge": KernelRidgeBaseline,
    "bagged kernel ridge": BaggedKernelRidgeBaseline,
}
N_CELLS, QUANTILES = 100_000, [0.05, 0.95]


def in_turn(calls: dict[str, Callable[[], object]], repeats: int) -> pd.DataFrame:
    """Seconds of each call, of all in turn."""
    rows = []
    for _ in range(repeats):
        row = {}
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            row[name] = time.perf_counter() - start
            print(f"{name}: {row[name]:.2f} s", flush=True)
        rows.append(row)
    return pd.DataFrame(rows)


def table(seconds: pd.DataFrame, one: str) -> pd.DataFrame:
    """Medians of seconds, and of their ratio to those of one call in the same turn, with its range."""
    ratios = seconds.div(seconds[one], axis=0)
    return pd.DataFrame(
        {
            "seconds": seconds.median(),
            "ratio": ratios.median(),
            "least": ratios.min(),
            "greatest": ratios.max(),
        }
    )


def fits(mdata: mudata.MuData, train: np.ndarray, repeats: int) -> None:
    """Fit models and regressions."""
    rna, ephys = (mdata[name].to_df().loc[mdata.obs_names].to_numpy(dtype=float)[train] for name in mdata.mod)
    z = (rna - rna.mean(0)) / np.where(rna.std(0) > 0, rna.std(0), 1)
    test = np.setdiff1d(np.arange(mdata.n_obs), train)

    def model(kind: type) -> None:
        scvi.settings.seed = 0
        bar = {"enable_progress_bar": False} if kind is CoupledAE else {}
        kind(mdata).train(external_indexing=[train, None, test], **bar)

    calls = {"CoupledAE": lambda: model(CoupledAE), "Ensemble of five": lambda: model(Ensemble)}
    installed = [name for name, (_, module) in OTHERS.items() if find_spec(module)]
    methods = {name: OTHERS[name][0] for name in installed} | REGRESSIONS
    calls |= {name: lambda method=method: method().fit(z, ephys) for name, method in methods.items()}
    found = table(in_turn(calls, repeats), "CoupledAE")
    print(found.round(3).to_string())
    record("speed of fits", found, packages=[OTHERS[name][1] for name in installed])


def calls(mdata: mudata.MuData, train: np.ndarray, repeats: int) -> None:
    """Import, embed, predict."""
    test = np.setdiff1d(np.arange(mdata.n_obs), train)
    model, ensemble = CoupledAE(mdata), Ensemble(mdata)
    model.train(external_indexing=[train[::2], train[1::2], test], monitor=None, enable_progress_bar=False)
    ensemble.train(external_indexing=[train, None, test])
    drawn = np.random.default_rng(0).integers(mdata.n_obs, size=N_CELLS)
    rna = mdata["rna"].to_df().to_numpy(dtype=np.float32)[drawn]
    names = [f"cell{i}" for i in range(N_CELLS)]
    many = mudata.MuData({"rna": anndata.AnnData(rna, pd.DataFrame(index=names), mdata["rna"].var[[]])})

    def executed(line: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", line], check=True)

    def predicted(by: CoupledAE | Ensemble, quantiles: list[float] | None) -> Callable[[], object]:
        return lambda: by.predict("rna", "ephys", quantiles=quantiles)

    timed: dict[str, Callable[[], object]] = {
        "import scvi": executed("import scvi"),
        "import scvi_cae": executed("from scvi_cae import CoupledAE"),
        f"embed {N_CELLS:,} cells": lambda: model.get_latent_representation(many, "rna"),
        "CoupledAE: predict": predicted(model, None),
        "CoupledAE: predict quantiles": predicted(model, QUANTILES),
        "Ensemble: predict": predicted(ensemble, None),
        "Ensemble: predict quantiles": predicted(ensemble, QUANTILES),
    }
    for call in timed.values():
        call()
    seconds = in_turn(timed, max(repeats, 5))
    found = pd.DataFrame({"seconds": seconds.median()})
    ratios = {
        "import scvi_cae": "import scvi",
        "CoupledAE: predict quantiles": "CoupledAE: predict",
        "Ensemble: predict quantiles": "Ensemble: predict",
    }
    for name, other in ratios.items():
        found.loc[name, "ratio"] = (seconds[name] / seconds[other]).median()
    embedding = f"embed {N_CELLS:,} cells"
    found.loc[embedding, "cells a second"] = N_CELLS / found.loc[embedding, "seconds"]
    print(found.round(3).to_string())
    record("speed of calls", found)


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", nargs="+", choices=["fits", "calls"], default=["fits", "calls"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    mdata, position = paired_cells()
    train = ten_folds(position, [0])[0].train
    for part in args.part:
        {"fits": fits, "calls": calls}[part](mdata, train, args.repeats)


if __name__ == "__main__":
    main()
