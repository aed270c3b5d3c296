"""Labels of cells by their latents in one modality, learnt from another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._baselines import Labels

#: Shrinks the covariance of a class towards the identity: some classes have hardly more cells than dimensions.
REGULARISATION = 0.05


def transfer_labels(
    latents: ArrayLike,
    labels: Labels,
    query: ArrayLike,
    classifier: Literal["knn", "qda"] = "knn",
    *,
    n_neighbors: int = 1,
    n_dimensions: int = 10,
) -> np.ndarray:
    """Label cells by the labels of other cells, in a latent space.

    With training cells' latents in one modality and held-out cells' latents in another, how many labels are right says
    whether the modalities agree on what a cell is.

    Parameters
    ----------
    latents
        ``(n_cells, n_latent)`` latents of labelled cells; cells with NaN, or without label, are left out.
    labels
        ``(n_cells,)`` their labels, missing where unknown.
    query
        ``(n_query, n_latent)`` finite latents of the cells to label.
    classifier
        ``"knn"``: nearest neighbours. ``"qda"``: quadratic discriminant analysis, a normal distribution for each label
        with as many cells as it takes; labels with at most one cell more than there are dimensions are never given.
    n_neighbors
        Of ``"knn"``.
    n_dimensions
        Most dimensions of ``"qda"``: of more, such as those of an ensemble, the first principal components.

    Returns
    -------
    ``(n_query,)`` labels; all missing if no label has enough cells.

    Raises
    ------
    ValueError
        If there is no such classifier, or numbers of cells or dimensions differ.

    See Also
    --------
    sklearn.neighbors.KNeighborsClassifier, sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis

    Examples
    --------
    >>> from scvi_cae.evaluate import transfer_labels
    >>> transfer_labels([[0.0], [0.2], [5.0]], ["a", "a", "b"], [[0.1], [4.0]]).tolist()
    ['a', 'b']
    """
    z, query = np.asarray(latents, dtype=float), np.asarray(query, dtype=float)
    given = np.asarray(labels, dtype=object)
    if len(z) != len(given) or z.shape[1:] != query.shape[1:]:
        raise ValueError(
            f"latents have shape {z.shape}, labels {given.shape} and query {query.shape}; give one label for "
            "each cell, and latents of the same dimensions."
        )
    if classifier not in ("knn", "qda"):
        raise ValueError(f"classifier={classifier!r} must be 'knn' or 'qda'.")
    known = ~pd.isna(given) & np.isfinite(z).all(1)
    z, given = z[known], given[known].astype(str)
    if classifier == "qda":
        n = min(n_dimensions, z.shape[1])
        names, counts = np.unique(given, return_counts=True)
        enough = np.isin(given, names[counts > n + 1])
        z, given = z[enough], given[enough]
    if not len(given) or not len(query):
        return np.full(len(query), None, dtype=object)
    if len(set(given)) == 1:
        return np.full(len(query), given[0], dtype=object)
    if classifier == "knn":
        model = KNeighborsClassifier(min(n_neighbors, len(given)))
    else:
        model = make_pipeline(PCA(n), QuadraticDiscriminantAnalysis(reg_param=REGULARISATION))
    return model.fit(z, given).predict(query).astype(object)


def label_accuracy(labels: Labels, given: np.ndarray) -> float:
    """Fraction of labels that are right.

    Parameters
    ----------
    labels
        ``(n_cells,)`` true labels; cells without one are not scored.
    given
        ``(n_cells,)`` labels to score, such as those of :func:`transfer_labels`.

    Returns
    -------
    From 0 to 1; NaN if no cell has a true label. A label that none of the labelled cells had cannot be given, and
    counts as wrong.

    Examples
    --------
    >>> from scvi_cae.evaluate import label_accuracy
    >>> label_accuracy(["a", "b", None], ["a", "a", "a"])
    0.5
    """
    true = np.asarray(labels, dtype=object)
    known = ~pd.isna(true)
    return float(np.mean(true[known].astype(str) == np.asarray(given)[known])) if known.any() else np.nan
