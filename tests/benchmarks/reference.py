"""Accuracy of ``scvi_cae.datasets.reference("scala2020")``: held-out cells, and cells of another laboratory.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/reference.py held-out [--folds 0 1 2 3 4]
    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/reference.py gouwens2020

``held-out`` trains ensembles as the reference is trained, on four fifths of its cells (``splits.k_fold``, seed 1), once
with the features of electrophysiology that other laboratories can have and once with all 29, and predicts families and
types of the others. ``gouwens2020`` predicts families of the cells of Gouwens et al. (2020) by the reference itself, from
their electrophysiology in ipfx' definitions; their family is the first word of their type, and cells of families that the
reference lacks are left out.
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
    few = scala2020_to_refer_to()
    cells = few["ephys"].obs_names
    every = mudata.MuData({"rna": few["rna"], "ephys": datasets.scala2020()["ephys"][cells].copy()})
    every.obs = few.obs.loc[every.obs_names]
    rows = []
    for features, mdata in {"13 features": few, "29 features": every}.items():
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
            for source in ("ephys", "rna"):
                measured = mdata.obs_names[split.test].isin(mdata[source].obs_names)
                test = split.test[measured]
                for key in LABELS:
                    predicted = ensemble.predict(source, key, indices=test)
                    row[f"{key} from {source}"] = accuracy(predicted, mdata.obs[key].iloc[test])
            rows.append(row)
            print(row, flush=True)
    means = pd.DataFrame(rows).groupby("features", sort=False).mean().drop(columns="fold").T
    print(means.round(3).to_string())
    record("reference, held out", means)


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
        predicted = reference.predict("ephys", "rna_family", adata=query)
        labels = family.loc[query.obs_names]
        among = predicted[[name for name in predicted if (labels == name).any()]]
        known = {name: round(float((among.idxmax(1)[labels == name] == name).mean()), 3) for name in among}
        novelty = (reference.novelty(query, "ephys")["p_value"] < 0.05).mean()
        print(f"different={different}: {found}")
        print(
            f"accuracy {accuracy(predicted, labels):.3f}, among these families {accuracy(among, labels):.3f}"
        )
        print(f"recall {known}, cells with a p-value of novelty below .05: {novelty:.2f}")
        definitions = "also other definitions" if different else "same definitions"
        rows[definitions] = {"accuracy": accuracy(predicted, labels), **known, "novel": float(novelty)}
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
