"""Predicted intervals on real Patch-seq data (Scala et al. 2021): calibration, and use for abstention.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/uncertainty.py [--folds 0 1] [--seed 0]

Cells and folds are those of scala2020_folds.py; electrophysiology is predicted from genes. An ``Ensemble`` of the default
recipe calibrates its quantiles on all training cells of a fold. It is compared with one model that is trained on nine
tenths of them, to the last epoch, and calibrated on the last tenth, and with ridge regression with split conformal
prediction on the same two sets. Test cells select nothing.

Coverage is the fraction of test cells in the 90 % interval, a mean over features and folds, with the minimum
and maximum over features; widths of intervals and pinball losses are in standard deviations of the training
cells. The second table has the mean squared error of predictions after the cells with the widest intervals
are set aside.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import numpy as np
import pandas as pd
import scvi
from results import record
from scala2020_folds import paired_cells, ten_folds

from scvi_cae import CoupledAE, Ensemble, evaluate, splits
from scvi_cae.model._intervals import pooled_quantiles
from scvi_cae.module import mean_and_scale

QUANTILES = [0.05, 0.95]


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
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)

    mdata, position = paired_cells()
    values = {name: mdata[name].to_df().loc[mdata.obs_names].to_numpy(dtype=float) for name in mdata.mod}
    scores, curves = [], []
    for fold, outer in zip(args.folds, ten_folds(position, args.folds), strict=True):
        split = splits.within(outer, 10)[0]
        test, truth = split.test, values["ephys"][split.test]
        moments = mean_and_scale(values["ephys"][outer.train])
        scvi.settings.seed = args.seed
        ensemble, single = Ensemble(mdata), CoupledAE(mdata)
        ensemble.train(external_indexing=outer)
        single.train(external_indexing=split, monitor=None, enable_progress_bar=False)
        results = {}
        for name, model in {"ensemble": ensemble, "single model": single}.items():
            intervals = model.predict("rna", "ephys", indices=test, quantiles=QUANTILES)
            results[name] = (model.predict("rna", "ephys", indices=test).to_numpy(), intervals)
        results["ridge"] = ridge(values, split, intervals.columns)
        for name, (prediction, intervals) in results.items():
            table = evaluate.interval_scores(truth, intervals, moments[1])
            r2 = evaluate.pooled_r2(truth, prediction, *moments)
            scores.append(table.assign(method=name, fold=fold, r2=r2))
            width = evaluate.interval_width(intervals, moments[1])
            if width.std() > 1e-6:
                curve = evaluate.abstention(truth, prediction, width, *moments)
                curves.append(curve.assign(method=name, fold=fold))
    scores = pd.concat(scores)
    table = scores.groupby("method", sort=False)[["coverage", "width", "pinball", "r2"]].mean()
    by_feature = scores.groupby(["method", scores.index], sort=False)["coverage"].mean().groupby("method")
    by_fold = scores.groupby(["method", "fold"])["coverage"].mean().groupby("method")
    table = table.assign(least=by_feature.min(), greatest=by_feature.max())
    print(table.assign(**{"sd of folds": by_fold.std()}).round(3).to_string())
    record("intervals", table, by_fold.std().to_frame("coverage").loc[table.index])
    print("mean squared error by fraction set aside")
    curves = pd.concat(curves).reset_index()
    curves["set aside"] = curves["set aside"].map(lambda part: f"{100 * part:.0f} %")
    mse = curves.pivot_table(index="method", columns="set aside", values="mse", sort=False)
    print(mse.round(3).to_string())
    record("abstention", mse)


if __name__ == "__main__":
    main()
