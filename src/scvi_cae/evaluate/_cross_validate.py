"""Held-out scores over folds and seeds."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from rich.progress import track

from scvi_cae.data import obs_column
from scvi_cae.splits import k_fold

from ._fold_files import FoldFiles
from ._fold_scores import HeldOutFolds
from ._held_out import METRICS, check_metrics
from ._registry import resolve

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
        If ``n_jobs`` is 0, or several processes are to share data that are backed by a file; if a split has no test
        cells, or tests cells that it trains on or validates with; if ``directory`` holds the folds of other arguments,
        there is no such baseline or metric, or training is refused.
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
    n_processes = effective_n_jobs(n_jobs)
    if n_processes > 1 and backed:
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
    told: dict[str, Any] = {
        "labels_key": labels_key,
        "family_key": family_key,
        "metrics": metrics,
        "per_feature": per_feature,
    }
    train = dict(train_kwargs or {}) if models else {"max_epochs": 1}
    held_out = HeldOutFolds(
        mdata,
        folds,
        seeds,
        dict(model_kwargs or {}),
        train,
        baselines,
        list(entries),
        n_models,
        models,
        told,
    )
    # As many folds at a time as are trained in one pass, so that little is lost by an interruption; and some for each
    # process.
    at_once = min((train.get("n_together") or 10) // len(held_out.members), -(-len(missing) // n_processes))
    blocks = [missing[i : i + max(at_once, 1)] for i in range(0, len(missing), max(at_once, 1))]
    with TemporaryDirectory() as shared:
        if blocks and n_processes > 1:
            held_out.share(Path(shared) / "mdata.h5mu")
        scored = Parallel(n_processes, return_as="generator_unordered")(
            delayed(held_out.score)(block) for block in blocks
        )
        for block in track(scored, "Cross-validation", len(blocks), disable=not progress):
            finished |= block
            if kept is not None:
                for number, scores in block.items():
                    kept.write(number, scores)
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
