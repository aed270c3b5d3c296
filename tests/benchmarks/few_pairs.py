"""Predictions from few pairs, on held-out cells of real Patch-seq data, with and without a reference.

    SCVI_CAE_DATA=... python tests/benchmarks/few_pairs.py [--sizes 50 100 200 400] [--folds 0 1] [--seeds 0] [--inner]
        [--labels rna_family rna_type] [--jobs 2] [--csv OUT.csv] [--figure OUT.png]

Data and folds are those of ``scala2020_folds.py``. In fold ``f``, the first ``n`` of
``numpy.random.RandomState(f).permutation(training cells)`` are pairs; the other training cells are left out, or keep
their transcriptome ("reference"). R2 is pooled, by the mean and standard deviation of all training cells of the fold.
The ensemble's difference beside the regression that is best on average over the folds is paired by fold.

``--inner`` scores training cells instead, to choose a recipe: the last 120 of the permuted training cells are the test
cells, and the fold's test cells are left out. ``--labels`` gives models columns of labels, of all of their cells.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from itertools import product

import matplotlib as mpl
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from matplotlib import pyplot as plt
from results import record
from scala2020_folds import paired_cells, ten_folds

from scvi_cae import CoupledAE, Ensemble
from scvi_cae.evaluate import learning_curve
from scvi_cae.evaluate._learning_curve import MODELS
from scvi_cae.splits import Split

METHODS = ["Ensemble", "mean of its networks", "CoupledAE", "ridge", "tuned kernel ridge"]
REGRESSIONS = METHODS[3:]
KEYS = ["source", "target", "n_pairs", "reference"]


def drawn(fold: int, position: np.ndarray, inner: bool) -> Split:
    """Training cells of a fold in the order in which they are drawn, and test cells."""
    split = ten_folds(position, [fold])[0]
    order = np.random.RandomState(fold).permutation(split.train)
    return Split(order[:-120], split.validation, order[-120:]) if inner else split._replace(train=order)


def scores(fold: int, args: argparse.Namespace) -> pd.DataFrame:
    """Scores of one fold."""
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mdata, position = paired_cells()
    CoupledAE.setup_mudata(mdata, labels_key=args.labels)
    trained: list[Ensemble] = []
    seconds: list[float] = []

    def ensemble(mdata: object, split: Split) -> Ensemble:
        start = time.perf_counter()
        trained[:] = [MODELS["Ensemble"](mdata, split)]
        seconds.append(time.perf_counter() - start)
        return trained[0]

    def networks(mdata: object, split: Split) -> Ensemble:  # of the ensemble trained last
        return Ensemble.from_models(trained[0].models)

    models = {"Ensemble": ensemble, "mean of its networks": networks, "CoupledAE": MODELS["CoupledAE"]}
    table = learning_curve(
        mdata,
        args.sizes,
        [drawn(fold, position, args.inner)],
        args.seeds,
        reference=[None, "rna"],
        models=models,
        baselines=REGRESSIONS,
        shuffle=False,
    )
    print(f"fold {fold}: {np.mean(seconds):.1f} s an ensemble", flush=True)
    return table.assign(fold=fold)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Means over folds, and the difference of the ensemble to the best regression with its standard error."""
    by_fold = table.groupby([*KEYS, "fold", "method"])["value"].mean().unstack()[METHODS]
    out = by_fold.groupby(KEYS).mean()
    out["best"] = out[REGRESSIONS].idxmax(axis=1)
    best = [by_fold.loc[fold, out.loc[fold[:-1], "best"]] for fold in by_fold.index]
    difference = (by_fold["Ensemble"] - best).groupby(KEYS)
    return out.assign(difference=difference.mean(), error=difference.sem())


def draw(table: pd.DataFrame, file: str) -> None:
    """Draw R2 by number of pairs: a row of panels for each target, a column without and with a reference."""
    mpl.use("agg")
    titles = {"none": "pairs alone", "rna": "pairs and a reference of transcriptomes"}
    names = {"ephys": "electrophysiology from genes", "rna": "genes from electrophysiology"}
    figure, axes = plt.subplots(2, 2, sharex=True, sharey="row", figsize=(7, 6), layout="constrained")
    for (target, reference), axis in zip(product(names, titles), axes.flat, strict=True):
        shown = (table["target"] == target) & (table["reference"] == reference)
        means = table[shown].groupby(["method", "n_pairs"])["value"].mean().unstack(0)
        for method in METHODS:
            style = "--" if method in REGRESSIONS else "-"
            axis.plot(means.index, means[method], style, marker="o", markersize=3, label=method)
        axis.axhline(0, color="0.7", linewidth=0.8, zorder=0)
        axis.set_xscale("log")
        axis.set_xticks(means.index, [str(n) for n in means.index])
        axis.set_xticks([], minor=True)
    for axis, title in zip(axes[0], titles.values(), strict=True):
        axis.set_title(title, fontsize=10)
    for axis in axes[1]:
        axis.set_xlabel("number of pairs")
    for axis, name in zip(axes[:, 0], names.values(), strict=True):
        axis.set_ylabel(f"{name}\nR²", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(file, dpi=90)


def main() -> None:
    """Run the folds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 100, 200, 400])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--inner", action="store_true")
    parser.add_argument("--labels", nargs="*")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--csv")
    parser.add_argument("--figure")
    args = parser.parse_args()
    tables = Parallel(args.jobs)(delayed(scores)(fold, args) for fold in args.folds)
    table = pd.concat(tables, ignore_index=True)
    if args.csv:
        table.to_csv(args.csv, index=False)
    if args.figure:
        draw(table, args.figure)
    means = summary(table)
    print(means.round(3).to_string())
    means.index = pd.MultiIndex.from_tuples(
        [
            ("E from T" if target == "ephys" else "T from E", f"{n:,}", reference)
            for _, target, n, reference in means.index
        ]
    )
    record(
        "few pairs", means.drop(columns=["best", "error"]), means[["error"]].set_axis(["difference"], axis=1)
    )


if __name__ == "__main__":
    main()
