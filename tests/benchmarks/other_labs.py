"""Families of another laboratory's neurons from their electrophysiology, on real data.

    SCVI_CAE_DATA=... python tests/benchmarks/other_labs.py [--to V1 M1 simulated warnings] [--seeds 0 1 2]

Data are ``m1_v1_same_features``: 23 features that one code computed on neurons of mouse motor cortex (M1, Scala et al.)
and visual cortex (V1, Gouwens et al.; another laboratory, rig and temperature), of the five inhibitory families. The
reference of ``V1`` is trained on M1's transcriptomes, electrophysiology and families; that of ``M1``, on which methods were
chosen, on 1,200 of V1's cells without transcriptomes. ``simulated`` queries are other cells of V1 whose features have
random factors and shifts, of all or few families; ``warnings`` counts which queries ``prepare_query_mudata`` warns of.
With labels, ``RandomState(s).permutation(cells)[:n]``, s = 0..9, have one; scores are of the others.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
import warnings
from pathlib import Path

import anndata
import mudata
import numpy as np
import pandas as pd
import scvi
from results import record
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

import scvi_cae
from scvi_cae import CoupledAE, Ensemble

FAMILIES = ["Lamp5", "Pvalb", "Sncg", "Sst", "Vip"]
METHODS = ["moments", "ranks", "class_balanced"]
SIZES = [30, 100, 300]


def cells() -> dict[str, tuple[pd.DataFrame, np.ndarray]]:
    """Electrophysiology and families of the inhibitory cells of both areas."""
    folder = Path(os.environ["SCVI_CAE_DATA"])
    tables = {
        area: pd.read_csv(folder / "m1_v1_same_features" / f"{area}_features.csv", index_col=0)
        for area in ("M1", "V1")
    }
    metadata = pd.read_csv(folder / "gouwens2020" / "20200711_patchseq_metadata_mouse.csv")
    types = metadata.set_index("ephys_session_id")["t_type"]
    families = {
        "M1": scvi_cae.datasets.scala2020().obs["rna_family"].reindex(tables["M1"].index).astype(object),
        "V1": types.reindex(tables["V1"].index).astype(str).str.split().str[0],
    }
    shared = [name for name in tables["M1"] if name in tables["V1"]]
    out = {}
    for area, table in tables.items():
        known = families[area].isin(FAMILIES).to_numpy()
        out[area] = (
            table.loc[known, shared].set_axis(table.index[known].astype(str)),
            families[area][known].to_numpy(dtype=str),
        )
    return out


def as_mudata(table: pd.DataFrame, families: np.ndarray | None = None) -> mudata.MuData:
    """Electrophysiology, with families if they are known."""
    mdata = mudata.MuData({"ephys": anndata.AnnData(table.astype(np.float32))})
    if families is not None:
        mdata.obs["family"] = pd.Categorical(families)
    return mdata


def train(mdata: mudata.MuData, seed: int, kind: type) -> CoupledAE | Ensemble:
    """A reference of all cells."""
    CoupledAE.setup_mudata(mdata, labels_key="family")
    scvi.settings.seed = seed
    model = kind(mdata)
    if kind is Ensemble:
        model.train()
    else:
        model.train(train_size=1.0, monitor=None, enable_progress_bar=False)
    return model


def m1_reference(seed: int, kind: type, table: pd.DataFrame, families: np.ndarray) -> CoupledAE | Ensemble:
    """A reference of M1's transcriptomes, electrophysiology and families."""
    rna = scvi_cae.datasets.scala2020()["rna"]
    mdata = mudata.MuData(
        {
            "rna": rna[rna.obs_names.isin(table.index)].copy(),
            "ephys": anndata.AnnData(table.astype(np.float32)),
        }
    )
    mdata.obs["family"] = pd.Series(families, index=table.index).reindex(mdata.obs_names).astype("category")
    return train(mdata, seed, kind)


def row(truth: np.ndarray, given: np.ndarray, by_class: bool = False) -> dict[str, float]:
    """Accuracy and macro-F1, and F1 of each family."""
    names = sorted(set(truth))
    f1 = f1_score(truth, given, average=None, labels=names, zero_division=0)
    out = {"accuracy": float((truth == given).mean()), "macro-F1": float(f1.mean())}
    return out | (dict(zip(names, f1.tolist(), strict=True)) if by_class else {})


