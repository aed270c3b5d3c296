"""What a prediction is worth only in comparison with; fitted on nothing but the cells given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV

from ._pairs import PairBaseline, patterns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

    #: Of each cell; missing where unknown.
    Labels = Sequence[object] | np.ndarray | pd.Series


class Baseline(Protocol):
    """What predicts one modality from another."""

    def fit(self, source: ArrayLike, target: ArrayLike) -> object:
        """Fit to training cells."""

    def predict(self, source: ArrayLike) -> np.ndarray:
        """Predict the target of any cells."""


#: Penalties to choose from, for standardised features: from close to none to close to the mean.
ALPHAS = np.logspace(0, 5, 11)


class RidgeBaseline(PairBaseline):
    r"""Ridge regression from one modality to another.

    Source and target are standardised by the cells of :meth:`fit`. Features of the target that are observed
    in the same cells are fitted together, on these cells only; a missing value of the target is never filled
    in. A missing value of the source is taken to be the training mean (0 after standardising).

    Parameters
    ----------
    alphas
        Penalties, of which leave-one-out cross-validation within the training cells chooses one for each
        group of features. By default 11 from 1 to 100,000: with standardised features, and 1,000 cells, from
        near least squares to near the mean.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import RidgeBaseline
    >>> x = np.random.default_rng(0).normal(size=(100, 3))
    >>> RidgeBaseline().fit(x[:80], 2 * x[:80, :1]).predict(x[80:]).shape
    (20, 1)

    References
    ----------
    :class:`sklearn.linear_model.RidgeCV`.
    """

    def __init__(self, alphas: ArrayLike = ALPHAS) -> None:
        self.alphas = np.asarray(alphas, dtype=float)

    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        self._n_target = y.shape[1]
        # A feature of which fewer than two cells have the source too keeps the training mean.
        self._fits = [
            (columns, RidgeCV(self.alphas).fit(x[cells], y[np.ix_(cells, columns)]))
            for cells, columns in patterns(~np.isnan(y) & present[:, None])
        ]

    def _predict(self, x: np.ndarray) -> np.ndarray:
        y = np.zeros((len(x), self._n_target))
        for columns, ridge in self._fits:
            y[:, columns] = ridge.predict(x).reshape(len(x), -1)
        return y


class TypeMeanBaseline:
    r"""The mean of the cell's type among the training cells.

    What a prediction of a cell's modality must beat to say more than its type does. Cells whose type is
    missing, or was not among the training cells or not observed there, get the mean of their family or, without
    families, of all training cells.

    Parameters
    ----------
    shrinkage
        Number of cells that the family's mean :math:`\bar y_f` counts for: the prediction is
        :math:`(\sum y + s\,\bar y_f) / (n + s)` over the :math:`n` training cells of the type. 0 (default) is the
        type's own mean; with types of a few cells each, 3 predicts better.

    Examples
    --------
    >>> from scvi_cae.evaluate import TypeMeanBaseline
    >>> TypeMeanBaseline().fit(["a", "a", "b"], [[1.0], [3.0], [7.0]]).predict(["a", "b"])
    array([[2.],
           [7.]])
    """

    def __init__(self, shrinkage: float = 0.0) -> None:
        self.shrinkage = shrinkage

    def fit(
        self,
        labels: Labels,
        target: ArrayLike,
        families: Labels | None = None,
    ) -> TypeMeanBaseline:
        """Fit to training cells.

        Parameters
        ----------
        labels
            ``(n_cells,)`` types, missing where unknown.
        target
            ``(n_cells, n_target)`` values of the same cells, NaN where missing.
        families
            ``(n_cells,)`` families of types, missing where unknown.

        Returns
        -------
        The baseline itself.

        Raises
        ------
        ValueError
            If the cells are not the same number.
        """
        values = np.asarray(target, dtype=float)
        if len(values) != len(labels):
            raise ValueError(f"{len(labels)} labels for {len(values)} cells; give one for each.")
        table = pd.DataFrame(values)
        self._overall = table.mean()
        self._families = (
            None if families is None else table.groupby(np.asarray(families, dtype=object)).mean()
        )
        types = np.asarray(labels, dtype=object)
        deviations = (table - self._prior(families, len(table))).groupby(types)
        self._sums, self._counts = deviations.sum(), deviations.count()
        return self

    def predict(
        self,
        labels: Labels,
        families: Labels | None = None,
    ) -> np.ndarray:
        """Predict the target of cells of given types.

        Parameters
        ----------
        labels
            ``(n_cells,)`` types, missing where unknown.
        families
            ``(n_cells,)`` their families, if the baseline was fitted with families.

        Returns
        -------
        ``(n_cells, n_target)`` values in the units of the target.
        """
        types = np.asarray(labels, dtype=object)
        sums, counts = self._sums.reindex(types), self._counts.reindex(types)
        deviation = (sums / (counts + self.shrinkage)).fillna(0.0)
        return deviation.to_numpy() + self._prior(families, len(types)).to_numpy()

    def _prior(self, families: Labels | None, n_cells: int) -> pd.DataFrame:
        """What is predicted of a cell of unknown type."""
        if self._families is None or families is None:
            return pd.DataFrame(np.tile(self._overall, (n_cells, 1)))
        means = self._families.reindex(np.asarray(families, dtype=object)).fillna(self._overall)
        return means.reset_index(drop=True)


class WithTypeMean:
    """The mean of a baseline's prediction and of that of the cell's type.

    A type says what its cells have in common, a cell's own values how it differs; each is shrunk by half towards the
    other, and the mean of both predicts better than either.

    Parameters
    ----------
    baseline
        What predicts from the cell's values: anything with ``fit(source, target)`` and ``predict(source)``.
    shrinkage
        As in :class:`TypeMeanBaseline`.

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

    def fit(
        self,
        source: ArrayLike,
        target: ArrayLike,
        labels: Labels,
        families: Labels | None = None,
    ) -> WithTypeMean:
        """Fit to training cells.

        Parameters
        ----------
        source, target
            ``(n_cells, n_features)`` values of the two modalities, NaN where missing.
        labels, families
            As in :meth:`TypeMeanBaseline.fit`.

        Returns
        -------
        The baseline itself.
        """
        self.baseline.fit(source, target)
        self.type_mean.fit(labels, target, families)
        return self

    def predict(
        self,
        source: ArrayLike,
        labels: Labels,
        families: Labels | None = None,
    ) -> np.ndarray:
        """Predict the target of any cells.

        Parameters
        ----------
        source
            ``(n_cells, n_source)`` values, NaN where missing.
        labels, families
            As in :meth:`TypeMeanBaseline.predict`.

        Returns
        -------
        ``(n_cells, n_target)`` values in the units of the target.
        """
        return (self.baseline.predict(source) + self.type_mean.predict(labels, families)) / 2
