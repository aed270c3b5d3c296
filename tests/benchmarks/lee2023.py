"""Subclass of human neurons from their electrophysiology (Lee, Dalley et al. 2023), on donors not trained on.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=1 python tests/benchmarks/lee2023.py [--seeds 0 1 2]

Cells with electrophysiology whose subclass, the third word of the transcriptomic type, has at least 20 of
them: 684 cells with 93 features. One ``Ensemble`` and one ``CoupledAE``, with default settings, have
electrophysiology, morphology (of the fifth of the cells that have it) and the subclass as modalities, others
electrophysiology and the subclass; all predict the subclass from electrophysiology alone. Donors are divided into
three folds with similar shares of the subclasses. A model is trained on all of a fold's other cells, an ensemble in
parts of whole donors. Baselines are fitted to the same cells, on features of which missing values are replaced by the
median, then standardised.

Scores are of the fold's cells that have a feature (all but two). The table has them by fold, averaged over
seeds, which choose parts, weights and trees. ``--inner`` divides the cells of a fold's other donors into three folds
likewise, and scores the first of them instead, to choose a recipe.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from importlib import metadata

import mudata
import numpy as np
import pandas as pd
import scvi
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scvi_cae import CoupledAE, Ensemble, datasets

EPHYS, MORPH, SUBCLASS = "ephys", "morph", "subclass"
MIN_CELLS = 20


def cells_of_large_classes() -> mudata.MuData:
    """Cells with electrophysiology and a subclass of at least ``MIN_CELLS`` of them."""
    full = datasets.lee2023()
    labels = full.obs.loc[full[EPHYS].obs_names, SUBCLASS]
    cells = labels.index[labels.map(labels.value_counts()).astype(int) >= MIN_CELLS]
    mdata = mudata.MuData(
        {
            EPHYS: full[EPHYS][cells].copy(),
            MORPH: full[MORPH][full[MORPH].obs_names.isin(cells)].copy(),
        }
    )
    mdata.obs = full.obs.loc[mdata.obs_names, [SUBCLASS, "donor"]].copy()
    mdata.obs[SUBCLASS] = mdata.obs[SUBCLASS].cat.remove_unused_categories()
    return mdata


def by_model(
    mdata: mudata.MuData, modalities: list[str], train: np.ndarray, test: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Subclasses of test cells as models of these modalities predict them from electrophysiology."""
    CoupledAE.setup_mudata(mdata, modalities=modalities, labels_key=SUBCLASS)
    scvi.settings.seed = seed
    split = [train, None, np.setdiff1d(np.arange(mdata.n_obs), train)]
    model, ensemble = CoupledAE(mdata), Ensemble(mdata)
    model.train(external_indexing=split, enable_progress_bar=False)
    ensemble.train(group_by="donor", external_indexing=split)
    found = {
        "Ensemble": ensemble,
        "CoupledAE": model,
        "mean of networks": Ensemble.from_models(ensemble.models),
    }
    suffix = "" if MORPH in modalities else " without morphology"
    return {
        f"{name}{suffix}": x.predict(EPHYS, SUBCLASS, indices=test).idxmax(axis=1).to_numpy()
        for name, x in found.items()
    }


def main() -> None:
    """Run the folds and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--inner", action="store_true")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "scvi"):
        logging.getLogger(name).setLevel(logging.ERROR)

    mdata = cells_of_large_classes()
    features = mdata[EPHYS].to_df().loc[mdata.obs_names].to_numpy(dtype=float)
    labels, donors = mdata.obs[SUBCLASS].astype(str).to_numpy(), mdata.obs["donor"].astype(str).to_numpy()
    versions = {name: metadata.version(name) for name in ("scvi-cae", "scvi-tools", "torch", "scikit-learn")}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"{features.shape[0]} cells x {features.shape[1]} features, {len(set(donors))} donors;", end=" ")
    print(f"{mdata[MORPH].n_obs} with morphology;", mdata.obs[SUBCLASS].value_counts().to_dict())

    scores = []
    dealt = StratifiedGroupKFold(3, shuffle=True, random_state=0)
    for fold, (train, test) in enumerate(dealt.split(features, labels, donors)):
        if args.inner:
            inner = next(dealt.split(features[train], labels[train], donors[train]))
            train, test = (train[chosen] for chosen in inner)
        test = test[np.isfinite(features[test]).any(axis=1)]
        for seed in args.seeds:
            baselines = {
                "forest": RandomForestClassifier(500, random_state=seed),
                "logistic regression": LogisticRegression(max_iter=5000),
                "majority": DummyClassifier(),
            }
            predictions = {
                **by_model(mdata, [EPHYS, MORPH], train, test, seed),
                **by_model(mdata, [EPHYS], train, test, seed),
            }
            for name, classifier in baselines.items():
                pipeline = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), classifier)
                predictions[name] = pipeline.fit(features[train], labels[train]).predict(features[test])
            for method, predicted in predictions.items():
                accuracy = accuracy_score(labels[test], predicted)
                f1 = f1_score(labels[test], predicted, average="macro", zero_division=0)
                for score, value in (("accuracy", accuracy), ("macro-F1", f1)):
                    scores.append(
                        {"method": method, "score": score, "fold": fold, "seed": seed, "value": value}
                    )
    table = pd.DataFrame(scores).pivot_table(
        index="method", columns=["score", "fold"], values="value", sort=False
    )
    for score in ("accuracy", "macro-F1"):
        print(f"\n{score} by fold\n")
        by_fold = table[score].sort_index(axis=1)
        print(by_fold.assign(mean=by_fold.mean(axis=1)).round(3).to_string())


if __name__ == "__main__":
    main()
