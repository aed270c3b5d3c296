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


def make_regression(setup: Setup, source: str, target: str) -> Regression:
    """The regression from one arm to another, not yet fitted.

    Parameters
    ----------
    setup
        The set-up.
    source, target
        Names of the arms.

    Returns
    -------
    To labels, a discriminant from many features and a logistic regression with a kernel from few. Else kernel ridge
    regression on principal components, with settings chosen on inner cells; ridge regression from labels, and to very many
    features, whose weights for each training cell would make a large file.
    """
    n_source, n_target = len(setup.features[source]), len(setup.features[target])
    if target in setup.labels:
        return DiscriminantBaseline() if n_source > NARROW else LogisticBaseline(gamma=0.1)
    if source in setup.labels:
        return RidgeBaseline()
    if n_target > MAX_TARGET:
        return RidgeBaseline(squash=True)
    if n_source > NARROW:
        return KernelRidgeBaseline(gamma=0.03, alpha=PENALTIES)
    return KernelRidgeBaseline(alpha=PENALTIES, squash=True)


class Companions:
    """Regressions between arms of a model.

    Parameters
    ----------
    fits
        Fitted regressions by source and target.
    stored
        ``(n_cells, n_features)`` their predictions of the cells that calibrate a target, by source and target.
    """

    def __init__(
        self,
        fits: Mapping[tuple[str, str], Regression],
        stored: Mapping[tuple[str, str], np.ndarray] | None = None,
    ) -> None:
        self._fits = dict(fits)
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
            Sources and targets; those with a target of counts are left out, which no regression here predicts.
        """
        setup = data.setup
        fits: dict[tuple[str, str], Regression] = {}
        for source, target in pairs:
            if is_counts(setup, target):
                continue
            chosen = _some(data, cells, source, target)
            x, y = values_of(data, source, chosen), values_of(data, target, chosen)
            y[~data[target].present[chosen]] = np.nan
            try:
                fit = make_regression(setup, source, target).fit(x, y)
            except ValueError:  # fewer than two classes or cells
                continue
            # In the precision in which it is saved, so that it predicts the same when it is loaded.
            fits[source, target] = type(fit).from_state(fit.state())
        return cls(fits)

    def __contains__(self, pair: tuple[str, str]) -> bool:
        """Whether there is a regression from a source to a target."""
        return pair in self._fits

    def predict(self, data: AlignedData, source: str, target: str, cells: np.ndarray) -> np.ndarray:
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
        ``(len(cells), n_features)`` on the scale of predictions, NaN for cells without the source.
        """
        return self._fits[source, target].predict(values_of(data, source, cells))

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
                self._stored[source, target] = predicted.astype(np.float32)

    def stores(self, target: str) -> bool:
        """Whether predictions of a target are kept."""
        return any(target == kept for _, kept in self._stored)

    def stored(self, source: str, target: str) -> np.ndarray:
        """Predictions that :meth:`store` kept."""
        return self._stored[source, target]

    def state(self) -> list[dict[str, Any]]:
        """What was fitted, in arrays, numbers and texts."""
        return [
            {"pair": list(pair), "stored": self._stored.get(pair), **fit.state()}
            for pair, fit in self._fits.items()
        ]

    @classmethod
    def from_state(cls, state: list[dict[str, Any]]) -> Companions:
        """Inverse of :meth:`state`."""
        fits: dict[tuple[str, str], Regression] = {}
        stored: dict[tuple[str, str], np.ndarray] = {}
        for entry in state:
            source, target = entry["pair"]
            fits[source, target] = getattr(regression, entry["kind"]).from_state(entry)
            if entry["stored"] is not None:
                stored[source, target] = entry["stored"]
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
