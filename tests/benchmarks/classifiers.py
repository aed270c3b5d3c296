"""Types and families from one modality on held-out cells of real Patch-seq data (Scala et al. 2021).

    SCVI_CAE_DATA=... python tests/benchmarks/classifiers.py [--folds 0 1 2]

Data and folds are those of ``scala2020_folds.py``. Accuracy and macro-F1 are over all test cells; the log-loss is over
those whose type occurs among the training cells. Settings of the classifiers were chosen on cells that are in no test
fold of 0 to 2. Extremely randomised trees are for reference.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from scala2020_folds import paired_cells, ten_folds
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.metrics import f1_score

from scvi_cae.evaluate import DiscriminantBaseline, LogisticBaseline


class Trees:
    """Extremely randomised trees, with the methods of a classifier of the package."""

    def fit(self, source: np.ndarray, labels: np.ndarray) -> Trees:
        self._trees = ExtraTreesClassifier(500, random_state=0).fit(source, labels)
        self.classes_ = list(self._trees.classes_)
        return self

    def predict(self, source: np.ndarray) -> np.ndarray:
        return self._trees.predict_proba(source)


CLASSIFIERS = {
    "logistic": LogisticBaseline,
    "kernel logistic": lambda: LogisticBaseline(gamma=0.1),
    "discriminant": DiscriminantBaseline,
    "extra trees": Trees,
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


def main() -> None:
    """Run the folds and print the mean of each score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    mdata, position = paired_cells()
    rows = []
    for fold, split in zip(args.folds, ten_folds(position, args.folds), strict=True):
        for source in ("rna", "ephys"):
            values = mdata[source][mdata.obs_names].to_df().to_numpy()
            for labels in ("rna_type", "rna_family"):
                names = mdata.obs[labels].astype(str).to_numpy()
                for name, make in CLASSIFIERS.items():
                    start = time.perf_counter()
                    fitted = make().fit(values[split.train], names[split.train])
                    seconds = time.perf_counter() - start
                    found = scores(fitted.predict(values[split.test]), fitted.classes_, names[split.test])
                    call = {"source": source, "labels": labels, "method": name, "fold": fold}
                    rows.append(call | found | {"seconds": seconds})
    keys = ["source", "labels", "method"]
    table = pd.DataFrame(rows).drop(columns="fold").groupby(keys, sort=False).mean()
    print(table.round(3).to_string())


if __name__ == "__main__":
    main()
