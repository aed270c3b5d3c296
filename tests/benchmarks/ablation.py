"""Ablation of the default recipe, on cells that train the models of the benchmark.

    SCVI_CAE_DATA=... python tests/benchmarks/ablation.py [--only default "no cross-modal map"] [--folds 0 1 2]

Data are those of ``scala2020_folds.py``. The 120 test cells of its first fold are left out; the other 1,088
cells are divided into ten folds, each of which holds out a tenth. The recipe is thus selected without the
test cells of the first fold. Test cells of the other folds take part in the selection, but never in training
the model that is scored on them. One row for each change of one part: scores of one model.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
from peers import rows_of
from results import record
from scala2020_folds import paired_cells, ten_folds

from scvi_cae.evaluate import cross_validate
from scvi_cae.splits import Split

#: Columns, as in ``peers.py``.
COLUMNS = ["E from T", "T from E", "E from E", "T from T", "FOSCTTM", "family knn E in T"]


def arms(rna: dict[str, Any] | None = None, ephys: dict[str, Any] | None = None) -> dict[str, Any]:
    """Arguments of a model with other settings of its arms."""
    return {"arms": {"rna": rna or {}, "ephys": ephys or {}}}


def both(**settings: Any) -> dict[str, Any]:
    """The same settings for both arms."""
    return arms(settings, settings)


#: Each change: arguments of the model and of the training.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "minimum-variance coupling": ({"coupling_loss": "min_variance"}, {}),
    "coupling 0.1": ({"coupling": 0.1}, {}),
    "coupling 0.4": ({"coupling": 0.4}, {}),
    "no cross-modal map": (both(cross_map=False), {}),
    "electrophysiology: one hidden layer of 64": (arms(ephys={"hidden": (64,)}), {}),
    "genes: input dropout 0.5": (arms({"dropout": 0.5}), {}),
    "no linear path": (both(linear=False), {}),
    "twice as many steps": ({}, {"max_epochs": 200}),
    "latents in the network's axes": ({"latent_axes": "network"}, {}),
    "20 dimensions": ({"n_latent": 20}, {}),
    "5 dimensions": ({"n_latent": 5}, {}),
    "3 dimensions": ({"n_latent": 3}, {}),
}


def inner_folds(position: np.ndarray, numbers: list[int]) -> list[Split]:
    """Folds within the training cells of the first outer fold."""
    (outer,) = ten_folds(position, [0])
    cells = np.random.RandomState(7).permutation(outer.train)
    return [
        Split(np.setdiff1d(cells, cells[number::10]), None, np.sort(cells[number::10])) for number in numbers
    ]


def main() -> None:
    """Run the changes and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--n-jobs", type=int, default=-1, help="processes (default: one for each core)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    pd.set_option("display.width", 0)
    mdata, position = paired_cells()
    folds = inner_folds(position, args.folds)
    rows = {}
    for name in args.only:
        model, train = CHANGES[name]
        table = cross_validate(
            mdata,
            folds,
            [0],
            model,
            train,
            labels_key="rna_type",
            family_key="rna_family",
            baselines=False,
            n_jobs=args.n_jobs,
            progress=False,
        )
        rows[name] = {column: rows_of(table, column)["value"].mean() for column in COLUMNS}
        print(name, {column: round(value, 3) for column, value in rows[name].items()}, flush=True)
    means = pd.DataFrame.from_dict(rows, orient="index")
    print(means.round(3).to_string())
    record("ablation", means)


if __name__ == "__main__":
    main()
