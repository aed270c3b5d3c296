"""All methods that predict one modality from the other, on the same held-out cells of real Patch-seq data.

    SCVI_CAE_DATA=... python tests/benchmarks/peers.py          # the whole table, under 90 minutes on 2 cores
    SCVI_CAE_DATA=... python tests/benchmarks/peers.py --quick  # two folds, under 5 minutes
    SCVI_CAE_DATA=... python tests/benchmarks/peers.py --baselines-only --splits random
    SCVI_CAE_DATA=... python tests/benchmarks/peers.py --n-latent 3 --seeds 0 --directory results

Data and folds (``--splits random``) are those of ``scala2020_folds.py``: 1,208 cells of Scala et al. (2021)
with 1,286 genes and 29 electrophysiological features, ten folds of 120 test cells. Everything is fitted to
the fold's training cells only: standardisation, principal components, penalties and epochs. ``mouse`` and
``type`` are ten folds of whole mice and of whole transcriptomic types, none of whose cells are training
cells; these use the first seed only.

For each kind of split, two tables: the mean of each method's scores over folds with the standard deviation
between folds, seeds averaged first (scores: ``scvi_cae.evaluate.score``); and the default model, alone and as
an ensemble, against the best baseline for each score, paired by fold (``scvi_cae.evaluate.compare``), of those that are
given the test cell's type as little as the model, or as much. The best baseline is selected on the test folds themselves,
which favours it.

Methods of other packages (``external.py``) are run if they are installed (``pip install --group benchmark``),
on random folds only. On random folds, models of the first seed are also trained with the types of the
training cells as a modality of labels; their rows that end in "given the type" are predictions from the
source and the test cell's type.

``--directory`` keeps finished folds, from which an interrupted run resumes.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from importlib import metadata, util
from pathlib import Path
from typing import Any

import pandas as pd
from external import CCAZooBaseline, MOFABaseline, UniVIBaseline
from results import record
from scala2020_folds import paired_cells, ten_folds

from scvi_cae import CoupledAE, splits
from scvi_cae.evaluate import compare, cross_validate

#: Baselines that use the source only, or the source of the reconstruction.
FROM_SOURCE = [
    "ridge",
    "kernel ridge",
    "tuned kernel ridge",
    "bagged kernel ridge",
    "srrr",
    "cca",
    "cca own decoder",
    "rcca",
    "rcca own decoder",
    "weighted cca",
    "pca",
]
#: Baselines that are given the cell's family or type.
FROM_LABELS = [
    "family mean",
    "type mean",
    "shrunk type mean",
    "ridge + type mean",
    "kernel ridge + type mean",
    "bagged kernel ridge + type mean",
]
#: Methods of other packages, and the modules that they need.
PEERS = {"mofa": "mofapy2", "cca-zoo": "cca_zoo", "univi": "univi"}
RNA, EPHYS = "rna", "ephys"
#: Columns of the table: metric, source and target.
COLUMNS = {
    "E from T": ("r2", RNA, EPHYS),
    "beyond family": ("r2 beyond family", RNA, EPHYS),
    "beyond type": ("r2 beyond type", RNA, EPHYS),
    "correlation": ("correlation", RNA, EPHYS),
    "T from E": ("r2", EPHYS, RNA),
    "E from E": ("r2", EPHYS, EPHYS),
    "T from T": ("r2", RNA, RNA),
    "FOSCTTM": ("foscttm", None, None),
    "top-1 T in E": ("top-1", RNA, EPHYS),
    "top-10 T in E": ("top-10", RNA, EPHYS),
    "top-10 E in T": ("top-10", EPHYS, RNA),
    "family knn E in T": ("family knn", EPHYS, RNA),
    "family knn T in E": ("family knn", RNA, EPHYS),
    "type knn E in T": ("type knn", EPHYS, RNA),
}
#: Columns in which the model is compared with the best baseline.
TESTED = ["E from T", "beyond family", "T from E", "FOSCTTM", "family knn E in T", "family knn T in E"]
LOWER_IS_BETTER = {"foscttm"}
#: End of the names of methods that are given the type.
GIVEN_TYPE = " given the type"


def rows_of(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows of the scores in a column."""
    metric, source, target = COLUMNS[column]
    rows = table[table["metric"] == metric]
    return rows if source is None else rows[(rows["source"] == source) & (rows["target"] == target)]


