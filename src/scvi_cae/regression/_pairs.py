"""Base class of regressions from one modality to another: units and missing values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from typing import TYPE_CHECKING, Self

import numpy as np

from scvi_cae._docstrings import insert_descriptions

from ._state import Standardisation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike

#: Parameters that baselines share.
describe = insert_descriptions(
    source="""
        ``(n_cells, n_source)`` values, NaN where missing. Of at most 200 features, a missing one is replaced by its mean
        given the others, as for a normal distribution; of more, or if a tenth of the training cells lack it, by the
        training mean.
    """,
    target="``(n_cells, n_target)`` values, NaN where missing.",
    labels="``(n_cells,)`` types, missing where unknown.",
    families="""
        ``(n_cells,)`` families, missing where unknown. Pass them to both ``fit`` and ``predict``, or to
        neither.
    """,
    shrinkage="""
        Number of cells that the family's mean counts for, :math:`s` in :class:`TypeMeanBaseline`. 0 (default)
        gives the mean of the type itself; for types of a few cells each, 3 predicts better.
    """,
    squash=r"""
        Whether the standardised source is squashed by :math:`\operatorname{arsinh}`, which keeps it as it is near the
        mean and makes logarithms of outliers. Better for modalities with outliers, such as electrophysiology.
    """,
    n_latent="Number of latent dimensions.",
    seed="Seed of the random numbers.",
)


class PairBaseline(ABC):
    """Baseline from one modality to another, both in standard deviations of the training cells."""

    _source: Standardisation
    _target: Standardisation
    squash: bool = False

    @describe
    def fit(self, source: ArrayLike, target: ArrayLike) -> Self:
        """Fit to training cells: the same cells in ``source`` and ``target``.

        Cells that lack one modality altogether still count for the mean and standard deviation of the other.
        A feature of the target that is constant among the training cells is predicted as its constant, and one
        without any value as NaN; such features of the source are ignored.

        Parameters
        ----------
        %(source)s
        %(target)s

        Returns
        -------
        The baseline itself.

        Raises
        ------
        ValueError
            If the numbers of cells differ.
        """
        source, target = (np.asarray(values, dtype=float) for values in (source, target))
        if len(source) != len(target):
            raise ValueError(f"source has {len(source)} cells and target {len(target)}; give the same cells.")
        self._source, self._target = Standardisation.of(source), Standardisation.of(target)
        self._fit(self._inputs(source), self._target(target), ~np.isnan(source).all(1))
        return self

    @describe
    def predict(self, source: ArrayLike) -> np.ndarray:
        """Predict the target of any cells.

        Parameters
        ----------
        %(source)s

        Returns
        -------
        ``(n_cells, n_target)`` values in the units of the target; NaN for cells without any source value, and
        for features without any value in the training cells.
        """
        source = np.asarray(source, dtype=float)
        y = self._predict(self._inputs(source))
        y[np.isnan(source).all(1)] = np.nan
        return self._target.inverse(y)

    def _inputs(self, source: np.ndarray) -> np.ndarray:
        """Standardised source without missing values."""
        x = self._source.completed(source)
        return np.arcsinh(x) if self.squash else x

    @abstractmethod
    def _fit(self, x: np.ndarray, y: np.ndarray, present: np.ndarray) -> None:
        """Fit standardised values: ``x`` imputed, ``y`` with NaN; ``present`` masks cells with a source."""

    @abstractmethod
    def _predict(self, x: np.ndarray) -> np.ndarray:
        """Standardised target of a standardised source."""


def patterns(observed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Group features by the cells that they are observed in.

    Parameters
    ----------
    observed
        Boolean ``(n_cells, n_features)``.

    Yields
    ------
    Mask of the cells, and positions of the features. Features with fewer than two cells are omitted.
    """
    groups: defaultdict[bytes, list[int]] = defaultdict(list)
    for feature, cells in enumerate(observed.T):
        groups[cells.tobytes()].append(feature)
    for features in groups.values():
        cells = observed[:, features[0]]
        if cells.sum() >= 2:
            yield cells, np.array(features)
