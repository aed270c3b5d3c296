"""Held-out scores over folds and seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pandas as pd
from rich.progress import track

from scvi_cae.model import fit_many
from scvi_cae.splits import k_fold

from ._score import score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from scvi_cae.data import Split


def cross_validate(
    mdata: MuData,
    splits: int | Sequence[Split] = 10,
    seeds: Sequence[int] = (0,),
    model_kwargs: Mapping[str, Any] | None = None,
    train_kwargs: Mapping[str, Any] | None = None,
    *,
    labels_key: str | None = None,
    directory: str | Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Score a model and the baselines on held-out cells of every fold, for several seeds.

    The folds' models are trained together (:func:`scvi_cae.fit_many`); everything that is fitted, baselines
    included, sees a fold's training cells only.

    Parameters
    ----------
    mdata
        MuData, set up by :meth:`scvi_cae.CoupledAE.setup_mudata`.
    splits
        Folds, such as those of :mod:`scvi_cae.splits`, with test cells; or the number of folds.
    seeds
        Seeds of each fold's models.
    model_kwargs
        Arguments of :class:`scvi_cae.CoupledAE`.
    train_kwargs
        Arguments of training, as :func:`scvi_cae.fit_many` takes them.
    labels_key
        Column of cells' types, for the type mean; see :func:`scvi_cae.evaluate.score`.
    directory
        Folder in which finished folds are kept. A later call with the same arguments goes on where an interrupted one
        ended.
    progress
        Whether to show a progress bar.

    Returns
    -------
    The rows of :func:`scvi_cae.evaluate.score` with columns ``fold`` and ``seed``; baselines, which have no seed, have
    that of the first model.

    Raises
    ------
    ValueError
        If a split has no test cells, ``directory`` holds the folds of other arguments, or training is refused.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> table = scvi_cae.evaluate.cross_validate(mdata, 3, train_kwargs={"max_epochs": 5}, progress=False)
    >>> table["fold"].unique().tolist()
    [0, 1, 2]
    """
    folds = k_fold(mdata, splits) if isinstance(splits, (int, np.integer)) else list(splits)
    empty = [number for number, split in enumerate(folds) if len(split) < 3 or not len(split[2])]
    if empty:
        raise ValueError(f"Split {empty[0]} has no test cells to score.")
    settings = {
        "folds": [[np.asarray(cells).tolist() for cells in split if cells is not None] for split in folds],
        "seeds": [int(seed) for seed in seeds],
        "model_kwargs": repr(dict(model_kwargs or {})),
        "train_kwargs": repr(dict(train_kwargs or {})),
        "labels_key": labels_key,
        "cells": mdata.obs_names.tolist(),
    }
    kept = None if directory is None else FoldFiles(directory, settings)
    finished = {} if kept is None else kept.read(len(folds))
    missing = [number for number in range(len(folds)) if number not in finished]
    # As many folds at a time as are trained in one pass, so that little is lost by an interruption.
    at_once = max((train_kwargs or {}).get("n_together", 10) // len(seeds), 1)
    blocks = [missing[i : i + at_once] for i in range(0, len(missing), at_once)]
    for block in track(blocks, "Cross-validation", disable=not progress):
        fits = fit_many(
            mdata, [folds[number] for number in block], seeds, [model_kwargs or {}], **(train_kwargs or {})
        )
        for position, number in enumerate(block):
            rows = [
                score(fit.model, folds[number][2], labels_key, baselines=fit.seed == seeds[0]).assign(
                    fold=number, seed=fit.seed
                )
                for fit in fits
                if fit.split == position
            ]
            finished[number] = pd.concat(rows, ignore_index=True)
            if kept is not None:
                kept.write(number, finished[number])
    return pd.concat([finished[number] for number in range(len(folds))], ignore_index=True)


class FoldFiles:
    """A folder with one file for each finished fold, and one that says of what.

    Parameters
    ----------
    directory
        The folder; made if need be.
    settings
        What the folds belong to.

    Raises
    ------
    ValueError
        If the folder holds folds of other settings.
    """

    def __init__(self, directory: str | Path, settings: Mapping[str, Any]) -> None:
        self._folder = Path(directory).expanduser()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "settings.json"
        now = json.loads(json.dumps(settings))
        if path.is_file():
            then = json.loads(path.read_text())
            differing = [name for name in now if now[name] != then.get(name)]
            if differing:
                raise ValueError(
                    f"{self._folder} holds the folds of a call with other {', '.join(differing)}. Give another "
                    "directory, or delete this one."
                )
        else:
            self._replace(path, json.dumps(now))

    def _replace(self, path: Path, text: str) -> None:
        """Write a file in one piece."""
        new = path.with_name(f".{uuid4().hex}")
        new.write_text(text)
        new.replace(path)

    def _path(self, fold: int) -> Path:
        return self._folder / f"fold{fold}.csv"

    def read(self, n_folds: int) -> dict[int, pd.DataFrame]:
        """The finished folds, by number."""
        paths = {fold: self._path(fold) for fold in range(n_folds)}
        # Numbers as text first: pandas' own reading may differ in the last digit.
        tables = {
            fold: pd.read_csv(path, dtype={"value": str}) for fold, path in paths.items() if path.is_file()
        }
        return {fold: table.assign(value=table["value"].astype(float)) for fold, table in tables.items()}

    def write(self, fold: int, table: pd.DataFrame) -> None:
        """Keep a finished fold."""
        self._replace(self._path(fold), table.to_csv(index=False))
