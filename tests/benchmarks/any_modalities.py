"""Modalities, missing values and queries on scala2020, in the ten folds of scala2020_folds.py.

    SCVI_CAE_DATA=... OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2 python tests/benchmarks/any_modalities.py
        EXPERIMENT [--folds 0 1 ...]

three
    rna, ephys and morph in one fit, compared with rna and ephys only; on the held-out cells that have all
    three, ephys from rna with and without morph, and morph from rna with and without ephys, compared with
    ridge regression on the same inputs.
features
    Cross-modal prediction with 0, 25, 50 and 75 % of the source's features missing from held-out cells.
novelty
    How well ``novelty`` distinguishes held-out cells from copies shifted by one standard deviation, and from
    cells whose values are shuffled between cells.
labels
    RNA family and type as labels of half of the training cells.
likelihoods
    Squared error, Gaussian and negative binomial likelihoods.
batches
    Models with and without conditioning on sequencing batches.

Scores are means over folds with their standard deviation; held-out cells select nothing.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections import defaultdict
from typing import TYPE_CHECKING

import mudata
import numpy as np
import pandas as pd
from results import record
from sklearn.metrics import roc_auc_score

import scvi_cae
from scvi_cae.evaluate import RidgeBaseline, foscttm, pooled_r2
from scvi_cae.splits import Split

if TYPE_CHECKING:
    from collections.abc import Callable

FRACTIONS = (0.0, 0.25, 0.5, 0.75)


def folds(mdata: mudata.MuData, numbers: list[int]) -> list[Split]:
    """Ten folds of the cells with transcriptome and electrophysiology; all other cells train."""
    names = scvi_cae.datasets.scala2020()["rna"].obs_names
    cells = mdata.obs_names.get_indexer(names)
    permutation = np.random.RandomState(42).permutation(len(cells))
    size = len(cells) // 10
    tests = [np.sort(cells[permutation[f * size : (f + 1) * size]]) for f in numbers]
    none = np.empty(0, dtype=np.int64)
    return [Split(np.setdiff1d(np.arange(mdata.n_obs), test), none, test) for test in tests]


def has(mdata: mudata.MuData, *modalities: str) -> np.ndarray:
    """Mask of the cells that have all given modalities."""
    return np.all([mdata.obs_names.isin(mdata[name].obs_names) for name in modalities], axis=0)


def r2(model: scvi_cae.CoupledAE, target: str, cells: np.ndarray, prediction: np.ndarray) -> float:
    """Held-out R2 against the training mean."""
    training = model.measured_values(target, indices=model.train_indices)
    mean, spread = np.nanmean(training, axis=0), np.nanstd(training, axis=0)
    spread = np.where(spread == 0, 1.0, spread)
    return pooled_r2(model.measured_values(target, indices=cells), prediction, mean, spread)


def score(model: scvi_cae.CoupledAE, source: str | list[str], target: str, cells: np.ndarray) -> float:
    """Held-out R2 of a model's prediction."""
    return r2(model, target, cells, model.predict(source, target, indices=cells).to_numpy())


def ridge(model: scvi_cae.CoupledAE, sources: list[str], target: str, cells: np.ndarray) -> float:
    """Held-out R2 of ridge regression on the same inputs."""
    train = model.train_indices[has(model.adata, *sources, target)[model.train_indices]]
    inputs = [
        np.concatenate([model.measured_values(s, indices=x) for s in sources], axis=1) for x in (train, cells)
    ]
    fitted = RidgeBaseline().fit(inputs[0], model.measured_values(target, indices=train))
    return r2(model, target, cells, fitted.predict(inputs[1]))


Rows = "Iterator[tuple[str, float]]"


