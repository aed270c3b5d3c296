"""Scores on real Patch-seq data (Scala et al. 2021) in ten folds, with ridge regression and type means.

    SCVI_CAE_DATA=... python tests/benchmarks/scala2020_folds.py [--n-latent 10 3] [--seeds 0] [--folds 0 1]
    SCVI_CAE_DATA=... python tests/benchmarks/scala2020_folds.py --published-epochs 200 --n-latent 3 --folds 0

Data are the 1,208 cells with transcriptome and electrophysiology, in the order of the counts file. Folds are
ten contiguous blocks of 120 of ``numpy.random.seed(42); numpy.random.permutation(1208)``; the remaining 8
cells are training cells in all folds. The recipe is the default one: all other cells train for the default
number of steps, so test cells select nothing. R2 is pooled over test cells and features, relative to the
training mean (``scvi_cae.evaluate.pooled_r2``).

``--published-epochs`` runs the published recipe instead (``scvi_cae.recipes.gala2021``): this number of
epochs of 500 steps, then 500 steps on all training cells, with electrophysiology centred and scaled by the
training cells.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from typing import TYPE_CHECKING

import mudata
import numpy as np
import pandas as pd
import scvi
from results import record

import scvi_cae
from scvi_cae.evaluate import cross_validate, score
from scvi_cae.splits import Split

if TYPE_CHECKING:
    from collections.abc import Sequence


def paired_cells() -> tuple[mudata.MuData, np.ndarray]:
    """Cells with transcriptome and electrophysiology, set up, and their positions in order of the counts."""
    full = scvi_cae.datasets.scala2020()
    cells = full["rna"].obs_names
    mdata = mudata.MuData({name: full[name][cells].copy() for name in ("rna", "ephys")})
    for key in ("rna_type", "rna_family", "mouse"):
        mdata.obs[key] = full.obs[key].reindex(mdata.obs_names)
    scvi_cae.CoupledAE.setup_mudata(mdata)
    return mdata, mdata.obs_names.get_indexer(cells)


def ten_folds(position: np.ndarray, folds: Sequence[int] = range(10)) -> list[Split]:
    """Some of the ten folds."""
    permutation = np.random.RandomState(42).permutation(len(position))
    tests = [position[permutation[fold * 120 : (fold + 1) * 120]] for fold in folds]
    return [Split(np.setdiff1d(position, test), None, test) for test in tests]


def published(mdata: mudata.MuData, splits: list, n_latent: int, n_epochs: int, seed: int) -> pd.DataFrame:
    """Scores of the published recipe."""
    tables = []
    for fold, split in enumerate(splits):
        scvi.settings.seed = seed
        recipe = scvi_cae.recipes.gala2021(n_latent=n_latent, n_epochs=n_epochs)
        recipe.model["arms"]["ephys"]["standardise"] = True
        model = scvi_cae.CoupledAE(mdata, **recipe.model)
        recipe.train(model, external_indexing=split, enable_progress_bar=False)
        tables.append(score(model, labels_key="rna_type").assign(fold=fold, seed=seed))
    return pd.concat(tables)


def main() -> None:
    """Run the folds and print their mean and standard deviation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-latent", type=int, nargs="+", default=[10, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--published-epochs", type=int)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    mdata, position = paired_cells()
    splits = ten_folds(position, args.folds)
    results = []
    for n_latent in args.n_latent:
        start = time.perf_counter()
        if args.published_epochs:
            tables = [published(mdata, splits, n_latent, args.published_epochs, seed) for seed in args.seeds]
            table = pd.concat(tables)
        else:
            table = cross_validate(
                mdata, splits, args.seeds, {"n_latent": n_latent}, labels_key="rna_type", progress=False
            )
        results.append(table.assign(n_latent=n_latent))
        seconds = (time.perf_counter() - start) / (len(splits) * len(args.seeds))
        print(f"n_latent {n_latent}: {seconds:.1f} s a fit, with its scores", flush=True)
    scores = pd.concat(results)
    keys = ["n_latent", "metric", "target", "source", "method"]
    summary = scores.groupby(keys)["value"].agg(["mean", "std", "count"])
    print(summary.round(4).to_string())
    scores["score"] = scores["metric"] + " " + scores["target"] + " from " + scores["source"]
    if args.published_epochs:
        scores["column"] = "seed " + scores["seed"].astype(str)
    else:
        scores["column"] = scores["method"] + ", " + scores["n_latent"].astype(str) + " dimensions"
    means = scores.pivot_table("value", "score", "column", sort=False)
    record("published recipe" if args.published_epochs else "default recipe", means)


if __name__ == "__main__":
    main()
