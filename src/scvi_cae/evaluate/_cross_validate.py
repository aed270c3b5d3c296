"""Held-out scores over folds and seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pandas as pd
from rich.progress import track

from scvi_cae.data import obs_column
from scvi_cae.model import Ensemble, fit_many
from scvi_cae.splits import k_fold

from ._held_out import METRICS, check_metrics
from ._registry import resolve
from ._score import score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from scvi_cae.data import Split

    from ._registry import Level


def cross_validate(
    mdata: MuData,
    splits: int | Sequence[Split] = 10,
    seeds: Sequence[int] = (0,),
    model_kwargs: Mapping[str, Any] | None = None,
    train_kwargs: Mapping[str, Any] | None = None,
    *,
    labels_key: str | None = None,
    family_key: str | None = None,
    baselines: bool | Sequence[Any] | Mapping[str, Any] = True,
    metrics: Sequence[str] = METRICS,
    per_feature: bool = False,
    n_models: int = 1,
    models: bool = True,
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
    labels_key, family_key, baselines, metrics, per_feature
        As in :func:`scvi_cae.evaluate.score`; metrics are all but those of intervals by default.
    n_models
        Number of models of each seed that predict together, besides being scored one by one: with 5, seed 0 stands for
        models 0 to 4, seed 1 for models 5 to 9.
    models
        Whether to train and score models; without, the baselines alone, for which ``model_kwargs`` say how many
        dimensions (``n_latent``) and which pairs.
    directory
        Folder in which finished folds are kept. A later call with the same arguments goes on where an interrupted one
        ended.
    progress
        Whether to show a progress bar.

    Returns
    -------
    The rows of :func:`scvi_cae.evaluate.score` with columns ``fold`` and ``seed``; baselines, which have no seed, have
    that of the first model. With ``n_models``, rows of method ``"Ensemble"`` have the seed, and those of
    single models their own. :func:`compare` compares two methods.

    Raises
    ------
    ValueError
        If a split has no test cells, or tests cells that it trains on or validates with; if ``directory`` holds the
        folds of other arguments, there is no such baseline or metric, or training is refused.
    KeyError, ImportError
        As :func:`scvi_cae.evaluate.score` does.

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
    _check_folds(folds, mdata.n_obs)
    check_metrics(metrics)
    if n_models < 1:
        raise ValueError(f"n_models={n_models} must be at least 1.")
    keys: dict[Level, str | None] = {"family": family_key, "type": labels_key}
    for key in filter(None, keys.values()):
        obs_column(mdata, key)  # before training rather than after it
    entries = resolve(baselines, [level for level, key in keys.items() if key is not None], 1)
    settings = {
        "folds": [[np.asarray(cells).tolist() for cells in split if cells is not None] for split in folds],
        "seeds": [int(seed) for seed in seeds],
        "model_kwargs": repr(dict(model_kwargs or {})),
        "train_kwargs": repr(dict(train_kwargs or {})),
        "labels_key": labels_key,
        "family_key": family_key,
        "baselines": {name: _described(entry.baseline) for name, entry in entries.items()},
        "metrics": list(metrics),
        "per_feature": per_feature,
        "n_models": n_models,
        "models": models,
        "cells": mdata.obs_names.tolist(),
    }
    kept = None if directory is None else FoldFiles(directory, settings)
    finished = {} if kept is None else kept.read(len(folds))
    missing = [number for number in range(len(folds)) if number not in finished]
    members = [seed * n_models + i for seed in seeds for i in range(n_models)] if models else list(seeds[:1])
    train = dict(train_kwargs or {}) if models else {"max_epochs": 1}
    # As many folds at a time as are trained in one pass, so that little is lost by an interruption.
    at_once = max((train.get("n_together") or 10) // len(members), 1)
    blocks = [missing[i : i + at_once] for i in range(0, len(missing), at_once)]
    told: dict[str, Any] = {
        "labels_key": labels_key,
        "family_key": family_key,
        "metrics": metrics,
        "per_feature": per_feature,
    }
    for block in track(blocks, "Cross-validation", disable=not progress):
        fits = fit_many(mdata, [folds[number] for number in block], members, [model_kwargs or {}], **train)
        for position, number in enumerate(block):
            test = folds[number][2]
            of_fold = {fit.seed: fit.model for fit in fits if fit.split == position}
            rows = []
            for seed, model in of_fold.items():
                first = seed == members[0]
                rows.append(
                    score(model, test, baselines=baselines if first else False, **told).assign(seed=seed)
                )
                if first:
                    rows[0].loc[rows[0]["method"].isin(entries), "seed"] = seeds[0]
            for seed in seeds if n_models > 1 and models else ():
                ensemble = Ensemble([of_fold[seed * n_models + i] for i in range(n_models)])
                rows.append(score(ensemble, test, baselines=False, **told).assign(seed=seed))
            scores = pd.concat(rows, ignore_index=True)
            if not models:
                scores = scores[scores["method"].isin(entries)]
            columns = scores.columns.tolist()
            finished[number] = scores.assign(fold=number)[[*columns[:-1], "fold", "seed"]]
            if kept is not None:
                kept.write(number, finished[number])
    return pd.concat([finished[number] for number in range(len(folds))], ignore_index=True)


def _check_folds(folds: Sequence[Split], n_obs: int) -> None:
    """Raise for folds without test cells, and for those that do not hold them out."""
    for number, split in enumerate(folds):
        if len(split) < 3 or split[2] is None or not len(split[2]):
            raise ValueError(f"Split {number} has no test cells to score.")
        train, validation, test = (
            np.zeros(0, dtype=int) if cells is None or not len(cells) else np.arange(n_obs)[np.asarray(cells)]
            for cells in split
        )
        if len(np.intersect1d(test, np.r_[train, validation])):
            raise ValueError(
                f"Split {number} tests cells that it trains on or validates with; scores of them mean nothing. Take "
                "them out of one of both."
            )


def _described(baseline: object) -> str:
    """A baseline's class and arguments: what tells whether kept folds are of the same."""
    return f"{type(baseline).__name__}({', '.join(f'{k}={_plain(v)}' for k, v in sorted(vars(baseline).items()))})"


def _plain(value: object) -> str:
    """An argument as text that is the same in every session."""
    return _described(value) if hasattr(value, "predict") else repr(value)


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
        # Numbers as text first: pandas' own reading may differ in the last digit. A feature may be called "NA".
        tables = {
            fold: pd.read_csv(path, dtype={"value": str}, keep_default_na=False, na_values={"value": [""]})
            for fold, path in paths.items()
            if path.is_file()
        }
        return {fold: table.assign(value=table["value"].astype(float)) for fold, table in tables.items()}

    def write(self, fold: int, table: pd.DataFrame) -> None:
        """Keep a finished fold."""
        self._replace(self._path(fold), table.to_csv(index=False))
