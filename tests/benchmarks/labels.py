"""Types and families from one modality on held-out cells of real Patch-seq data (Scala et al. 2021).

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/labels.py [--folds 0 1 2] [--inner] [--csv OUT.csv]

Data and folds are those of ``scala2020_folds.py``. The ensemble is told families and types of the training cells;
classifiers are fitted to each by itself. The forest and the extremely randomised trees are scikit-learn's. Accuracy and
macro-F1 are over all test cells; the log-loss is over those whose class occurs among the training cells.

``--inner`` scores training cells instead, to choose a recipe, as in ``few_pairs.py``.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from few_pairs import drawn
from results import record
from scala2020_folds import paired_cells
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.metrics import f1_score

from scvi_cae import CoupledAE, Ensemble
from scvi_cae.evaluate import DiscriminantBaseline, LogisticBaseline

if TYPE_CHECKING:
    import mudata

    from scvi_cae.splits import Split

LABELS = ["rna_family", "rna_type"]


class Trees:
    """Trees of scikit-learn, with the methods of a classifier of the package."""

    def __init__(self, trees: ExtraTreesClassifier | RandomForestClassifier) -> None:
        self._trees = trees

    def fit(self, source: np.ndarray, labels: np.ndarray) -> Trees:
        self._trees.fit(source, labels)
        self.classes_ = list(self._trees.classes_)
        return self

    def predict(self, source: np.ndarray) -> np.ndarray:
        return self._trees.predict_proba(source)


CLASSIFIERS = {
    "logistic": LogisticBaseline,
    "kernel logistic": lambda: LogisticBaseline(gamma=0.1),
    "discriminant": DiscriminantBaseline,
    "extra trees": lambda: Trees(ExtraTreesClassifier(500, random_state=0)),
    "forest": lambda: Trees(RandomForestClassifier(500, random_state=0)),
}


def scores(probabilities: np.ndarray, classes: list[str], labels: np.ndarray) -> dict[str, float]:
    """Scores of some cells' probabilities."""
    found = np.array(classes)[probabilities.argmax(1)]
    places = pd.Index(classes).get_indexer(labels)
    known = np.flatnonzero(places >= 0)
    own = np.clip(probabilities[known, places[known]], 1e-15, 1)
    return {
        "accuracy": float((found == labels).mean()),
        "macro-F1": float(f1_score(labels, found, average="macro")),
        "log-loss": float(-np.log(own).mean()),
    }


def of_fold(mdata: mudata.MuData, split: Split) -> pd.DataFrame:
    """Scores and seconds of the training, of the ensemble, its networks, and classifiers."""
    start = time.process_time()
    single = CoupledAE(mdata)
    single.train(external_indexing=split, enable_progress_bar=False)
    middle = time.process_time()
    ensemble = Ensemble(mdata)
    ensemble.train(external_indexing=split)
    end = time.process_time()
    print(f"{middle - start:.1f} s of one core a model, {end - middle:.1f} s an ensemble", flush=True)
    models = {"Ensemble": ensemble, "mean of its networks": Ensemble.from_models(ensemble.models)}
    rows = []
    for source in ("rna", "ephys"):
        values = mdata[source][mdata.obs_names].to_df().to_numpy()
        for labels in LABELS:
            names = mdata.obs[labels].astype(str).to_numpy()
            call = {"source": source, "labels": labels}
            for method, model in models.items():
                table = model.predict(source, labels, indices=split.test)
                found = scores(table.to_numpy(), list(table), names[split.test])
                rows.append(call | {"method": method} | found)
            for method, make in CLASSIFIERS.items():
                start = time.process_time()
                fitted = make().fit(values[split.train], names[split.train])
                seconds = time.process_time() - start
                found = scores(fitted.predict(values[split.test]), fitted.classes_, names[split.test])
                rows.append(call | {"method": method} | found | {"seconds": seconds})
    return pd.DataFrame(rows)


def main() -> None:
    """Run the folds and print the mean of each score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--inner", action="store_true")
    parser.add_argument("--csv")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mdata, position = paired_cells()
    CoupledAE.setup_mudata(mdata, labels_key=LABELS)
    tables = [of_fold(mdata, drawn(fold, position, args.inner)).assign(fold=fold) for fold in args.folds]
    table = pd.concat(tables, ignore_index=True)
    if args.csv:
        table.to_csv(args.csv, index=False)
    keys = ["source", "labels", "method"]
    means = table.drop(columns="fold").groupby(keys, sort=False).mean()
    print(means.round(3).to_string())
    record("classifiers", means)


if __name__ == "__main__":
    main()
