"""What a prediction is worth only in comparison with; fitted on nothing but the cells given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike

#: Penalties to choose from, for standardised features: from close to none to close to the mean.
ALPHAS = np.logspace(0, 5, 11)


class RidgeBaseline:
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

    def fit(self, source: ArrayLike, target: ArrayLike) -> RidgeBaseline:
        """Fit to training cells.

        Parameters
        ----------
        source
            ``(n_cells, n_source)`` values, NaN where missing.
        target
            ``(n_cells, n_target)`` values of the same cells, NaN where missing. Cells may lack either
            modality altogether: they still count for the mean and standard deviation of the other.

        Returns
        -------
        The baseline itself.

        Raises
        ------
        ValueError
            If the cells are not the same number, or a feature of the target has no observed value.
        """
        source, target = (np.asarray(values, dtype=float) for values in (source, target))
        if len(source) != len(target):
            raise ValueError(f"source has {len(source)} cells and target {len(target)}; give the same cells.")
        observed = ~np.isnan(target)
        if not observed.any(0).all():
            raise ValueError(
                f"Features of the target without a value in any training cell: columns "
                f"{np.flatnonzero(~observed.any(0)).tolist()}. Leave them out."
            )
        # StandardScaler passes NaN on; a constant feature gets scale 1.
        self._source = make_pipeline(
            StandardScaler(), SimpleImputer(strategy="constant", fill_value=0.0, keep_empty_features=True)
        ).fit(source)
        self._target = StandardScaler().fit(target)
        x, y = self._source.transform(source), self._target.transform(target)
        usable = observed & ~np.isnan(source).all(1, keepdims=True)
        patterns, group = np.unique(usable, axis=1, return_inverse=True)
        self._fits: list[tuple[np.ndarray, RidgeCV]] = []
        for k, cells in enumerate(patterns.T):
            # A feature of which fewer than two cells have the source too keeps the training mean.
            if cells.sum() >= 2:
                columns = np.flatnonzero(group.ravel() == k)
                self._fits.append((columns, RidgeCV(self.alphas).fit(x[cells], y[np.ix_(cells, columns)])))
        return self

    def predict(self, source: ArrayLike) -> np.ndarray:
        """Predict the target of any cells.

        Parameters
        ----------
        source
            ``(n_cells, n_source)`` values, NaN where missing.

        Returns
        -------
        ``(n_cells, n_target)`` values in the units of the target; NaN for cells without any source value.
        """
        source = np.asarray(source, dtype=float)
        x = self._source.transform(source)
        y = np.zeros((len(x), self._target.n_features_in_))
        for columns, ridge in self._fits:
            y[:, columns] = ridge.predict(x).reshape(len(x), -1)
        y[np.isnan(source).all(1)] = np.nan
        return self._target.inverse_transform(y)


class TypeMeanBaseline:
    """The mean of the cell's type among the training cells.

    What a prediction of a cell's modality must beat to say more than its type does. Cells whose type is
    missing, or was not among the training cells or not observed there, get the mean of all training cells.

    Examples
    --------
    >>> from scvi_cae.evaluate import TypeMeanBaseline
    >>> TypeMeanBaseline().fit(["a", "a", "b"], [[1.0], [3.0], [7.0]]).predict(["a", "b"])
    array([[2.],
           [7.]])
    """

    def fit(self, labels: Sequence[object] | pd.Series, target: ArrayLike) -> TypeMeanBaseline:
        """Fit to training cells.

        Parameters
        ----------
        labels
            ``(n_cells,)`` types, missing where unknown.
        target
            ``(n_cells, n_target)`` values of the same cells, NaN where missing.

        Returns
        -------
        The baseline itself.

        Raises
        ------
        ValueError
            If the cells are not the same number.
        """
        table = pd.DataFrame(np.asarray(target, dtype=float))
        if len(table) != len(labels):
            raise ValueError(f"{len(labels)} labels for {len(table)} cells; give one for each.")
        self._overall = table.mean()
        self._means = table.groupby(np.asarray(labels, dtype=object)).mean()
        return self

    def predict(self, labels: Sequence[object] | pd.Series) -> np.ndarray:
        """Predict the target of cells of given types.

        Parameters
        ----------
        labels
            ``(n_cells,)`` types, missing where unknown.

        Returns
        -------
        ``(n_cells, n_target)`` values in the units of the target.
        """
        return self._means.reindex(np.asarray(labels, dtype=object)).fillna(self._overall).to_numpy()
