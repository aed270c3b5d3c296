"""Training and scoring of the models of folds, in this process or in others."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from scvi_cae._mudata import read_mudata, write_mudata
from scvi_cae.model import CoupledAE, Ensemble, fit_many

from ._score import compute_scores
from ._scores import Scores
from ._seeds import seed_set

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mudata import MuData

    from scvi_cae.data import Split

#: Arguments of a training that choose its epoch by validation cells.
CHOICE_OF_EPOCH = ("monitor", "monitor_after", "early_stopping", "early_stopping_patience")
#: Loggers whose levels are copied to other processes.
LOGGERS = ("lightning.pytorch", "lightning.fabric", "scvi")


class ProcessState(NamedTuple):
    """State that another process needs: file and set-up of the data, levels of loggers, warning filters."""

    file: Path
    registry: dict[str, Any]
    levels: dict[str, int]
    filters: list[Any]


@dataclass
class HeldOutFolds:
    """Folds whose models are trained and scored, in this process or in others.

    Parameters
    ----------
    mdata
        MuData, set up.
    folds
        Splits with test cells.
    seeds, model_kwargs, train_kwargs, baselines, n_models, models
        As in :func:`~scvi_cae.evaluate.cross_validate`.
    baseline_names
        Names of the baselines.
    score_kwargs
        Further arguments of :func:`~scvi_cae.evaluate.score`.
    shared
        State that other processes need; ``None`` for a single process.
    """

    mdata: MuData
    folds: Sequence[Split]
    seeds: Sequence[int]
    model_kwargs: Mapping[str, Any]
    train_kwargs: Mapping[str, Any]
    baselines: Any
    baseline_names: Sequence[str]
    n_models: int
    models: bool
    score_kwargs: Mapping[str, Any]
    shared: ProcessState | None = None

    @property
    def model_seeds(self) -> list[int]:
        """Seeds of the models of each fold; only one, for the baselines, if no models are scored."""
        return list(self.seeds if self.models else self.seeds[:1])

    def share(self, file: Path) -> None:
        """Write the data to a file for other processes, because a MuData cannot be pickled."""
        write_mudata(self.mdata.copy(), file)  # writing converts strings to categories
        manager = CoupledAE._get_most_recent_anndata_manager(self.mdata, required=True)
        levels = {name: logging.getLogger(name).level for name in LOGGERS}
        self.shared = ProcessState(file, manager.registry, levels, list(warnings.filters))

    def __getstate__(self) -> dict[str, Any]:
        """State without the data, which other processes read from the file."""
        return {**self.__dict__, "mdata": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Read the data in the other process, and set them up in the same way."""
        self.__dict__.update(state)
        assert self.shared is not None
        for name, level in self.shared.levels.items():
            logging.getLogger(name).setLevel(level)
        warnings.filters[:] = self.shared.filters  # type: ignore[index]
        self.mdata = read_mudata(self.shared.file)
        registry = self.shared.registry
        CoupledAE.setup_mudata(self.mdata, source_registry=registry, **registry["setup_args"])

    def score(self, numbers: Sequence[int]) -> dict[int, Scores]:
        """Train and score the models of some folds.

        Parameters
        ----------
        numbers
            Numbers of the folds.

        Returns
        -------
        Scores of each fold, by its number.
        """
        folds = [self.folds[number] for number in numbers]
        fits = fit_many(
            self.mdata,
            folds,
            self.model_seeds,
            [self.model_kwargs],
            enable_progress_bar=False,
            **self.train_kwargs,
        )
        scores = {}
        for position, number in enumerate(numbers):
            test = folds[position][2]
            models = {fit.seed: fit.model for fit in fits if fit.split == position}
            tables = []
            for seed, model in models.items():
                first = seed == self.model_seeds[0]
                baselines = self.baselines if first else False
                # All models of a fold are trained on the same cells, and leave out the same features.
                table, left_out = compute_scores(model, test, baselines=baselines, **self.score_kwargs)
                tables.append(table.assign(seed=seed))
                if first:
                    table = tables[0]
                    table.loc[table["method"].isin(self.baseline_names), "seed"] = self.seeds[0]
            for seed in self.seeds if self.n_models > 1 and self.models else ():
                table, left_out = compute_scores(
                    self._ensemble(folds[position], seed), test, baselines=False, **self.score_kwargs
                )
                tables.append(table.assign(seed=seed))
            table = pd.concat(tables, ignore_index=True)
            if not self.models:
                table = table[table["method"].isin(self.baseline_names)]
            columns = table.columns.tolist()
            table = table.assign(fold=number)[[*columns[:-1], "fold", "seed"]]
            n_train = len(folds[position].train) + len(folds[position].validation)
            scores[number] = Scores(table.assign(n_train=n_train, n_test=len(test)), left_out)
        return scores

    def _ensemble(self, fold: Split, seed: int) -> Ensemble:
        """An ensemble of all training cells of a fold; it needs no validation cells."""
        kwargs = {name: value for name, value in self.train_kwargs.items() if name not in CHOICE_OF_EPOCH}
        ensemble = Ensemble(self.mdata, self.n_models, **self.model_kwargs)
        with seed_set(seed):
            ensemble.train(
                external_indexing=[np.union1d(fold.train, fold.validation), None, fold.test],
                enable_progress_bar=False,
                **kwargs,
            )
        return ensemble
