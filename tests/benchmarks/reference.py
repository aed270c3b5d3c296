"""Accuracy of ``scvi_cae.datasets.reference("scala2020")``: held-out cells, and cells of another laboratory.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/reference.py held-out [--folds 0 1 2 3 4]
    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/reference.py gouwens2020

``held-out`` trains ensembles as the reference is trained, on four fifths of its cells (``splits.k_fold``, seed 1), with the
13 features of electrophysiology that other laboratories can have, with all 29, and with the 9 that Gouwens et al. (2020)
have, and predicts families and types of the others; the first also from these 9 alone. ``gouwens2020`` predicts families of
the cells of Gouwens et al. by the reference itself, from their electrophysiology in ipfx' definitions, as it is and aligned;
their family is the first word of their type, and cells of families that the reference lacks are left out.
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

from scvi_cae import Ensemble, datasets, pp, splits
from scvi_cae.datasets._reference import MAX_EPOCHS, N_MODELS, SEED
from scvi_cae.datasets._reference_data import LABELS, scala2020_to_refer_to

if TYPE_CHECKING:
    from collections.abc import Sequence


def accuracy(predicted: pd.DataFrame, labels: pd.Series) -> float:
    """Fraction of the labelled cells whose most probable class is theirs."""
    known = labels.notna().to_numpy()
    found = predicted.columns.to_numpy()[predicted.to_numpy().argmax(1)]
    return float(np.mean(found[known] == labels[known].astype(str).to_numpy()))


def held_out(folds: Sequence[int]) -> None:
    """Families and types of held-out cells, with some and with all features of electrophysiology."""
    thirteen = scala2020_to_refer_to()
    cells = thirteen["ephys"].obs_names
    table = pp.ephys_names(datasets.gouwens2020()["ephys"].var_names, "scala2020")
    nine = [name for name in thirteen["ephys"].var_names if name in set(table.iloc[:, 1])]
    rows = []
    for features, ephys in {
        "13 features": thirteen["ephys"],
        "29 features": datasets.scala2020()["ephys"][cells],
        "9 features": thirteen["ephys"][:, nine],
    }.items():
        mdata = mudata.MuData({"rna": thirteen["rna"], "ephys": ephys.copy()})
        mdata.obs = thirteen.obs.loc[mdata.obs_names]
        Ensemble.setup_mudata(mdata, labels_key=LABELS)
        all_splits = splits.k_fold(mdata, 5, seed=1)
        for fold in folds:
            split = all_splits[fold]
            scvi.settings.seed = SEED
            start = time.perf_counter(), time.process_time()
            ensemble = Ensemble(mdata, n_models=N_MODELS)
            ensemble.train(MAX_EPOCHS, external_indexing=[split.train, None, split.test])
            wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
            row = {"features": features, "fold": fold, "seconds": wall, "CPU seconds": cpu}
            test = mdata[split.test].copy()
            rows.append(row | accuracies(ensemble, test))
            if features == "13 features":
                few = mudata.MuData({"ephys": test["ephys"][:, nine].copy()})
                query = Ensemble.prepare_query_mudata(few, ensemble)
                query.obs = test.obs.loc[query.obs_names]
                rows.append({"features": "9 of 13 features", "fold": fold} | accuracies(ensemble, query))
            print(rows[-1], flush=True)
    means = pd.DataFrame(rows).groupby("features", sort=False).mean().drop(columns="fold").T
    print(means.round(3).to_string())
    record("reference, held out", means)


def accuracies(ensemble: Ensemble, cells: mudata.MuData) -> dict[str, float]:
    """Accuracy of families and types, from each modality."""
    out = {}
    for source in [name for name in ("ephys", "rna") if name in cells.mod]:
        measured = cells.obs_names.isin(cells[source].obs_names)
        for key in LABELS:
            predicted = ensemble.predict(source, key, adata=cells)[measured]
            out[f"{key} from {source}"] = accuracy(predicted, cells.obs[key][measured])
    return out


def gouwens2020() -> None:
    """Families of another laboratory's cells."""
    reference = datasets.reference("scala2020")
    other = datasets.gouwens2020()
    family = other.obs["t_type"].astype(object).str.split().str[0]
    family = family.where(family.isin(reference.models[0].setup.features["rna_family"]))
    print(family.value_counts(dropna=False).to_string())
    rows = {}
    for different in (False, True):
        names = pp.ephys_names(other["ephys"].var_names, "scala2020", different=different)
        query = Ensemble.prepare_query_mudata(
            mudata.MuData({"ephys": other["ephys"]}), reference, rename={"ephys": names}
        )
        found = {key: query.uns["scvi_cae_query"]["ephys"][key] for key in ("n_matched", "unlike_training")}
        aligned = reference.align_query(query)
        novelty = (reference.novelty(query, "ephys")["p_value"] < 0.05).mean()
        print(f"different={different}: {found}, cells with a p-value of novelty below .05: {novelty:.2f}")
        for how, cells in {"as they are": query, "aligned": aligned}.items():
            predicted = reference.predict("ephys", "rna_family", adata=cells)
            labels = family.loc[cells.obs_names]
            best = predicted.idxmax(axis=1).astype(str)
            known = {
                name: float((best[labels == name] == name).mean())
                for name in predicted
                if (labels == name).any()
            }
            row = {"accuracy": accuracy(predicted, labels), **known, "novel": float(novelty)}
            print(how, {name: round(value, 3) for name, value in row.items()})
            definitions = "also other definitions" if different else "same definitions"
            rows[f"{definitions}, {how}"] = row
    record("reference, gouwens2020", pd.DataFrame(rows).T)


def main() -> None:
    """Run one of the two."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["held-out", "gouwens2020"])
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    args = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    if args.what == "held-out":
        held_out(args.folds)
    else:
        gouwens2020()


if __name__ == "__main__":
    main()
