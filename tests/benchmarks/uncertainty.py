"""Predicted intervals on real Patch-seq data (Scala et al. 2021): calibration, and use for abstention.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/uncertainty.py [--folds 0 1] [--n-latent 10]

Cells and folds are those of scala2020_folds.py; electrophysiology is predicted from genes. Within each fold,
five models are trained on four fifths of the training cells each (``splits.within``), to the last epoch. They
form an ensemble whose quantiles are calibrated on all training cells by CV+. It is compared with one model
that is trained on nine tenths and calibrated on the last tenth, with ridge regression with split conformal
prediction on the same two sets, and with both without local scaling: residuals are used as they are, not
relative to the error expected at a cell's latent position. Test cells select nothing.

Coverage is the fraction of test cells in the 90 % interval, a mean over features and folds, with the minimum
and maximum over features; widths of intervals and pinball losses are in standard deviations of the training
cells. The second table has the mean squared error of predictions after the cells with the widest intervals
are set aside.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from unittest.mock import patch

import mudata
import numpy as np
import pandas as pd

import scvi_cae
from scvi_cae import evaluate, splits
from scvi_cae.model._intervals import pooled_quantiles
from scvi_cae.model._local_errors import LocalErrors
from scvi_cae.module import mean_and_scale

QUANTILES = [0.05, 0.95]


def as_they_are(local: LocalErrors, latents: np.ndarray) -> np.ndarray:
    """Constant expected errors, instead of local ones."""
    return np.ones((len(latents), local.errors.shape[1]), dtype=np.float32)


def ridge(values: dict[str, np.ndarray], split: splits.Split, columns: pd.MultiIndex) -> tuple:
    """Prediction and intervals of ridge regression."""
    model = evaluate.RidgeBaseline().fit(values["rna"][split.train], values["ephys"][split.train])
    residuals = values["ephys"][split.validation] - model.predict(values["rna"][split.validation])
    prediction = model.predict(values["rna"][split.test])
    found = pooled_quantiles([prediction], [np.ones_like(prediction)], [residuals], np.array(QUANTILES))
    return prediction, pd.DataFrame(found.reshape(len(found), -1), columns=columns)


def main() -> None:
    """Run the folds and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--n-latent", type=int, default=10)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    full = scvi_cae.datasets.scala2020()
    cells = full["rna"].obs_names
    mdata = mudata.MuData({name: full[name][cells].copy() for name in ("rna", "ephys")})
    scvi_cae.CoupledAE.setup_mudata(mdata)
    position = mdata.obs_names.get_indexer(cells)
    permutation = np.random.RandomState(42).permutation(len(cells))
    values = {name: mdata[name].to_df().loc[mdata.obs_names].to_numpy(dtype=float) for name in mdata.mod}

    tests = [position[permutation[fold * 120 : (fold + 1) * 120]] for fold in args.folds]
    outer = [(np.setdiff1d(position, test), None, test) for test in tests]
    inner = [split for fold in outer for split in (*splits.within(fold, 5), splits.within(fold, 10)[0])]
    start = time.perf_counter()
    fits = scvi_cae.fit_many(mdata, inner, settings=[{"n_latent": args.n_latent}], monitor=None)
    print(f"{len(fits)} fits: {time.perf_counter() - start:.0f} s", flush=True)

    scores, curves = [], []
    for number, fold in enumerate(args.folds):
        *models, single = [fit.model for fit in fits[6 * number : 6 * number + 6]]
        split = inner[6 * number + 5]
        test, truth = split.test, values["ephys"][split.test]
        moments = mean_and_scale(values["ephys"][outer[number][0]])
        results = {}
        for name, model in {
            "ensemble": scvi_cae.Ensemble.from_models(models),
            "single model": single,
        }.items():
            intervals = model.predict("rna", "ephys", indices=test, quantiles=QUANTILES)
            prediction = model.predict("rna", "ephys", indices=test).to_numpy()
            results[name] = (prediction, intervals)
            with patch.object(LocalErrors, "at", as_they_are):
                plain = model.predict("rna", "ephys", indices=test, quantiles=QUANTILES)
            results[f"{name}, residuals as they are"] = (prediction, plain)
        results["ridge"] = ridge(values, split, intervals.columns)
        for name, (prediction, intervals) in results.items():
            table = evaluate.interval_scores(truth, intervals, moments[1])
            scores.append(
                table.assign(method=name, fold=fold, r2=evaluate.pooled_r2(truth, prediction, *moments))
            )
            width = evaluate.interval_width(intervals, moments[1])
            if width.std() > 1e-6:
                curve = evaluate.abstention(truth, prediction, width, *moments)
                curves.append(curve.assign(method=name, fold=fold))
    scores = pd.concat(scores)
    columns = ["coverage", "width", "pinball", "r2"]
    table = scores.groupby("method", sort=False)[columns].mean()
    by_feature = scores.groupby(["method", scores.index], sort=False)["coverage"].mean().groupby("method")
    table.insert(1, "least", by_feature.min())
    table.insert(2, "greatest", by_feature.max())
    table["sd of folds"] = scores.groupby(["method", "fold"])["coverage"].mean().groupby("method").std()
    print(table.round(3).to_string())
    print("mean squared error by fraction set aside")
    curves = pd.concat(curves).reset_index()
    print(
        curves.pivot_table(index="method", columns="set aside", values="mse", sort=False).round(3).to_string()
    )
    whole = curves.groupby(["method", "fold"], sort=False)["mse"]
    falls = whole.apply(lambda mse: (np.diff(mse) < 0).mean()).groupby("method", sort=False).mean()
    print("fraction of steps at which it falls, fold by fold")
    print(falls.round(2).to_string())


if __name__ == "__main__":
    main()
