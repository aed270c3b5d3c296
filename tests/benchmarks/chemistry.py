"""Transcriptomes of another chemistry (Scala et al. 2021, degraded): families and types by an ensemble and by regression.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/chemistry.py [--folds 0] [--seed 0]

Cells and folds are those of scala2020_folds.py; labels are families and types. Counts of held-out cells are degraded in
steps that add up: sampled binomially to a number of counts per cell, as unique molecular identifiers of shallow
sequencing; with factors of genes, log-normal with standard deviation 1 of the natural logarithm, for what lengths of
genes and primers do (the data have no lengths); with half of all remaining values lost. All are sampled once a fold.
An ensemble of three models is trained on log1p counts per million of the other cells; the query goes through
``prepare_query_mudata`` and ``normalize_query``. Beside it are logistic regressions on the same genes: on the same
values; on values that are standardised in each data set by itself; and on ranks of the genes in each cell. They choose
their penalty on inner training cells.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import mudata
import numpy as np
import pandas as pd
import scvi
from anndata import AnnData
from results import record
from scala2020_folds import paired_cells, ten_folds
from scipy import sparse
from scipy.stats import rankdata

from scvi_cae import Ensemble
from scvi_cae.evaluate import LogisticBaseline

LABELS = ["rna_family", "rna_type"]


def sampled(counts: np.ndarray, depth: int | None, rng: np.random.Generator) -> np.ndarray:
    """Counts ``(n_cells, n_genes)`` kept with the probability that leaves ``depth`` of a cell, all if it has fewer."""
    if depth is None:
        return counts
    return rng.binomial(counts, np.minimum(1, depth / counts.sum(1, keepdims=True)))


def degraded(counts: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """The same cells by other chemistries: names and counts."""
    gains = np.exp(np.random.default_rng([seed, 0]).normal(size=counts.shape[1]))
    found = {"as measured": counts}
    for depth in (20_000, 5_000, 2_000):
        found[f"{depth:,} counts"] = sampled(counts, depth, np.random.default_rng([seed, depth]))
    # More counts than are left, so that factors are not rounded.
    of_genes = np.rint(counts * gains).astype(np.int64)
    found["factors of genes"] = of_genes
    for depth in (20_000, 5_000, 2_000):
        found[f"factors, {depth:,} counts"] = sampled(
            of_genes, depth, np.random.default_rng([seed, depth, 1])
        )
    kept = np.random.default_rng([seed, 1]).random(counts.shape) < 0.5
    found["factors, 5,000 counts, half of the values lost"] = found["factors, 5,000 counts"] * kept
    return found


def standardised(values: np.ndarray) -> np.ndarray:
    """Values less their mean, by their standard deviation, both of these cells."""
    deviation = values.std(0)
    return (values - values.mean(0)) / np.where(deviation > 0, deviation, 1)


def ranked(values: np.ndarray) -> np.ndarray:
    """Ranks of the genes in each cell, from 0 to 1; genes without counts share the lowest."""
    return rankdata(values, axis=1) / values.shape[1]


CHANGES = {"logistic": np.asarray, "logistic, standardised": standardised, "logistic, ranks": ranked}


def accuracy(predicted: pd.DataFrame, labels: np.ndarray) -> float:
    """Fraction of cells whose most probable class is theirs."""
    return float(np.mean(predicted.columns.to_numpy()[predicted.to_numpy().argmax(1)] == labels))


def main() -> None:
    """Run the folds and print the mean of each accuracy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    mdata, position = paired_cells()
    Ensemble.setup_mudata(mdata, labels_key=LABELS)
    rows = []
    for fold, split in zip(args.folds, ten_folds(position, args.folds), strict=True):
        scvi.settings.seed = args.seed
        ensemble = Ensemble(mdata, n_models=3)
        ensemble.train(external_indexing=[split.train, None, split.test])
        cells = mdata.obs_names
        training = mdata["rna"][cells[split.train]].to_df().to_numpy()
        test = mdata["rna"][cells[split.test]]
        labels = {key: mdata.obs[key].astype(str).to_numpy() for key in LABELS}
        fits = {
            (name, key): LogisticBaseline().fit(change(training), labels[key][split.train])
            for name, change in CHANGES.items()
            for key in LABELS
        }
        for chemistry, counts in degraded(test.layers["counts"].toarray(), fold).items():
            adata = AnnData(sparse.csr_matrix(counts, dtype=np.float32), test.obs[[]], test.var[[]])
            query = Ensemble.prepare_query_mudata(mudata.MuData({"rna": adata}), ensemble)
            query = ensemble.normalize_query(query)
            values = query["rna"].to_df().loc[cells[split.test]].to_numpy()
            for key in LABELS:
                true = labels[key][split.test]
                call = {"chemistry": chemistry, "label": key, "fold": fold}
                predicted = ensemble.predict("rna", key, adata=query).loc[cells[split.test]]
                rows.append({**call, "method": "ensemble", "accuracy": accuracy(predicted, true)})
                for name, change in CHANGES.items():
                    fit = fits[name, key]
                    table = pd.DataFrame(fit.predict(change(values)), columns=fit.classes_)
                    rows.append({**call, "method": name, "accuracy": accuracy(table, true)})
            nonzero = (counts > 0).sum(1).mean()
            print(f"fold {fold}, {chemistry}: {nonzero:.0f} genes found in a cell", flush=True)
    table = pd.DataFrame(rows).pivot_table("accuracy", "chemistry", ["label", "method"], sort=False)
    print(table.round(3).to_string())
    record("chemistry", table.set_axis([" by ".join(name) for name in table], axis=1))


if __name__ == "__main__":
    main()
