"""Regressions from one arm to another that stand beside the networks of a model, fitted to the same training cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scvi_cae import regression
from scvi_cae.module import NARROW
from scvi_cae.regression import (
    PENALTIES,
    ClassifierBaseline,
    DiscriminantBaseline,
    KernelRidgeBaseline,
    LogisticBaseline,
    RidgeBaseline,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scvi_cae.data import AlignedData, Setup

    Regression = RidgeBaseline | KernelRidgeBaseline | ClassifierBaseline

#: Largest numbers of cells with both arms, of others, and of values of an arm, that a regression is fitted to.
MAX_PAIRS, MAX_OTHERS, MAX_VALUES = 3000, 3000, 2**25
#: Largest number of features that a kernel regression predicts.
MAX_TARGET = 2000


def make_regressions(setup: Setup, source: str, target: str) -> dict[str, Regression]:
    """The regressions from one arm to another, not yet fitted, by name.

    Parameters
    ----------
    setup
        The set-up.
    source, target
        Names of the arms.

    Returns
    -------
    To labels, a discriminant, and from few features a kernel logistic regression, too. Else ridge and kernel ridge regression
    on principal components, with settings chosen on inner cells; ridge regression alone from labels, and to very many
    features, whose weights for each training cell would make a large file. None to counts, which no regression here
    predicts, and from labels to labels.
    """
    n_source, n_target = len(setup.features[source]), len(setup.features[target])
    if is_counts(setup, target) or {source, target} <= set(setup.labels):
        return {}
    if target in setup.labels:
        classifiers: dict[str, Regression] = {"discriminant": DiscriminantBaseline()}
        if n_source <= NARROW:
            # 200 components double the time, with the same log-loss; so does a linear one beside the two.
            classifiers["kernel logistic"] = LogisticBaseline(gamma=0.1, n_components=100)
        return classifiers
    if source in setup.labels:
        return {"ridge": RidgeBaseline()}
    wide = n_source > NARROW
    regressions: dict[str, Regression] = {"ridge": RidgeBaseline()}
    if n_target <= MAX_TARGET:
        gamma = 0.03 if wide else 0.1
        regressions["kernel ridge"] = KernelRidgeBaseline(gamma=gamma, alpha=PENALTIES, squash=not wide)
    return regressions


class Companions:
    """Regressions between arms, fitted to the training cells of a model.

    Parameters
    ----------
    fits
        Fitted regressions by source and target, and by name.
    stored
        ``(n_cells, n_features)`` their predictions of the cells that calibrate a target, likewise.
    """

    def __init__(
        self,
        fits: Mapping[tuple[str, str], Mapping[str, Regression]],
        stored: Mapping[tuple[str, str], list[np.ndarray]] | None = None,
    ) -> None:
        self._fits = {pair: dict(named) for pair, named in fits.items()}
        self._stored = dict(stored or {})

    @classmethod
    def fit(cls, data: AlignedData, cells: np.ndarray, pairs: list[tuple[str, str]]) -> Companions:
        """Fit regressions to training cells.

        Parameters
        ----------
        data
            The data.
        cells
            Positions of the training cells.
        pairs
            Sources and targets.
        """
        fits: dict[tuple[str, str], dict[str, Regression]] = {}
        for source, target in pairs:
            regressions = make_regressions(data.setup, source, target)
            if not regressions or not _can_fit(data, cells, source, target):
                continue
            chosen = _some(data, cells, source, target)
            x, y = values_of(data, source, chosen), values_of(data, target, chosen)
            y[~data[target].present[chosen]] = np.nan
            fitted = {name: made.fit(x, y) for name, made in regressions.items()}
            # In the precision in which they are saved, so that they predict the same when they are loaded.
            fits[source, target] = {name: type(fit).from_state(fit.state()) for name, fit in fitted.items()}
        return cls(fits)

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """Sources and targets that have regressions."""
        return set(self._fits)

    def keep(self, pairs: set[tuple[str, str]]) -> None:
        """Drop the regressions of other sources and targets.

        Parameters
        ----------
        pairs
            Sources and targets that all companions of an ensemble have.
        """
        self._fits = {pair: named for pair, named in self._fits.items() if pair in pairs}

    def names(self, source: str, target: str) -> list[str]:
        """Names of the regressions from a source to a target."""
        return list(self._fits.get((source, target), ()))

    def predict(self, data: AlignedData, source: str, target: str, cells: np.ndarray) -> list[np.ndarray]:
        """Predict an arm of cells.

        Parameters
        ----------
        data
            The data.
        source, target
            Names of the arms.
        cells
            Positions of the cells.

        Returns
        -------
        ``(len(cells), n_features)`` by each regression, as the model computes with values; NaN for cells without the
        source.
        """
        named = self._fits.get((source, target))
        if not named:
            return []
        x = values_of(data, source, cells)
        return [fit.predict(x) for fit in named.values()]

    def store(self, data: AlignedData, cells: Mapping[str, np.ndarray]) -> None:
        """Keep predictions of the cells that calibrate each target.

        Parameters
        ----------
        data
            The data.
        cells
            Positions of these cells by target.
        """
        for source, target in self._fits:
            if target in cells:
                predicted = self.predict(data, source, target, cells[target])
                self._stored[source, target] = [values.astype(np.float32) for values in predicted]

    def stored(self, source: str, target: str) -> list[np.ndarray]:
        """Predictions that :meth:`store` kept, by each regression."""
        return self._stored.get((source, target), [])

    def state(self) -> list[dict[str, Any]]:
        """What was fitted, in arrays, numbers and texts."""
        return [
            {
                "pair": list(pair),
                "stored": self._stored.get(pair, []),
                "fits": {name: fit.state() for name, fit in named.items()},
            }
            for pair, named in self._fits.items()
        ]

    @classmethod
    def from_state(cls, state: list[dict[str, Any]]) -> Companions:
        """Inverse of :meth:`state`."""
        fits: dict[tuple[str, str], dict[str, Regression]] = {}
        stored: dict[tuple[str, str], list[np.ndarray]] = {}
        for entry in state:
            source, target = entry["pair"]
            fits[source, target] = {
                name: getattr(regression, fit["kind"]).from_state(fit) for name, fit in entry["fits"].items()
            }
            if entry["stored"]:
                stored[source, target] = list(entry["stored"])
        return cls(fits, stored)


def is_counts(setup: Setup, arm: str) -> bool:
    """Whether an arm holds counts."""
    return setup.likelihood(arm).data_kind == "counts"


def values_of(data: AlignedData, arm: str, cells: np.ndarray) -> np.ndarray:
    """``(len(cells), n_features)`` values that regressions read, as the model computes with them: counts as logarithms.

    Parameters
    ----------
    data
        The data.
    arm
        Name of the arm.
    cells
        Positions of cells.
    """
    values = data[arm].values(cells).astype(np.float64)
    if is_counts(data.setup, arm):
        totals = np.nansum(values, axis=1, keepdims=True)
        values = np.log1p(values / np.where(totals > 0, totals, 1) * 1e4)
    return values


def _can_fit(data: AlignedData, cells: np.ndarray, source: str, target: str) -> bool:
    """Whether training cells have both arms: several, and of several classes if these are to be told apart."""
    both = cells[data[source].present[cells] & data[target].present[cells]]
    if len(both) < 2 or target not in data.setup.labels:
        return len(both) >= 2
    return int(data[target].values(both).any(axis=0).sum()) >= 2


def _some(data: AlignedData, cells: np.ndarray, source: str, target: str) -> np.ndarray:
    """Training cells that have the source: those with the target, and others, at random where there are very many."""
    rng = np.random.default_rng(0)
    has = data[source].present[cells]
    both = has & data[target].present[cells]
    room = max(MAX_VALUES // data[source].n_features, 100)
    chosen = []
    for part, limit in ((cells[both], min(MAX_PAIRS, room)), (cells[has & ~both], min(MAX_OTHERS, room))):
        chosen.append(part if len(part) <= limit else rng.choice(part, limit, replace=False))
    return np.sort(np.concatenate(chosen))
