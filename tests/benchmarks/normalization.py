"""Queries of real Patch-seq data (Scala et al. 2021) on other normalisations than the model's, as they are and normalised.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/normalization.py [--folds 0 1 2] [--seed 0]

Cells and folds are those of scala2020_folds.py. One model is trained in each fold on log1p counts per million; the
held-out cells come as a query of transcriptomes that are normalised otherwise. The type of a cell is the most frequent
one among the 15 nearest training cells in the latents of transcriptomes. R2 of electrophysiology is pooled over cells and
features, relative to the training mean. Both are given as a query is, and after ``model.normalize_query``, with
``match_medians`` (*) where that is what the warning says.
"""

from __future__ import annotations

import argparse
import logging
import re
import warnings

import mudata
import numpy as np
import pandas as pd
import scanpy as sc
import scvi
from anndata import AnnData
from results import record
from scala2020_folds import paired_cells, ten_folds
from sklearn.neighbors import KNeighborsClassifier

import scvi_cae
from scvi_cae import evaluate


def normalised(counts: AnnData, total: float | None, base: float | None = None, log: bool = True) -> AnnData:
    """Counts per total, and their logarithm, without a record of either."""
    query = counts.copy()
    sc.pp.normalize_total(query, target_sum=total)
    if log:
        sc.pp.log1p(query, base=base)
    query.uns.clear()
    return query


def queries(counts: AnnData) -> dict[str, AnnData]:
    """The same cells under other normalisations."""
    some = np.random.default_rng(0).permutation(counts.n_vars)[: counts.n_vars * 3 // 4]
    million = normalised(counts, 1e6)
    return {
        "counts per million, ln": million,
        "counts per 10,000, ln": normalised(counts, 1e4),
        "counts per median total, ln": normalised(counts, None),
        "counts per million, log2": normalised(counts, 1e6, 2),
        "counts per million, no logarithm": normalised(counts, 1e6, log=False),
        "raw counts": counts,
        "3/4 of the genes, of the former values": million[:, some].copy(),
        "3/4 of the genes, counts per million of these": normalised(counts[:, some].copy(), 1e6),
    }


def scores(
    model: scvi_cae.CoupledAE,
    query: mudata.MuData,
    classifier: KNeighborsClassifier,
    ephys: np.ndarray,
    types: np.ndarray,
    split: scvi_cae.splits.Split,
) -> dict[str, float]:
    """Accuracy of types from neighbours in the latent, and R2 of electrophysiology."""
    latent = model.get_latent_representation(query, "rna")
    predicted = model.predict("rna", "ephys", query).to_numpy(dtype=float)
    training, truth = ephys[split.train], ephys[split.test]
    return {
        "type": float(np.mean(classifier.predict(latent) == types[split.test])),
        "R2": evaluate.pooled_r2(truth, predicted, training.mean(0), training.std(0)),
    }


def main() -> None:
    """Run the folds and print the mean of each score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    mdata, position = paired_cells()
    types = mdata.obs["rna_type"].astype(str).to_numpy()
    rows: dict[str, list[dict[str, float]]] = {}
    said: dict[str, list[str]] = {}
    for split in ten_folds(position, args.folds):
        scvi.settings.seed = args.seed
        model = scvi_cae.CoupledAE(mdata)
        model.train(external_indexing=split, enable_progress_bar=False)
        latents = model.get_latent_representation(modality="rna")
        classifier = KNeighborsClassifier(15).fit(latents[split.train], types[split.train])
        ephys = mdata["ephys"].to_df().loc[mdata.obs_names].to_numpy(dtype=float)
        cells = mdata.obs_names[split.test]
        rna = mdata["rna"][cells]
        counts = AnnData(rna.layers["counts"].astype(np.float32), obs=rna.obs[[]], var=rna.var[[]])
        for name, adata in queries(counts).items():
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                query = model.prepare_query_mudata(mudata.MuData({"rna": adata}), model)
                before = scores(model, query, classifier, ephys, types, split)
            said[name] = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
            match = any("match_medians=True" in text for text in said[name])
            done = model.normalize_query(query, match_medians=match)
            after = scores(model, done, classifier, ephys, types, split)
            row = {"warnings": len(said[name])} | {f"{key}, as is": x for key, x in before.items()}
            row |= {f"{key}, normalised{'*' if match else ''}": x for key, x in after.items()}
            rows.setdefault(name, []).append(row)
    for name, texts in said.items():
        print(name, *(re.sub(r"\s+", " ", text) for text in texts), sep="\n    ")
    tables = {
        name: pd.DataFrame(found).rename(columns=lambda c: c.rstrip("*")).mean()
        for name, found in rows.items()
    }
    table = pd.DataFrame(tables).T
    print(table.round(3).to_string())
    record("normalisations", table)


if __name__ == "__main__":
    main()