def prepared(
    model: CoupledAE | Ensemble, table: pd.DataFrame, labels: np.ndarray | None = None
) -> mudata.MuData:
    """A query, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return type(model).prepare_query_mudata(as_mudata(table, labels), model)


def by_model(model: CoupledAE | Ensemble, table: pd.DataFrame, families: np.ndarray) -> dict[str, dict]:
    """Scores without labels of the query, as it is and aligned."""
    query = prepared(model, table)
    out = {}
    for method in ("as is", *METHODS):
        aligned = query if method == "as is" else model.align_query(query, method)
        given = model.map_query(aligned, source="ephys")["family"].astype(str)
        out[f"{type(model).__name__}, {method}"] = row(families, given[table.index].to_numpy(), True)
    return out


def regression(x: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Classes by logistic regression."""
    return LogisticRegression(max_iter=5000).fit(x, y).predict(query)


def by_regression(reference: tuple, query: tuple) -> dict[str, dict]:
    """Scores of logistic regression, as is, standardised, on ranks, and with classes balanced."""
    (x, y), (q, truth) = ((table.to_numpy(float), families) for table, families in (reference, query))
    scaler = StandardScaler().fit(x)
    z, own = scaler.transform(x), StandardScaler().fit_transform(q)
    out = {
        "majority": row(truth, np.full(len(truth), max(set(truth), key=list(truth).count)), True),
        "logistic regression, as is": row(truth, regression(z, y, scaler.transform(q)), True),
        "logistic regression, standardised": row(truth, regression(z, y, own), True),
    }
    ranks = np.column_stack(
        [np.quantile(z[:, j], pd.Series(q[:, j]).rank(pct=True)) for j in range(q.shape[1])]
    )
    out["logistic regression, ranks"] = row(truth, regression(z, y, ranks), True)
    classes = np.array(sorted(set(y)))

    def balanced(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        weights = (weights / weights.sum(0)).mean(1)
        mean = weights @ values
        return (values - mean) / np.sqrt(weights @ (values - mean) ** 2)

    fit = LogisticRegression(max_iter=5000).fit(balanced(x, (y[:, None] == classes).astype(float)), y)
    values = own
    for _ in range(10):
        values = balanced(q, fit.predict_proba(values))
    out["logistic regression, classes balanced"] = row(truth, fit.predict(values), True)
    return out


def with_labels(model: Ensemble, table: pd.DataFrame, families: np.ndarray) -> pd.DataFrame:
    """Scores with some labelled cells of the query, beside a regression on these alone, and coverage of sets."""
    z = StandardScaler().fit_transform(table)
    aligned = model.align_query(prepared(model, table))
    rows = []
    for n in SIZES:
        for s in range(10):
            order = np.random.RandomState(s).permutation(len(table))
            known, rest = order[:n], order[n:]
            labels = np.full(len(table), None, dtype=object)
            labels[known] = families[known]
            aligned.obs["family"] = pd.Series(labels, index=table.index).reindex(aligned.obs_names)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = model.map_query(aligned, source="ephys").loc[table.index].iloc[rest]
            sets = found["family_set"].astype(str).str.split(" | ", regex=False)
            inside = np.mean([family in names for family, names in zip(families[rest], sets, strict=True)])
            scores = row(families[rest], found["family"].astype(str).to_numpy())
            rows.append(
                {"n": n, "method": "map_query", **scores, "coverage": inside, "size": sets.str.len().mean()}
            )
            alone = regression(z[known], families[known], z[rest])
            rows.append({"n": n, "method": "logistic regression", **row(families[rest], alone)})
    return pd.DataFrame(rows).groupby(["n", "method"]).mean()


def area(target: str, seeds: list[int]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Map the cells of one area by a reference of the other."""
    data = cells()
    query = data[target]
    if target == "V1":
        reference = data["M1"]
        fit = m1_reference
    else:
        some = np.random.RandomState(0).permutation(len(data["V1"][0]))[:1200]
        reference = (data["V1"][0].iloc[some], data["V1"][1][some])

        def fit(seed: int, kind: type, table: pd.DataFrame, families: np.ndarray) -> CoupledAE | Ensemble:
            return train(as_mudata(table, families), seed, kind)

    scores = {name: [values] for name, values in by_regression(reference, query).items()}
    with_some = []
    for seed in seeds:
        for kind in (CoupledAE, Ensemble):
            model = fit(seed, kind, *reference)
            for name, values in by_model(model, *query).items():
                scores.setdefault(name, []).append(values)
            if kind is Ensemble:
                start = time.perf_counter()
                labelled = with_labels(model, *query)
                seconds = time.perf_counter() - start
                print(f"\n{target}, with n labelled cells, seed {seed} ({seconds:.0f} s)")
                print(labelled.round(3).to_string(), flush=True)
                with_some.append(labelled)
    table = pd.DataFrame({name: pd.DataFrame(found).mean() for name, found in scores.items()}).T
    print(f"\n{target} by a reference of the other area\n{table.round(3).to_string()}", flush=True)
    return table, pd.concat(with_some).groupby(level=[0, 1]).mean()


def simulated(seeds: list[int]) -> None:
    """Other cells of V1 with random factors and shifts, and as they are."""
    table, families = cells()["V1"]
    order = np.random.RandomState(0).permutation(len(table))
    some, others = order[:1200], order[1200:]
    rows = []
    for seed in seeds:
        model = train(as_mudata(table.iloc[some], families[some]), seed, Ensemble)
        rng = np.random.RandomState(seed)
        factor = rng.choice([0.75, 1.3], table.shape[1])
        shift = rng.normal(0, 0.5, table.shape[1]) * table.std().to_numpy()
        for kinds in (FAMILIES, ["Pvalb", "Sst"], ["Lamp5", "Vip"], ["Pvalb"], ["Sst"], ["Vip"]):
            chosen = others[np.isin(families[others], kinds)][:400]
            for what, x in (
                ("as measured", table.iloc[chosen]),
                ("shifted", table.iloc[chosen] * factor + shift),
            ):
                for name, values in by_model(model, x, families[chosen]).items():
                    which = "all" if kinds is FAMILIES else " + ".join(kinds)
                    rows.append((what, which, name.removeprefix("Ensemble, "), values["accuracy"]))
    found = pd.DataFrame(rows, columns=["query", "families", "method", "accuracy"])
    means = found.groupby(["query", "families", "method"])["accuracy"].mean().unstack([2, 0])
    means = means.loc[found["families"].unique()]
    print(means.round(3).to_string())
    record("other laboratories, simulated", means.set_axis([", ".join(name) for name in means], axis=1))


def warned(n_draws: int = 100) -> None:
    """Share of queries that are called shifted, of all, two and one families."""
    table, families = cells()["V1"]
    order = np.random.RandomState(0).permutation(len(table))
    model = train(as_mudata(table.iloc[order[:1200]], families[order[:1200]]), 0, CoupledAE)
    distribution = model.fitted.distributions["ephys"]
    values, others = table.to_numpy(float), order[1200:]
    times = [j for j, name in enumerate(table) if "width" in name or name == "latency"]
    rows = []
    for n in (9, 50, 300):
        for draw in range(n_draws):
            rng = np.random.RandomState(draw)
            for n_families in (5, 2, 1):
                kinds = rng.choice(FAMILIES, n_families, replace=False)
                pool = others[np.isin(families[others], kinds)]
                if len(pool) < n:
                    continue
                x, six = (
                    values[rng.choice(pool, n, replace=False)],
                    rng.choice(values.shape[1], 6, replace=False),
                )
                changed = {
                    name: x.copy() for name in ("none", "gain 1.3", "offset .5 sd", "times x 1.5", "volts")
                }
                changed["gain 1.3"][:, six] *= 1.3
                changed["offset .5 sd"][:, six] += 0.5 * values.std(0)[six]
                changed["times x 1.5"][:, times] *= 1.5
                changed["volts"] /= 1000
                rows += [(name, n_families, n, distribution.shift(y).found) for name, y in changed.items()]
    found = pd.DataFrame(rows, columns=["shift", "families", "cells", "share"])
    means = found.groupby(["shift", "families", "cells"], sort=False)["share"].mean().unstack()
    print(means.round(3).to_string())
    record("other laboratories, warnings", means)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ["V1", "M1", "simulated", "warnings"]
    parser.add_argument("--to", nargs="+", default=parts, choices=parts)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    pd.set_option("display.width", 0)
    areas = {part: area(part, args.seeds) for part in args.to if part in ("V1", "M1")}
    if areas:
        tables, labelled = (
            pd.concat(dict(zip(areas, found, strict=True)), axis=1)
            for found in zip(*areas.values(), strict=True)
        )
        for name, table in {"": tables, ", labelled": labelled}.items():
            columns = [f"{score}, {to}" for to, score in table]
            record(f"other laboratories{name}", table.set_axis(columns, axis=1))
    for part in args.to:
        if part == "simulated":
            simulated(args.seeds)
        elif part == "warnings":
            warned()


if __name__ == "__main__":
    main()
