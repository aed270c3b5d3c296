"""Held-out scores over folds and seeds."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import mudata
import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from rich.progress import track

from scvi_cae.data import obs_column
from scvi_cae.model import CoupledAE, Ensemble, fit_many
from scvi_cae.splits import k_fold

from ._held_out import METRICS, check_metrics
from ._registry import resolve
from ._score import score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from scvi_cae.data import Split

    from ._registry import Level

#: Loggers that are as quiet in other processes as in this one.
LOGGERS = ("lightning.pytorch", "lightning.fabric", "scvi")


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
    n_jobs: int = 1,
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
    n_jobs
        Number of processes among which folds are shared out; -1 for as many as there are cores. In one process (the
        default) each fold's models are still trained together.
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
        If several processes are to share data that are backed by a file, a split has no test cells, or tests cells that it trains on or validates with; if ``directory`` holds the
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
    backed = [name for name, modality in mdata.mod.items() if modality.isbacked]
    if n_jobs != 1 and backed:
        raise ValueError(
            f"Modality {backed[0]!r} is backed by a file, which processes cannot share: n_jobs=1, or load the data."
        )
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
    # As many folds at a time as are trained in one pass, so that little is lost by an interruption; and some for each
    # process.
    at_once = max((train.get("n_together") or 10) // len(members), 1)
    at_once = max(min(at_once, -(-len(missing) // effective_n_jobs(n_jobs))), 1)
    blocks = [missing[i : i + at_once] for i in range(0, len(missing), at_once)]
    told: dict[str, Any] = {
        "labels_key": labels_key,
        "family_key": family_key,
        "metrics": metrics,
        "per_feature": per_feature,
    }
    held_out = HeldOutFolds(mdata, folds, seeds, members, n_models, models, dict(model_kwargs or {}), train)
    with TemporaryDirectory() as shared:
        if n_jobs != 1:
            held_out.share(Path(shared) / "mdata.h5mu")
        scored = Parallel(n_jobs, return_as="generator_unordered")(
            delayed(held_out.score)(block, baselines, list(entries), told) for block in blocks
        )
        for block in track(scored, "Cross-validation", len(blocks), disable=not progress):
            finished |= block
            if kept is not None:
                for number, scores in block.items():
                    kept.write(number, scores)
    return pd.concat([finished[number] for number in range(len(folds))], ignore_index=True)


class HeldOutFolds:
    """Folds whose models are trained and scored, in this process or another.

    Parameters
    ----------
    mdata
        MuData, set up.
    folds, seeds, n_models, models
        As in :func:`cross_validate`.
    members
        Seeds of the models of each fold.
    model_kwargs, train_kwargs
        As in :func:`cross_validate`, none left out.
    """

    def __init__(
        self,
        mdata: MuData,
        folds: Sequence[Split],
        seeds: Sequence[int],
        members: Sequence[int],
        n_models: int,
        models: bool,
        model_kwargs: Mapping[str, Any],
        train_kwargs: Mapping[str, Any],
    ) -> None:
        self.mdata = mdata
        self.folds, self.seeds, self.members = folds, seeds, members
        self.n_models, self.models = n_models, models
        self.model_kwargs, self.train_kwargs = model_kwargs, train_kwargs
        self._file: Path | None = None
        self._registry: dict[str, Any] = {}
        self._levels: dict[str, int] = {}
        self._filters: list[Any] = []

    def share(self, file: Path) -> None:
        """Write what other processes need to a file, since a MuData cannot be pickled."""
        copy = self.mdata.copy()  # writing makes categories of strings
        copy.write(file)
        self._file = file
        self._registry = CoupledAE._get_most_recent_anndata_manager(self.mdata, required=True).registry
        self._levels = {name: logging.getLogger(name).level for name in LOGGERS}
        self._filters = list(warnings.filters)

    def __getstate__(self) -> dict[str, Any]:
        """What another process is told."""
        return {**self.__dict__, "mdata": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In the other process, read the data, and set them up in the same way."""
        self.__dict__.update(state)
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)
        warnings.filters[:] = self._filters  # type: ignore[index]
        self.mdata = mudata.read_h5mu(self._file)
        CoupledAE.setup_mudata(self.mdata, source_registry=self._registry, **self._registry["setup_args"])

    def score(
        self, numbers: Sequence[int], baselines: Any, names: Sequence[str], told: Mapping[str, Any]
    ) -> dict[int, pd.DataFrame]:
        """Train the models of some folds, and score them.

        Parameters
        ----------
        numbers
            Numbers of the folds.
        baselines
            Baselines that are scored beside the first model.
        names
            Their names.
        told
            Further arguments of :func:`scvi_cae.evaluate.score`.

        Returns
        -------
        Scores by number of the fold.
        """
        folds = [self.folds[number] for number in numbers]
        fits = fit_many(self.mdata, folds, self.members, [self.model_kwargs], **self.train_kwargs)
        scores = {}
        for position, number in enumerate(numbers):
            test = folds[position][2]
            of_fold = {fit.seed: fit.model for fit in fits if fit.split == position}
            rows = []
            for seed, model in of_fold.items():
                first = seed == self.members[0]
                rows.append(
                    score(model, test, baselines=baselines if first else False, **told).assign(seed=seed)
                )
                if first:
                    rows[0].loc[rows[0]["method"].isin(names), "seed"] = self.seeds[0]
            for seed in self.seeds if self.n_models > 1 and self.models else ():
                ensemble = Ensemble([of_fold[seed * self.n_models + i] for i in range(self.n_models)])
                rows.append(score(ensemble, test, baselines=False, **told).assign(seed=seed))
            table = pd.concat(rows, ignore_index=True)
            if not self.models:
                table = table[table["method"].isin(names)]
            columns = table.columns.tolist()
            scores[number] = table.assign(fold=number)[[*columns[:-1], "fold", "seed"]]
        return scores


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
