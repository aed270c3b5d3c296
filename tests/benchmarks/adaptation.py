"""Another laboratory's cells with few pairs: alignment, adaptation, recalibrated intervals, and a regression on the pairs.

    SCVI_CAE_DATA=... python tests/benchmarks/adaptation.py [--folds 10 11 12 13]

Of scala2020, 450 cells with both modalities are the query: another rig is simulated, which multiplies each feature of
electrophysiology by 0.75 or 1.3 and moves it by a normal number of 0.5 standard deviations. The others train the
reference. 200 cells of the query have electrophysiology, and the first n of these transcriptomes, too; predictions are of
the 250 others. The strength of the penalty was chosen on folds 0 to 3, which these overlap. R² is relative to the mean of the 200 (for genes, of the reference); times and intervals are of 90 %.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from typing import Any

import anndata
import mudata
import numpy as np
import pandas as pd
import scvi
from results import record
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

import scvi_cae
from scvi_cae import CoupledAE, Ensemble

N_QUERY, N_EPHYS = 450, 200
SIZES = [0, 30, 100, 200]
QUANTILES = [0.05, 0.95]


def explained(truth: pd.DataFrame, found: pd.DataFrame, mean: pd.Series, spread: pd.Series) -> float:
    """R², pooled over cells and features."""
    known = truth.notna().to_numpy()
    errors = ((truth - found) / spread).to_numpy()[known] ** 2
    return float(1 - errors.sum() / (((truth - mean) / spread).to_numpy()[known] ** 2).sum())


def inside(truth: pd.DataFrame, table: pd.DataFrame) -> float:
    """Share of the values in their intervals."""
    lower, upper = (table.xs(q, axis=1, level="quantile") for q in QUANTILES)
    known = truth.notna().to_numpy()
    return float(((truth >= lower) & (truth <= upper)).to_numpy()[known].mean())


def fold(number: int) -> list[dict[str, Any]]:
    """Scores on one set of query cells."""
    mdata = scvi_cae.datasets.scala2020()
    rna, ephys = mdata["rna"], mdata["ephys"]
    rng = np.random.RandomState(number)
    both = ephys.obs_names.intersection(rna.obs_names)
    both = both[rng.permutation(len(both))]
    measured, others = both[:N_EPHYS], both[N_EPHYS:N_QUERY]
    reference = mudata.MuData({"rna": rna[both[N_QUERY:]].copy(), "ephys": ephys[both[N_QUERY:]].copy()})
    CoupledAE.setup_mudata(reference)
    values = ephys.to_df().loc[both]
    factor = rng.choice([0.75, 1.3], values.shape[1])
    values = values * factor + rng.normal(0, 0.5, values.shape[1]) * values.std()
    mean, spread = values.loc[measured].mean(), values.loc[measured].std()
    models = {}
    for kind in (CoupledAE, Ensemble):
        scvi.settings.seed = number
        models[kind] = kind(reference)
        models[kind].train(**({} if kind is Ensemble else {"monitor": None, "enable_progress_bar": False}))
    rows = []

    def score(n: int, method: str, model: CoupledAE | Ensemble, query: mudata.MuData, seconds: float) -> None:
        found = model.predict("rna", "ephys", query).loc[others]
        genes = rna[others].to_df()
        moments = [pd.Series(x, genes.columns) for x in models[CoupledAE].feature_moments("rna")]
        row = {"pairs": n, "method": method, "seconds": seconds}
        row["E from T"] = explained(values.loc[others], found, mean, spread)
        aligned = query.uns["scvi_cae_query"]["ephys"].get("alignment")
        told = values.loc[others]
        if aligned is not None:
            told = told * aligned["factor"].to_numpy() + aligned["shift"].to_numpy()
        told = mudata.MuData({"ephys": anndata.AnnData(told.astype(np.float32))})
        row["T from E"] = explained(
            genes, model.predict("ephys", "rna", told), moments[0], moments[1].clip(lower=1e-3)
        )
        if "adapted" not in method:
            intervals = model.predict("rna", "ephys", query, quantiles=QUANTILES).loc[others]
            row["coverage"] = inside(values.loc[others], intervals)
        if "adapted" not in method and n:
            intervals = model.predict("rna", "ephys", query, quantiles=QUANTILES, recalibrate=True)
            row["recalibrated"] = inside(values.loc[others], intervals.loc[others])
        rows.append(row)

    for n in SIZES:
        cells = {
            "rna": rna[measured[:n].union(others, sort=False)].copy(),
            "ephys": anndata.AnnData(values.loc[measured].astype(np.float32)),
        }
        for kind, model in models.items():
            query = kind.prepare_query_mudata(mudata.MuData(cells), model)
            score(n, f"{kind.__name__}, as is", model, query, 0)
            start = time.perf_counter()
            aligned = model.align_query(query)
            score(n, f"{kind.__name__}, aligned", model, aligned, time.perf_counter() - start)
            if kind is CoupledAE:
                # The other cells' transcriptomes take no part.
                learnt = aligned[measured].copy()
                learnt.mod["rna"] = learnt["rna"][learnt["rna"].obs_names.isin(measured[:n])].copy()
                if not n:
                    del learnt.mod["rna"]
                learnt.update()
                adapted = CoupledAE.load_query_data(learnt, model)
                scvi.settings.seed = number
                start = time.perf_counter()
                adapted.train(enable_progress_bar=False, train_size=1.0, monitor=None)
                score(n, "CoupledAE, aligned and adapted", adapted, aligned, time.perf_counter() - start)
        if n:
            scaler = StandardScaler().fit(rna[measured[:n]].to_df())
            told = ((values.loc[measured[:n]] - mean) / spread).fillna(0)
            fit = RidgeCV(np.logspace(0, 6, 13)).fit(scaler.transform(rna[measured[:n]].to_df()), told)
            found = pd.DataFrame(fit.predict(scaler.transform(rna[others].to_df())), others, values.columns)
            r2 = explained(values.loc[others], found * spread + mean, mean, spread)
            rows.append({"pairs": n, "method": "ridge on the pairs alone", "E from T": r2})
    return rows


def main() -> None:
    """Print means over folds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folds", type=int, nargs="+", default=[10, 11, 12, 13])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    pd.set_option("display.width", 0)
    table = pd.DataFrame([row for number in args.folds for row in fold(number)])
    means = table.groupby(["pairs", "method"], sort=False).mean()
    print(means.round(3).to_string())
    record("adaptation", means)


if __name__ == "__main__":
    main()