def summary(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean and standard deviation over folds of each method and column."""
    means, deviations = {}, {}
    for column in COLUMNS:
        folds = rows_of(table, column).groupby(["method", "fold"], sort=False)["value"].mean().unstack("fold")
        means[column], deviations[column] = folds.mean(axis=1), folds.std(axis=1)
    methods = table["method"].unique()
    return pd.DataFrame(means).reindex(methods), pd.DataFrame(deviations).reindex(methods)


def against_best(table: pd.DataFrame, ours: list[str], baselines: list[str]) -> pd.DataFrame:
    """Paired comparisons of our methods with the best of some baselines."""
    results = []
    for column in TESTED:
        rows, metric = rows_of(table, column), COLUMNS[column][0]
        means = rows[rows["method"].isin(baselines)].groupby("method")["value"].mean()
        methods = [method for method in ours if method in set(rows["method"])]
        if means.empty:
            continue
        lower, folds = metric in LOWER_IS_BETTER, rows["fold"].unique()
        best = means.idxmin() if lower else means.idxmax()
        for method in methods:
            result = compare(rows, method, best, metric).reset_index(drop=True)
            won = len(folds) - result["n_better"] if lower else result["n_better"]
            results.append(result.assign(score=column, method=method, best=best, won=won))
    if not results:
        return pd.DataFrame()
    out = pd.concat(results).drop(columns=["n_folds", "n_better"]).set_index(["score", "method", "best"])
    return out.rename(columns={"a": "ours", "b": "theirs"})


def main() -> None:
    """Run the folds and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two random folds, one seed, no other packages")
    parser.add_argument(
        "--splits", nargs="+", choices=["random", "mouse", "type"], default=["random", "mouse", "type"]
    )
    parser.add_argument(
        "--folds", type=int, nargs="+", default=list(range(10)), help="numbers of folds to run"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of ensembles")
    parser.add_argument("--n-models", type=int, default=5, help="members of an ensemble (default 5)")
    parser.add_argument(
        "--n-latent",
        type=int,
        default=10,
        help="dimensions of models, CCA, PCA, cca-zoo and UniVI (default 10)",
    )
    parser.add_argument("--model", type=json.loads, default={}, help="arguments of CoupledAE, as JSON")
    parser.add_argument("--train", type=json.loads, default={}, help="arguments of fit_many, as JSON")
    parser.add_argument("--baselines", nargs="+", help="names of baselines (default: all)")
    parser.add_argument("--baselines-only", action="store_true", help="train no models")
    parser.add_argument("--n-jobs", type=int, default=-1, help="processes (default: one for each core)")
    parser.add_argument("--directory", type=Path, help="folder for finished folds and all scores")
    args = parser.parse_args()
    if args.quick:
        args.splits, args.folds, args.seeds = ["random"], args.folds[:2], args.seeds[:1]
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    pd.set_option("display.width", 0)

    versions = {name: metadata.version(name) for name in ("scvi-cae", "scvi-tools", "torch", "scikit-learn")}
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    installed = [name for name, module in PEERS.items() if util.find_spec(module)]
    absent = [name for name in PEERS if name not in installed]
    peers = {
        "mofa": MOFABaseline(),
        "cca-zoo": CCAZooBaseline(args.n_latent),
        "univi": UniVIBaseline(args.n_latent),
    }
    if absent:
        print(
            f"Not installed, so not in the table: {', '.join(absent)}. Install with "
            "pip install --group benchmark."
        )
    mdata, position = paired_cells()
    for kind in args.splits:
        if kind == "random":
            folds = ten_folds(position, args.folds)
        else:
            every = splits.k_fold(mdata, 10, group_by={"mouse": "mouse", "type": "rna_type"}[kind])
            folds = [every[number] for number in args.folds]
        names = args.baselines or [
            *FROM_SOURCE,
            *FROM_LABELS,
            *(installed if kind == "random" and not args.quick else []),
        ]
        start = time.perf_counter()
        shared: dict[str, Any] = {
            "labels_key": "rna_type",
            "family_key": "rna_family",
            "n_models": args.n_models,
            "n_jobs": args.n_jobs,
        }
        table = cross_validate(
            mdata,
            folds,
            args.seeds if kind == "random" else args.seeds[:1],
            {"n_latent": args.n_latent, **args.model},
            args.train,
            baselines={name: peers.get(name, name) for name in names},
            models=not args.baselines_only,
            directory=None if args.directory is None else args.directory / kind,
            **shared,
        )
        if kind == "random" and not args.baselines_only:
            labelled = mdata.copy()
            CoupledAE.setup_mudata(labelled, modalities=[RNA, EPHYS], labels_key="rna_type")
            given = cross_validate(
                labelled,
                folds,
                args.seeds[:1],
                {"n_latent": args.n_latent, **args.model},
                args.train,
                baselines=False,
                directory=None if args.directory is None else args.directory / "given_type",
                **shared,
            )
            given = given[given["source"].str.endswith(" + rna_type")]
            given = given.assign(
                method=given["method"] + GIVEN_TYPE, source=given["source"].str.removesuffix(" + rna_type")
            )
            table = pd.concat([table, given], ignore_index=True)
        minutes = (time.perf_counter() - start) / 60
        if args.directory is not None:
            table.to_csv(args.directory / f"{kind}.csv", index=False)
        print(
            f"\n{kind} folds: {len(folds)}; mean (standard deviation between folds); {minutes:.0f} minutes\n"
        )
        means, deviations = summary(table)
        text = means.map("{:.3f}".format) + deviations.map(" ({:.3f})".format)
        print(text.where(means.notna(), "").to_string())
        name = f"{kind} folds" if args.n_latent == 10 else f"{kind} folds, {args.n_latent} dimensions"
        others = means.index.isin(list(PEERS))
        record(name, means[~others], deviations[~others])
        if others.any():
            packages = [PEERS[method].replace("_", "-") for method in means.index[others]]
            record(f"{name}, other packages", means[others], deviations[others], packages)
        ours = [name for name in table["method"].unique() if name.startswith(("CoupledAE", "Ensemble"))]
        with_type = [name for name in ours if name.endswith(GIVEN_TYPE)]
        from_source = [name for name in ours if name not in with_type]
        for what, methods, baselines in (
            ("", from_source, [*FROM_SOURCE, *PEERS]),
            (", given the type", with_type, FROM_LABELS),
        ):
            tests = against_best(table, methods, baselines)
            if len(tests):
                print(f"\nAgainst the best baseline{what}, paired by fold\n")
                print(tests.round(4).to_string())
                record(f"{name}, paired{what}", tests)


if __name__ == "__main__":
    main()