def three(numbers: list[int]) -> Rows:
    full = scvi_cae.datasets.scala2020()
    for modalities in (["rna", "ephys"], ["rna", "ephys", "morph"]):
        scvi_cae.CoupledAE.setup_mudata(full, modalities=modalities)
        label = "+".join(modalities)
        for fit in scvi_cae.fit_many(full, folds(full, numbers)):
            model, test = fit.model, fit.model.test_indices
            yield f"ephys from rna, all test cells | {label}", score(model, "rna", "ephys", test)
            yield f"rna from ephys, all test cells | {label}", score(model, "ephys", "rna", test)
            yield f"ephys from ephys, all test cells | {label}", score(model, "ephys", "ephys", test)
            cells = test[has(full, "rna", "ephys", "morph")[test]]
            yield f"ephys from rna, tri-modal | {label}", score(model, "rna", "ephys", cells)
            if len(modalities) < 3:
                continue
            for sources, target in (
                (["rna", "morph"], "ephys"),
                (["rna"], "morph"),
                (["ephys"], "morph"),
                (["rna", "ephys"], "morph"),
            ):
                name = f"{target} from {'+'.join(sources)}, tri-modal"
                yield f"{name} | {label}", score(model, sources, target, cells)
                yield f"{name} | ridge", ridge(model, sources, target, cells)
            yield "ephys from rna, tri-modal | ridge", ridge(model, ["rna"], "ephys", cells)


def altered(
    model: scvi_cae.CoupledAE, modality: str, change: Callable[[np.ndarray], np.ndarray]
) -> mudata.MuData:
    """Test cells with changed values of one modality, and without the others."""
    query = model.adata[model.test_indices].copy()
    adata = query[modality].copy()
    values = adata.X.toarray() if hasattr(adata.X, "toarray") else np.array(adata.X)
    adata.X = change(values).astype(np.float32)
    return mudata.MuData({modality: adata})


def features(numbers: list[int]) -> Rows:
    full = scvi_cae.datasets.scala2020()
    scvi_cae.CoupledAE.setup_mudata(full, modalities=["rna", "ephys"])
    for fit in scvi_cae.fit_many(full, folds(full, numbers)):
        model, test = fit.model, fit.model.test_indices
        for source, target in (("rna", "ephys"), ("ephys", "rna")):
            for fraction in FRACTIONS:

                def remove(x: np.ndarray, fraction: float = fraction, seed: int = fit.split) -> np.ndarray:
                    rng = np.random.RandomState(seed)
                    x[:, rng.permutation(x.shape[1])[: round(fraction * x.shape[1])]] = np.nan
                    return x

                query = altered(model, source, remove)
                order = query.obs_names.get_indexer(full.obs_names[test])
                prediction = model.predict(source, target, query, indices=order).to_numpy()
                yield f"{target} from {source} | {fraction:.0%} missing", r2(model, target, test, prediction)


def novelty(numbers: list[int]) -> Rows:
    full = scvi_cae.datasets.scala2020()
    scvi_cae.CoupledAE.setup_mudata(full, modalities=["rna", "ephys"])
    splits = [scvi_cae.splits.within(split, 10)[0] for split in folds(full, numbers)]
    for fit in scvi_cae.fit_many(full, splits, monitor=None):
        model, rng = fit.model, np.random.default_rng(fit.split)
        for modality in ("rna", "ephys"):
            spread = model.feature_moments(modality)[1]
            as_is = model.novelty(altered(model, modality, lambda x: x), modality)
            yield (
                f"{modality}: cells with p below 5 % | held out",
                float((as_is["p_value"] < 0.05).mean()),
            )
            for label, change in (
                ("shifted", lambda x, spread=spread: x + spread),
                ("shuffled", lambda x, rng=rng: rng.permuted(x, axis=0)),
            ):
                changed = model.novelty(altered(model, modality, change), modality)
                yield (
                    f"{modality}: cells with p below 5 % | {label}",
                    float((changed["p_value"] < 0.05).mean()),
                )
                truth = np.repeat([0, 1], [len(as_is), len(changed)])
                both = np.concatenate([as_is["distance"], changed["distance"]])
                yield (
                    f"{modality}: AUROC, {label} against held out | novelty",
                    float(roc_auc_score(truth, both)),
                )


