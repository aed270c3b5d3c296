"""Models of held-out folds, trained and scored, in this process or another."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import mudata
import pandas as pd

from scvi_cae.model import CoupledAE, Ensemble, fit_many

from ._score import score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mudata import MuData

    from scvi_cae.data import Split

#: Loggers that are as quiet in other processes as in this one.
LOGGERS = ("lightning.pytorch", "lightning.fabric", "scvi")


class Shared(NamedTuple):
    """What another process needs to know."""

    file: Path
    registry: dict[str, Any]
    levels: dict[str, int]
    filters: list[Any]


@dataclass
class HeldOutFolds:
    """Folds whose models are trained and scored, in this process or another.

    Parameters
    ----------
    mdata
        MuData, set up.
    folds, seeds, model_kwargs, train_kwargs, baselines, n_models, models
        As in :func:`~scvi_cae.evaluate.cross_validate`.
    names
        Names of the baselines.
    told
        Further arguments of :func:`~scvi_cae.evaluate.score`.
    """

    mdata: MuData
    folds: Sequence[Split]
    seeds: Sequence[int]
    model_kwargs: Mapping[str, Any]
    train_kwargs: Mapping[str, Any]
    baselines: Any
    names: Sequence[str]
    n_models: int
    models: bool
    told: Mapping[str, Any]
    #: What another process needs to know; none in this one.
    shared: Shared | None = None

    @property
    def members(self) -> list[int]:
        """Seeds of the models of each fold: without models to score, of one that says what modalities there are."""
        if not self.models:
            return list(self.seeds[:1])
        return [seed * self.n_models + i for seed in self.seeds for i in range(self.n_models)]

    def share(self, file: Path) -> None:
        """Write the data to a file for other processes, since a MuData cannot be pickled."""
        copy = self.mdata.copy()  # writing makes categories of strings
        copy.write(file)
        manager = CoupledAE._get_most_recent_anndata_manager(self.mdata, required=True)
        levels = {name: logging.getLogger(name).level for name in LOGGERS}
        self.shared = Shared(file, manager.registry, levels, list(warnings.filters))

    def __getstate__(self) -> dict[str, Any]:
        """What another process is told."""
        return {**self.__dict__, "mdata": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In the other process, read the data, and set them up in the same way."""
        self.__dict__.update(state)
        assert self.shared is not None
        for name, level in self.shared.levels.items():
            logging.getLogger(name).setLevel(level)
        warnings.filters[:] = self.shared.filters  # type: ignore[index]
        self.mdata = mudata.read_h5mu(self.shared.file)
        registry = self.shared.registry
        CoupledAE.setup_mudata(self.mdata, source_registry=registry, **registry["setup_args"])

    def score(self, numbers: Sequence[int]) -> dict[int, pd.DataFrame]:
        """Train the models of some folds, and score them.

        Parameters
        ----------
        numbers
            Numbers of the folds.

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
                    score(model, test, baselines=self.baselines if first else False, **self.told).assign(
                        seed=seed
                    )
                )
                if first:
                    rows[0].loc[rows[0]["method"].isin(self.names), "seed"] = self.seeds[0]
            for seed in self.seeds if self.n_models > 1 and self.models else ():
                ensemble = Ensemble([of_fold[seed * self.n_models + i] for i in range(self.n_models)])
                rows.append(score(ensemble, test, baselines=False, **self.told).assign(seed=seed))
            table = pd.concat(rows, ignore_index=True)
            if not self.models:
                table = table[table["method"].isin(self.names)]
            columns = table.columns.tolist()
            scores[number] = table.assign(fold=number)[[*columns[:-1], "fold", "seed"]]
        return scores
