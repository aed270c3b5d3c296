"""Attribution of predicted electrophysiology to ion channels, in real Patch-seq data (Scala et al. 2021).

    SCVI_CAE_DATA=... python tests/benchmarks/ion_channels.py [--seeds 0 1 2 3 4] [--top 12] [--features ...]

An ensemble of the default recipe is trained on all 1,208 cells with transcriptome and electrophysiology,
without held-out cells. ``Ensemble.attribute(source="rna", target="ephys")`` is in standard deviations of the
feature per standard deviation of the gene's log expression. Printed are the measured genes in the HGNC group
of ion channels (``$SCVI_CAE_DATA/ion-channel-genes-group-177.csv``; human symbols, converted to mouse symbols
by their case), largest mean first, with the rank among all genes and the correlation of gene and feature over
the same cells, which ignores other genes.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path

import mudata
import pandas as pd
from results import record

import scvi_cae


def main() -> None:
    """Train, attribute, and print a table for each feature."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--top", type=int, default=12)
    parser.add_argument("--features", nargs="+", default=["AP width (ms)", "Max number of APs"])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    full = scvi_cae.datasets.scala2020()
    cells = full["rna"].obs_names
    mdata = mudata.MuData({name: full[name][cells].copy() for name in ("rna", "ephys")})
    scvi_cae.CoupledAE.setup_mudata(mdata)
    fits = scvi_cae.fit_many(mdata, [(range(len(cells)), None, None)], seeds=args.seeds)
    ensemble = scvi_cae.Ensemble.from_models([fit.model for fit in fits])
    start = time.perf_counter()
    effects = ensemble.attribute(source="rna", target="ephys")
    print(f"{len(fits)} models attributed in {time.perf_counter() - start:.1f} s", flush=True)

    human = pd.read_csv(Path(os.environ["SCVI_CAE_DATA"]) / "ion-channel-genes-group-177.csv")
    channels = effects.index[effects.index.isin(human["Approved symbol"].str.capitalize())]
    expression, ephys = mdata["rna"].to_df(), mdata["ephys"].to_df()
    print(f"{len(channels)} of {len(effects)} genes are ion channels: {', '.join(sorted(channels))}")
    for feature in args.features:
        table = effects[feature].copy()
        table["rank"] = table["mean"].abs().rank(ascending=False).astype(int)
        table["correlation"] = expression.loc[ephys.index].corrwith(ephys[feature])
        largest = table["mean"].abs().loc[channels].nlargest(args.top).index
        print(f"\n{feature}\n{table.loc[largest].round(3).to_string()}")
        record(f"ion channels, {feature}", table.loc[largest])
        print(
            f"Median stability of all genes {table['stability'].median():.2f}; correlation of mean and "
            f"correlation over all genes {table['mean'].corr(table['correlation']):.2f}"
        )


if __name__ == "__main__":
    main()
