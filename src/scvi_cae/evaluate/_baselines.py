"""Means of labels as baselines, alone and beside a regression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from scvi_cae.regression._pairs import describe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    #: One label for each cell; missing where unknown.
    Labels = Sequence[object] | np.ndarray | pd.Series


class Baseline(Protocol):
    """A method that predicts one modality from another."""

    def fit(self, source: ArrayLike, target: ArrayLike) -> object:
        """Fit to training cells."""

    def predict(self, source: ArrayLike) -> np.ndarray:
        """Predict the target of any cells."""


@describe
class TypeMeanBaseline:
    r"""Mean of the training cells of the same type, optionally shrunk towards the mean of the family.

    .. math:: \hat y = \frac{\sum y + s\,\bar y_f}{n + s}

    with the sum over the :math:`n` training cells of the type, :math:`\bar y_f` the mean of the type's family
    and :math:`s` the shrinkage. A prediction is informative beyond the type only if it is better than this
    one. Cells whose type is missing, absent from the training cells or never measured there are predicted by
    :math:`\bar y_f`. Without families, :math:`\bar y_f` is the mean of all training cells.

    Parameters
    ----------
    %(shrinkage)s

    Examples
    --------
    >>> from scvi_cae.evaluate import TypeMeanBaseline
    >>> TypeMeanBaseline().fit(["a", "a", "b"], [[1.0], [3.0], [7.0]]).predict(["a", "b"])
    array([[2.],
           [7.]])
    """

    def __init__(self, shrinkage: float = 0.0) -> None:
        self.shrinkage = shrinkage

    @describe
    def fit(self, labels: Labels, target: ArrayLike, families: Labels | None = None) -> TypeMeanBaseline:
        """Fit to training cells.

        Parameters
        ----------
        %(labels)s
        %(target)s
        %(families)s

        Returns
        -------
        The baseline itself.

        Raises
        ------
        ValueError
            If the numbers of labels and cells differ.
        """
        values = np.asarray(target, dtype=float)
        if len(values) != len(labels):
            raise ValueError(f"{len(labels)} labels for {len(values)} cells; give one label for each cell.")
        table = pd.DataFrame(values)
        self._overall = table.mean()
        self._families = (
            None if families is None else table.groupby(np.asarray(families, dtype=object)).mean()
        )
        types = np.asarray(labels, dtype=object)
        deviations = (table - self._prior(families, len(table))).groupby(types)
        self._sums, self._counts = deviations.sum(), deviations.count()
        return self

    @describe
    def predict(self, labels: Labels, families: Labels | None = None) -> np.ndarray:
        """Predict the target of cells of given types.

        Parameters
        ----------
        %(labels)s
        %(families)s

        Returns
        -------
        ``(n_cells, n_target)`` values in the units of the target.
        """
        types = np.asarray(labels, dtype=object)
        sums, counts = self._sums.reindex(types), self._counts.reindex(types)
        deviation = (sums / (counts + self.shrinkage)).fillna(0.0)
        return deviation.to_numpy() + self._prior(families, len(types)).to_numpy()

    def _prior(self, families: Labels | None, n_cells: int) -> pd.DataFrame:
        """Prediction for cells of unknown type."""
        if self._families is None or families is None:
            return pd.DataFrame(np.tile(self._overall, (n_cells, 1)))
        means = self._families.reindex(np.asarray(families, dtype=object)).fillna(self._overall)
        return means.reset_index(drop=True)


@describe
class WithTypeMean:
    """Mean of a baseline's prediction and of the type mean.

    A type mean captures what the cells of a type share, a baseline how the cell differs. Their mean shrinks
    each by half towards the other and predicts better than either.

    Parameters
    ----------
    baseline
        Baseline that predicts from the cell's values: any object with ``fit(source, target)`` and
        ``predict(source)``.
    %(shrinkage)s

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import RidgeBaseline, WithTypeMean
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> types = np.where(x[:, 0] > 0, "a", "b")
    >>> both = WithTypeMean(RidgeBaseline()).fit(x[:80], 2 * x[:80, :1], types[:80])
    >>> both.predict(x[80:], types[80:]).shape
    (20, 1)
    """

    def __init__(self, baseline: Baseline, shrinkage: float = 0.0) -> None:
        self.baseline = baseline
        self.type_mean = TypeMeanBaseline(shrinkage)

    @describe
    def fit(
        self, source: ArrayLike, target: ArrayLike, labels: Labels, families: Labels | None = None
    ) -> WithTypeMean:
        """Fit to training cells.

        Parameters
        ----------
        %(source)s
        %(target)s
        %(labels)s
        %(families)s

        Returns
        -------
        The baseline itself.
        """
        self.baseline.fit(source, target)
        self.type_mean.fit(labels, target, families)
        return self

    @describe
    def predict(self, source: ArrayLike, labels: Labels, families: Labels | None = None) -> np.ndarray:
        """Predict the target of any cells.

        Parameters
        ----------
        %(source)s
        %(labels)s
        %(families)s

        Returns
        -------
        ``(n_cells, n_target)`` values in the units of the target.
        """
        return (self.baseline.predict(source) + self.type_mean.predict(labels, families)) / 2
