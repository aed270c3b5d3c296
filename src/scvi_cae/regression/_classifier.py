"""Base class of classifiers from a modality to labels: classes, missing values and folds within training cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from scipy.special import softmax

from scvi_cae.data import category_codes
from scvi_cae.data._labels import label_names

from ._pairs import describe
from ._state import Standardisation, WithState

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class ClassifierBaseline(WithState, ABC):
    """Classifier from a modality, in squashed standard deviations of the training cells, to labels."""

    _source: Standardisation

    @property
    def classes_(self) -> list[str]:
        """Names of the classes, in the order of the columns of :meth:`predict`."""
        return list(self._parameters["classes"])

    @describe
    def fit(self, source: ArrayLike, labels: Any) -> Self:
        """Fit to training cells: the same cells in ``source`` and ``labels``.

        Cells without a label still count for the mean, standard deviation and principal components of the source.
        Features of the source that are constant among the training cells, or have no value there, are ignored.

        Parameters
        ----------
        %(source)s
        labels
            ``(n_cells,)`` names of classes, missing where unknown; or ``(n_cells, n_classes)`` indicators, 1 for a
            cell's class and 0 for the others, as ``measured_values`` of a model gives them, NaN where unknown. Classes
            of indicators are called by their number, from ``"0"``.

        Returns
        -------
        The classifier itself.

        Raises
        ------
        ValueError
            If the numbers of cells differ, a row of indicators is no indicator, or cells with a source and a label
            have fewer than two classes.
        """
        source = np.asarray(source, dtype=float)
        classes, codes = class_codes(labels)
        if len(source) != len(codes):
            raise ValueError(f"source has {len(source)} cells and labels {len(codes)}; give the same cells.")
        present = ~np.isnan(source).all(1)
        observed = np.unique(codes[present & (codes >= 0)])
        if len(observed) < 2:
            raise ValueError(
                f"Cells with a source and a label have {len(observed)} classes; give training cells of two or more."
            )
        self._source = Standardisation.of(source)
        x = self._inputs(source)[present]
        places = np.full(len(classes) + 1, -1)
        places[observed] = np.arange(len(observed))
        fit = self._fit(x, places[codes[present]])
        self._parameters = {"classes": classes, "observed": observed, **fit}
        return self

    @describe
    def predict(self, source: ArrayLike) -> np.ndarray:
        """Probability of each class for any cells.

        Parameters
        ----------
        %(source)s

        Returns
        -------
        ``(n_cells, n_classes)`` probabilities, whose rows sum to 1; 0 for a class without any training cell, NaN for
        cells without any source value.
        """
        source = np.asarray(source, dtype=float)
        probabilities = np.zeros((len(source), len(self.classes_)))
        scores = self._scores(self._inputs(source))
        probabilities[:, self._parameters["observed"]] = softmax(scores, axis=1)
        probabilities[np.isnan(source).all(1)] = np.nan
        return probabilities

    def _inputs(self, source: np.ndarray) -> np.ndarray:
        """Standardised and squashed source without missing values."""
        return np.arcsinh(self._source.completed(source))

    @abstractmethod
    def _fit(self, x: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
        """Parameters fitted to the standardised source of all cells that have it; a code is -1 without a label."""

    def _scores(self, x: np.ndarray) -> np.ndarray:
        """Logarithm of each class's probability, up to a constant; by default linear in the standardised source."""
        return x @ self._parameters["weights"] + self._parameters["intercept"]


def class_codes(labels: Any) -> tuple[list[str], np.ndarray]:
    """Names of classes, and the number of each cell's class, -1 where unknown; see :meth:`ClassifierBaseline.fit`."""
    array = np.asarray(labels)
    if array.ndim != 2:
        names = label_names(pd.Series(array.tolist(), dtype=object))
        classes = sorted(set(names.dropna()))
        return classes, category_codes(names, classes)
    known = ~np.isnan(array).any(1)
    wrong = known & ((array == 1).sum(1) != 1) | known & ((array == 0).sum(1) != array.shape[1] - 1)
    if wrong.any():
        raise ValueError(
            f"labels: row {np.flatnonzero(wrong)[0]} is not 1 for one class and 0 for the others. Give such indicators, "
            "with NaN where the class is unknown, or an array of one name for each cell."
        )
    return [str(number) for number in range(array.shape[1])], np.where(
        known, np.nan_to_num(array).argmax(1), -1
    )


def dealt_folds(codes: np.ndarray, n_folds: int) -> np.ndarray:
    """Number of the fold of each cell: the cells of each class, in random order, are dealt to the folds in turn.

    Parameters
    ----------
    codes
        ``(n_cells,)`` number of each cell's class.
    n_folds
        Number of folds.
    """
    order = np.lexsort((np.random.RandomState(0).random_sample(len(codes)), codes))
    folds = np.empty(len(codes), dtype=np.int64)
    folds[order] = np.arange(len(codes)) % n_folds
    return folds