def labels(numbers: list[int]) -> Rows:
    full = scvi_cae.datasets.scala2020()
    keys = ["rna_family", "rna_type"]
    known = full.obs[keys].copy()
    half = np.random.RandomState(0).random_sample(full.n_obs) < 0.5
    for label, labels_key in (("no labels", None), ("labels of half of the cells", keys)):
        for split in folds(full, numbers):
            full.obs[keys] = known
            full.obs.loc[full.obs_names[half], keys] = np.nan
            full.obs.loc[full.obs_names[split.test], keys] = np.nan
            scvi_cae.CoupledAE.setup_mudata(full, modalities=["rna", "ephys"], labels_key=labels_key)
            (fit,) = scvi_cae.fit_many(full, [split])
            model, test = fit.model, split.test
            yield f"ephys from rna | {label}", score(model, "rna", "ephys", test)
            yield f"rna from ephys | {label}", score(model, "ephys", "rna", test)
            yield f"ephys from ephys | {label}", score(model, "ephys", "ephys", test)
            latents = [model.get_latent_representation(modality=m, indices=test) for m in ("rna", "ephys")]
            yield f"FOSCTTM | {label}", foscttm(*latents)
            for key in keys if labels_key else []:
                truth = known[key].iloc[test].astype(str).to_numpy()
                for source in ("rna", "ephys"):
                    found = model.predict(source, key, indices=test).idxmax(axis=1).to_numpy()
                    yield f"{key} from {source}, accuracy | {label}", float(np.mean(found == truth))


def likelihoods(numbers: list[int]) -> Rows:
    full = scvi_cae.datasets.scala2020()
    for label, arguments in (
        ("squared error", {}),
        ("gaussian ephys", {"likelihoods": {"ephys": "gaussian"}}),
        ("negative binomial rna", {"likelihoods": {"rna": "negative_binomial"}, "layers": {"rna": "counts"}}),
    ):
        scvi_cae.CoupledAE.setup_mudata(full, modalities=["rna", "ephys"], **arguments)
        for fit in scvi_cae.fit_many(full, folds(full, numbers)):
            test = fit.model.test_indices
            yield f"ephys from rna | {label}", score(fit.model, "rna", "ephys", test)
            yield f"ephys from ephys | {label}", score(fit.model, "ephys", "ephys", test)
            yield f"rna from ephys (own scale) | {label}", score(fit.model, "ephys", "rna", test)
            latents = [
                fit.model.get_latent_representation(modality=m, indices=test) for m in ("rna", "ephys")
            ]
            yield f"FOSCTTM | {label}", foscttm(*latents)


def batches(numbers: list[int]) -> Rows:
    full = scvi_cae.datasets.scala2020()
    for label, batch_key in (("no batches", None), ("sequencing batches", {"rna": "sequencing_batch"})):
        scvi_cae.CoupledAE.setup_mudata(full, modalities=["rna", "ephys"], batch_key=batch_key)
        for fit in scvi_cae.fit_many(full, folds(full, numbers)):
            test = fit.model.test_indices
            yield f"ephys from rna | {label}", score(fit.model, "rna", "ephys", test)
            yield f"rna from ephys | {label}", score(fit.model, "ephys", "rna", test)


EXPERIMENTS = {f.__name__: f for f in (three, features, novelty, labels, likelihoods, batches)}


def main() -> None:
    """Run an experiment and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", choices=EXPERIMENTS)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(10)))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    values = defaultdict(list)
    for name, value in EXPERIMENTS[args.experiment](args.folds):
        values[name].append(value)
    table = pd.DataFrame(
        {"mean": {k: np.mean(v) for k, v in values.items()}, "sd": {k: np.std(v) for k, v in values.items()}}
    )
    print(table.round(3).to_string())
    names = [name.split(" | ") for name in table.index]
    table.index = pd.MultiIndex.from_tuples(names)
    # In the order in which they came; unstack(sort=False) of pandas 2 mixes values up.
    rows, columns = (list(dict.fromkeys(parts)) for parts in zip(*names, strict=True))
    means, deviations = (table[column].unstack().loc[rows, columns] for column in table)
    record(f"modalities, {args.experiment}", means, deviations)


if __name__ == "__main__":
    main()
