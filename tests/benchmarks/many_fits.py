"""Cost of 50 fits together (10 folds x 5 seeds of scala2020), as a multiple of one fit.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2 python tests/benchmarks/many_fits.py
        [--repeats 1] [--seeds 5]

One fit is ``CoupledAE.train()`` on the first fold with one thread, which is fastest on a CPU; the others are
``fit_many`` with all threads. Both run the default 500 steps, in turn.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings

import mudata
import numpy as np
import scvi
import torch

import scvi_cae


def main() -> None:
    """Time both and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n-together", type=int)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    full = scvi_cae.datasets.scala2020()
    cells = full["rna"].obs_names
    mdata = mudata.MuData({name: full[name][cells].copy() for name in ("rna", "ephys")})
    scvi_cae.CoupledAE.setup_mudata(mdata)
    permutation = np.random.RandomState(42).permutation(len(cells))
    folds = [permutation[120 * fold : 120 * (fold + 1)] for fold in range(10)]
    splits = [(np.setdiff1d(permutation, test), None, test) for test in folds]
    threads = torch.get_num_threads()

    def one() -> float:
        scvi.settings.seed = 0
        torch.set_num_threads(1)
        model = scvi_cae.CoupledAE(mdata)
        start = time.perf_counter()
        model.train(external_indexing=splits[0], enable_progress_bar=False)
        torch.set_num_threads(threads)
        return time.perf_counter() - start

    one()
    for _ in range(args.repeats):
        single = one()
        start = time.perf_counter()
        n = len(scvi_cae.fit_many(mdata, splits, seeds=range(args.seeds), n_together=args.n_together))
        together = time.perf_counter() - start
        print(
            f"one fit {single:.1f} s   {n} fits {together:.1f} s with {threads} threads   "
            f"{together / single:.1f} times one   {together / n:.2f} s a fit",
            flush=True,
        )


if __name__ == "__main__":
    main()
