"""Cross-validation: scores of held-out cells over folds and seeds."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs
from rich.progress import track
from scvi.model._utils import parse_device_args

from scvi_cae.data import AlignedData, Setup, Split, obs_column
from scvi_cae.model import CoupledAE
from scvi_cae.model._fitted import installed_versions
from scvi_cae.splits import k_fold
from scvi_cae.train import describe as described
from scvi_cae.train import describe_data

from ._fold_files import FoldFiles
from ._fold_scores import HeldOutFolds
from ._held_out import METRICS, check_metrics
from ._registry import resolve
from ._score import describe
from ._scores import warn_of_left_out

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from ._registry import Entry, Level

#: Packages beside those of a model whose versions scores depend on.
PACKAGES = ("scikit-learn", "scipy")


@describe
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
    """Score models and baselines on the held-out cells of each fold, for several seeds.

    Models of several folds are trained together (:func:`scvi_cae.fit_many`). Models and baselines are fitted
    to a fold's training cells only.

    Parameters
    ----------
    mdata
        MuData, set up by :meth:`scvi_cae.CoupledAE.setup_mudata`.
    splits
        Splits with test cells, such as those of :mod:`scvi_cae.splits`; or the number of folds.
    seeds
        Seeds of the models of each fold.
    model_kwargs
        Arguments of :class:`scvi_cae.CoupledAE`.
    train_kwargs
        Arguments of the training, as in :func:`scvi_cae.fit_many`.
    %(labels_key)s
    %(family_key)s
    %(baselines)s
    %(metrics)s
    %(per_feature)s
    n_models
        Number of models of an :class:`scvi_cae.Ensemble`. If it is above 1, one is trained and scored beside the single
        model of each seed. It needs no validation cells, and is trained on those of a fold, too.
    models
        Whether to train and score models. If ``False``, only baselines are scored; ``model_kwargs`` then sets
        their number of dimensions (``n_latent``) and the pairs of modalities.
    directory
        Folder in which the scores of finished folds are kept. A later call with the same data, set-up,
        arguments and versions of packages resumes an interrupted one; a file that is damaged is computed anew.
        Functions and classes among the arguments are compared by name, not by their code.
    n_jobs
        Number of processes among which folds are divided; -1 for one per core. With one process (default),
        the models of several folds are still trained together.
    progress
        Whether to show a progress bar.

    Returns
    -------
    The rows of :func:`scvi_cae.evaluate.score` with columns ``fold``, ``seed``, ``n_train`` (the fold's training
    and validation cells) and ``n_test``. Baselines have no seed; their rows have the first. :func:`compare` compares two methods.

    Raises
    ------
    ValueError
        If ``n_jobs`` is 0; if several processes are requested for data backed by a file; if a split has no
        test cells, or tests cells that it trains on or validates with; if ``directory`` holds folds of other
        data, arguments or versions, which are named; if a baseline or a metric is unknown; or as in :func:`scvi_cae.fit_many`.
    KeyError
        As in :func:`scvi_cae.evaluate.score`.

    Warns
    -----
    UserWarning
        Once, if features are not scored in some folds, as in :func:`scvi_cae.evaluate.score`; if a file of a
        finished fold is damaged.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> table = scvi_cae.evaluate.cross_validate(mdata, 3, train_kwargs={"max_epochs": 5}, progress=False)
    >>> table["fold"].unique().tolist()
    [0, 1, 2]
    """
    given = k_fold(mdata, splits) if isinstance(splits, (int, np.integer)) else splits
    folds = check_splits(given, mdata.n_obs)
    check_metrics(metrics)
    if n_models < 1:
        raise ValueError(f"n_models={n_models} must be at least 1.")
    backed = [name for name, modality in mdata.mod.items() if modality.isbacked]
    n_processes = effective_n_jobs(n_jobs)
    if n_processes > 1 and backed:
        raise ValueError(
            f"Modality {backed[0]!r} is backed by a file, which processes cannot share. Set n_jobs=1, or "
            "load the data into memory."
        )
    keys: dict[Level, str | None] = {"family": family_key, "type": labels_key}
    for key in filter(None, keys.values()):
        obs_column(mdata, key)  # raises for a missing column before training instead of after it
    entries = resolve(baselines, [level for level, key in keys.items() if key is not None], 1)
    kept = None
    if directory is not None:
        arguments = {
            "the seeds": list(seeds),
            "the names of baselines": list(entries),
            **{f"model_kwargs[{name!r}]": value for name, value in (model_kwargs or {}).items()},
            **{f"train_kwargs[{name!r}]": value for name, value in (train_kwargs or {}).items()},
            **{f"the labels of {key}": obs_column(mdata, key) for key in keys.values() if key is not None},
            "labels_key": labels_key,
            "family_key": family_key,
            "metrics": list(metrics),
            "per_feature": per_feature,
            "n_models": n_models,
            "models": models,
        }
        kept = FoldFiles(directory, _description(mdata, folds, entries, arguments))
    finished = {} if kept is None else kept.read(len(folds))
    missing = [number for number in range(len(folds)) if number not in finished]
    score_kwargs: dict[str, Any] = {
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
        model_kwargs=dict(model_kwargs or {}),
        train_kwargs=train,
        baselines=baselines,
        baseline_names=list(entries),
        n_models=n_models,
        models=models,
        score_kwargs=score_kwargs,
    )
    # A block has as many folds as are trained in one pass, so that an interruption loses little, and at most
    # the share of one process.
    folds_per_pass = (train.get("n_together") or 10) // len(held_out.model_seeds)
    size = max(min(folds_per_pass, -(-len(missing) // n_processes)), 1)
    blocks = [missing[i : i + size] for i in range(0, len(missing), size)]
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
    warn_of_left_out((f" in fold {number}", finished[number]) for number in range(len(folds)))
    return pd.concat([finished[number].table for number in range(len(folds))], ignore_index=True)


def check_splits(folds: Sequence[Split], n_obs: int) -> list[Split]:
    """Positions of each set; raise for splits without test cells, or whose test cells are not held out."""
    checked = []
    for number, split in enumerate(folds):
        if len(split) < 3 or split[2] is None or not len(split[2]):
            raise ValueError(f"Split {number} has no test cells to score. Give splits with test cells.")
        train, validation, test = (
            np.zeros(0, dtype=int) if cells is None or not len(cells) else np.arange(n_obs)[np.asarray(cells)]
            for cells in split
        )
        if len(np.intersect1d(test, np.r_[train, validation])):
            raise ValueError(
                f"Split {number} tests cells that it trains on or validates with, so they are not held out. "
                "Remove these cells from one of the sets."
            )
        checked.append(Split(train, validation, test))
    return checked


def _description(
    mdata: MuData, folds: Sequence[Split], baselines: Mapping[str, Entry], arguments: Mapping[str, Any]
) -> dict[str, str]:
    """Description of all that scores depend on: data, set-up, folds, baselines, other arguments, versions."""
    registry = CoupledAE._get_most_recent_anndata_manager(mdata, required=True).registry
    setup = Setup.from_registry(registry)
    train_kwargs = {
        name: arguments.get(f"train_kwargs[{name!r}]", "auto") for name in ("accelerator", "device")
    }
    settings = {
        **{f"fold {number}": list(split) for number, split in enumerate(folds)},
        **{f"baseline {name!r}": entry for name, entry in baselines.items()},
        **{f"the {name} of the set-up": value for name, value in vars(setup).items()},
        "the device": parse_device_args(*train_kwargs.values(), "torch")[2].type,
        **arguments,
    }
    versions = {**installed_versions(), **{name: version(name) for name in PACKAGES}}
    return {
        **{name: described(value) for name, value in settings.items()},
        **describe_data(AlignedData(mdata, setup)),
        **{f"the version of {name}": value for name, value in versions.items()},
    }
