"""Whether attribution finds the genes related to a feature, in simulated Patch-seq data with known truth.

    python tests/benchmarks/generating_genes.py [--data 0 1 2] [--seeds 0 1 2 3 4]

Models of the default recipe are trained on four fifths of the cells;
``attribute(source="rna", target="ephys")`` is computed over the others. The relation of a gene and a feature
is the product of their loadings on the shared latent variables. For each feature, the 20 genes with the
largest products are compared with all genes that load on none of these variables: the area under the ROC
curve of the absolute derivative, and the fraction of the 20 with the correct sign; means over features. The
correlation of gene and feature over the training cells is scored likewise.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import numpy as np
import pandas as pd
from results import record
from sklearn.metrics import roc_auc_score

import scvi_cae


def found(effects: pd.DataFrame, truth: dict) -> tuple[float, float]:
    """Area under the ROC curve, and fraction of correct signs."""
    products = truth["loadings"]["rna"] @ truth["loadings"]["ephys"].T
    unrelated = ~effects.index.isin(truth["genes_on_latent"])
    areas, signs = [], []
    for j, feature in enumerate(effects):
        values, top = effects[feature].to_numpy(), np.argsort(-np.abs(products[:, j]))[:20]
        sizes = np.abs(np.r_[values[top], values[unrelated]])
        areas.append(roc_auc_score(np.arange(len(sizes)) < len(top), sizes))
        signs.append((np.sign(values[top]) == np.sign(products[top, j])).mean())
    return float(np.mean(areas)), float(np.mean(signs))


def main() -> None:
    """Simulate, train, attribute, and print the scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)

    rows = []
    for number in args.data:
        mdata = scvi_cae.datasets.simulate_patchseq(seed=number)
        scvi_cae.CoupledAE.setup_mudata(mdata)
        fold = scvi_cae.splits.k_fold(mdata, 5)[0]
        models = [fit.model for fit in scvi_cae.fit_many(mdata, [fold], seeds=args.seeds)]
        single = models[0].attribute(source="rna", target="ephys", indices=fold.test)
        ensemble = scvi_cae.Ensemble.from_models(models).attribute(
            source="rna", target="ephys", indices=fold.test
        )
        rna, ephys = (mdata[name].to_df().reindex(mdata.obs_names[fold.train]) for name in ("rna", "ephys"))
        correlation = pd.DataFrame({feature: rna.corrwith(ephys[feature]) for feature in ephys})
        for method, effects in (
            ("one model", single),
            (f"{len(models)} models", ensemble.xs("mean", axis=1, level="statistic")),
            ("correlation", correlation),
        ):
            rows.append([number, method, *found(effects, mdata.uns["simulation"])])
    table = pd.DataFrame(rows, columns=["data", "method", "area", "right sign"])
    print(table.pivot(index="method", columns="data").round(2).to_string())
    means = table.groupby("method", sort=False)[["area", "right sign"]].agg(["mean", "min"])
    record("generating genes", means.set_axis([" ".join(name) for name in means], axis=1))


if __name__ == "__main__":
    main()
