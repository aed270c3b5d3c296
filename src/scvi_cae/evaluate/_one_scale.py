"""Scores of methods that are fitted to different parts of the training cells, on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scvi_cae.module import mean_and_spread

from ._held_out import CellSet
from ._metrics import pooled_r2

if TYPE_CHECKING:
    from scvi_cae.data import AlignedData


#: Fewest values of a feature that is scored: parts of the cells, as in cross-fitting, then have some, too.
MIN_VALUES = 10


class OneScale:
    """Values of training and test cells, and scores by the mean and standard deviation of all training cells.

    Parameters
    ----------
    data
        The data.
    train, test
        Positions of all training cells, and of the cells to score.
    fewest
        Positions of the fewest training cells that a method is fitted to: a feature with too few values in them can have
        no prediction, and is not scored for any method. Neither is one that is constant among all training cells.

    Attributes
    ----------
    train, test
        Values of the cells.
    left_out
        Names of the features of each modality that are not scored although test cells have values to predict.
    """

    def __init__(self, data: AlignedData, train: np.ndarray, test: np.ndarray, fewest: np.ndarray) -> None:
        setup = data.setup
        self.train, self.test = (
            CellSet(cells, {m: data.in_units(data[m].values(cells), m) for m in setup.modalities})
            for cells in (train, test)
        )
        self._moments = {m: mean_and_spread(x) for m, x in self.train.values.items()}
        self._features: dict[str, np.ndarray] = {}
        self.left_out: dict[str, list[str]] = {}
        for m, x in self.train.among(fewest).values.items():
            mean, spread = self._moments[m]
            self._features[m] = ((~np.isnan(x)).sum(0) >= min(MIN_VALUES, len(x))) & (spread > 0)
            truth = self.test.values[m]
            # Equal to the constant of the training cells: nothing to predict.
            predictable = np.isnan(truth) | ((spread == 0) & np.isclose(truth, mean))
            lost = ~self._features[m] & ~predictable.all(0)
            self.left_out[m] = np.asarray(setup.features[m])[lost].tolist()

    def r2(self, source: str, target: str, prediction: np.ndarray) -> tuple[float, int]:
        """R2 of a prediction of all test cells, and the number of cells scored: those with source and target.

        Parameters
        ----------
        source, target
            Names of the modalities.
        prediction
            ``(n_cells, n_features)`` prediction, in the units of the data.
        """
        features = self._features[target]
        truth, prediction = self.test.values[target][:, features], np.asarray(prediction)[:, features]
        both = self.test.has[source] & ~np.isnan(truth).all(1)
        mean, scale = (moment[features] for moment in self._moments[target])
        value = pooled_r2(truth[both], prediction[both], mean, scale) if both.any() else np.nan
        return value, int(both.sum())
