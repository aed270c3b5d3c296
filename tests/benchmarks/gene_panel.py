"""Prediction of electrophysiology from a panel of few genes, on held-out cells of real Patch-seq data.

    SCVI_CAE_DATA=... python tests/benchmarks/gene_panel.py [--n-genes 50 25] [--n-models 5]

Data and folds are those of ``scala2020_folds.py``. In each fold, ``scvi_cae.pp.predictive_features`` selects
genes by the training cells, and a model is trained on these genes only. It is compared with a model of all
genes and with ridge regression from the same genes. Scores are of one model and of the mean of several, and
as a fraction of the scores with all genes.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections import Counter

import mudata
import numpy as np
import pandas as pd
from results import record
from scala2020_folds import paired_cells, ten_folds

from scvi_cae import CoupledAE, pp
from scvi_cae.evaluate import cross_validate

#: Few, weakly predictive features need more dropout than electrophysiology, and a shallow network.
PANEL = {"arms": {"rna": {"hidden": (64,), "dropout": 0.4}}}


def main() -> None:
    """Run the folds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-genes", type=int, nargs="+", default=[50, 25])
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--n-models", type=int, default=5)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    mdata, position = paired_cells()
    folds = ten_folds(position, args.folds)

    def scores(data: mudata.MuData, fold: object, settings: dict[str, object]) -> pd.Series:
        table = cross_validate(
            data,
            [fold],
            [0],
            settings,
            n_models=args.n_models,
            baselines=["ridge"],
            metrics=["r2"],
            progress=False,
        )
        cross = table[(table["source"] == "rna") & (table["target"] == "ephys")]
        return cross.groupby("method")["value"].mean()

    rows: dict[int, list[pd.Series]] = {mdata["rna"].n_vars: [scores(mdata, fold, {}) for fold in folds]}
    for n_genes in args.n_genes:
        rows[n_genes], chosen = [], Counter()
        for fold in folds:
            marked = pp.predictive_features(mdata, "rna", "ephys", n_top=n_genes, cells=fold.train, copy=True)
            selected = marked["rna"].var["predictive_selected"]
            panel = mudata.MuData({"rna": mdata["rna"][:, selected].copy(), "ephys": mdata["ephys"].copy()})
            panel.obs = mdata.obs.copy()
            chosen.update(panel["rna"].var_names)
            CoupledAE.setup_mudata(panel)
            rows[n_genes].append(scores(panel, fold, PANEL))
        always = sorted(gene for gene, n in chosen.items() if n == len(folds))
        print(f"{n_genes} genes: {len(always)} of them in all folds: {', '.join(always)}", flush=True)
    table = pd.DataFrame(
        {n: np.mean(series, axis=0) for n, series in rows.items()}, index=rows[args.n_genes[0]][0].index
    )
    print(table.T.round(3).to_string())
    record("gene panel", table.T.rename(index="{:,} genes".format))
    print((table.T / table.T.iloc[0]).round(3).to_string())


if __name__ == "__main__":
    main()
