"""Coverage and size of sets of classes for held-out cells of scala2020, like the training cells and shifted.

``python tests/benchmarks/mapping.py`` trains an ensemble of three models without 400 cells, and maps these by ``map_query``'s
sets: calibrated on the training, and recalibrated on 100 of the cells, drawn 200 times, for the other cells. Adaptive sets
(Romano et al. 2020, randomised) are recalibrated on the same cells. Shifted: each feature of electrophysiology is scaled
about its mean, and moved.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import scvi
from results import record

from scvi_cae import Ensemble
from scvi_cae.datasets import scala2020
from scvi_cae.model._class_sets import threshold

N_HELD_OUT, N_LABELLED, N_DRAWS, COVERAGE = 400, 100, 200, 0.9
LABELS = ["rna_family", "rna_type"]


def shifted(values: np.ndarray) -> np.ndarray:
    """Features on other scales, from other origins."""
    rng, mean, std = np.random.default_rng(1), np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    n = values.shape[1]
    return (mean + (values - mean) * rng.uniform(0.7, 1.4, n) + std * rng.normal(0, 0.7, n)).astype(
        np.float32
    )


def adaptive_scores(probabilities: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One less the probability of all classes as probable, a random part of its own left out: high is in the set."""
    order = np.argsort(-probabilities, axis=1)
    ranked = np.take_along_axis(probabilities, order, axis=1)
    scores = np.empty_like(ranked)
    part = rng.random((len(ranked), 1)) * ranked
    np.put_along_axis(scores, order, 1 - (ranked.cumsum(axis=1) - part), axis=1)
    return scores


def coverage_and_size(scores: np.ndarray, probabilities: np.ndarray, truth: np.ndarray, smallest: float):
    """Of sets of the classes whose score reaches a threshold, and the most probable one."""
    inside, rows = scores >= smallest, np.arange(len(truth))
    inside[rows, probabilities.argmax(axis=1)] = True
    return inside[rows, truth].mean(), inside.sum(axis=1).mean()


def recalibrated(scores: np.ndarray, probabilities: np.ndarray, truth: np.ndarray):
    """Mean over draws of the labelled cells."""
    rng, found = np.random.default_rng(0), []
    for _ in range(N_DRAWS):
        order = rng.permutation(len(truth))
        known, others = order[:N_LABELLED], order[N_LABELLED:]
        smallest = threshold(scores[known, truth[known]], COVERAGE)
        found.append(coverage_and_size(scores[others], probabilities[others], truth[others], smallest))
    return np.mean(found, axis=0)


def main() -> None:
    """Train and print."""
    warnings.simplefilter("ignore")
    mdata = scala2020()
    Ensemble.setup_mudata(mdata, modalities=["rna", "ephys"], labels_key=LABELS)
    order = np.random.default_rng(0).permutation(mdata.n_obs)
    test, train = np.sort(order[:N_HELD_OUT]), np.sort(order[N_HELD_OUT:])
    scvi.settings.seed = 0
    ensemble = Ensemble(mdata, 3)
    ensemble.train(max_epochs=30, external_indexing=[train, None, test])
    rows = []
    for moved in (False, True):
        query = Ensemble.prepare_query_mudata(mdata[test].copy(), ensemble)
        if moved:
            query["ephys"].X = shifted(query["ephys"].X)
        data = ensemble.align(query)
        for label in LABELS:
            for sources in (["rna"], ["ephys"], ["rna", "ephys"]):
                has = data[label].present & np.all([data[name].present for name in sources], axis=0)
                cells = np.flatnonzero(has)
                probabilities = ensemble.predict(sources, label, data, cells).to_numpy(dtype=float)
                truth = data[label].values(cells).argmax(axis=1)
                smallest = threshold(ensemble._class_scores(sources, label).to_numpy(), COVERAGE)
                adaptive = adaptive_scores(probabilities, np.random.default_rng(0))
                found = {
                    "": coverage_and_size(probabilities, probabilities, truth, smallest),
                    ", recalibrated": recalibrated(probabilities, probabilities, truth),
                    ", adaptive": recalibrated(adaptive, probabilities, truth),
                }
                rows.append(
                    {"labels": label, "from": " and ".join(sources), "shifted": moved, "n": len(cells)}
                    | {"accuracy": np.mean(probabilities.argmax(axis=1) == truth)}
                    | {
                        f"{name}{how}": x
                        for how, pair in found.items()
                        for name, x in zip(("coverage", "size"), pair, strict=True)
                    }
                )
    table = pd.DataFrame(rows)
    table["shifted"] = np.where(table["shifted"], "shifted", "as measured")
    table = table.set_index(["labels", "from", "shifted"])
    print(table.round(3).to_string())
    record("class sets", table)


if __name__ == "__main__":
    main()
