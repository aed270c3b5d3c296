"""Label transfer: labels of cells from their latents in one modality, learnt in another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.neighbors import KNeighborsClassifier

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ._baselines import Labels


def transfer_labels(
    latents: ArrayLike,
    labels: Labels,
    query: ArrayLike,
    *,
    n_neighbors: int = 1,
) -> np.ndarray:
    """Classify cells by their latents, with the labels of their nearest labelled cells.

    If the labelled cells are training cells in one modality and the query cells are held-out cells in
    another, the accuracy (:func:`label_accuracy`) measures whether the modalities agree on cell identity.

    Parameters
    ----------
    latents
        ``(n_cells, n_latent)`` latents of labelled cells; cells with NaN or without label are left out.
    labels
        ``(n_cells,)`` labels of these cells, missing where unknown.
    query
        ``(n_query, n_latent)`` finite latents of the cells to classify.
    n_neighbors
        Number of nearest neighbours whose majority counts.

    Returns
    -------
    ``(n_query,)`` labels; all missing if no cell has a label.

    Raises
    ------
    ValueError
        If numbers of cells or dimensions differ.

    See Also
    --------
    scvi_cae.CoupledAE.map_query : Classes of new cells, with calibrated sets.
    sklearn.neighbors.KNeighborsClassifier

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
            "each cell, and latents with the same dimensions."
        )
    known = ~pd.isna(given) & np.isfinite(z).all(1)
    z, given = z[known], given[known].astype(str)
    if not len(given) or not len(query):
        return np.full(len(query), None, dtype=object)
    model = KNeighborsClassifier(min(n_neighbors, len(given)))
    return model.fit(z, given).predict(query).astype(object)


def label_accuracy(labels: Labels, given: np.ndarray) -> float:
    """Fraction of labels that are correct.

    Parameters
    ----------
    labels
        ``(n_cells,)`` true labels; cells without one are not scored.
    given
        ``(n_cells,)`` labels to score, such as those of :func:`transfer_labels`.

    Returns
    -------
    From 0 to 1 (best); NaN if no cell has a true label. A true label that no labelled cell had cannot be
    predicted, and counts as an error.

    Examples
    --------
    >>> from scvi_cae.evaluate import label_accuracy
    >>> label_accuracy(["a", "b", None], ["a", "a", "a"])
    0.5
    """
    true = np.asarray(labels, dtype=object)
    known = ~pd.isna(true)
    return float(np.mean(true[known].astype(str) == np.asarray(given)[known])) if known.any() else np.nan
