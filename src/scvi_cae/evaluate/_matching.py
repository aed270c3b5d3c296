"""Scores of how well latents of two modalities match cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Rows of the distance matrix computed at once, so that memory is linear in the number of cells.
_CHUNK = 1000


def foscttm(a: ArrayLike, b: ArrayLike) -> float:
    r"""Fraction of samples closer than the true match (FOSCTTM).

    .. math::

        \frac{1}{2n(n - 1)} \sum_i \sum_{j \neq i} \Big( h(|a_i - b_i| - |a_i - b_j|)
                                                      + h(|b_i - a_i| - |b_i - a_j|) \Big)

    with :math:`a_i` and :math:`b_i` the latents of cell :math:`i` in two modalities, and :math:`h(d)` 1 for
    :math:`d > 0`, a half for a tie (:math:`d = 0`) and 0 otherwise: the fraction of the other cells whose
    latent in the other modality is closer than the cell's own, averaged over cells and both directions. Lower
    is better: 0 is a perfect match of every cell, 0.5 is chance, also for latents that are all the same, and
    1 is the worst.

    Parameters
    ----------
    a, b
        ``(n_cells, n_latent)`` latents of the same cells in the same order, one modality each; at least 2
        cells.

    Returns
    -------
    From 0 (best) to 1.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two cells, or a value is not finite.

    Notes
    -----
    Distances are Euclidean. Time is quadratic in the number of cells, memory linear.

    References
    ----------
    Liu, Huang, Singh, Vert and Noble, "Jointly embedding multiple single-cell omics measurements", WABI 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import foscttm
    >>> z = np.random.default_rng(0).normal(size=(100, 5))
    >>> foscttm(z, z)
    0.0
    """
    a, b = matched_latents(a, b)
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(a), _CHUNK)]
    # cdist here too: with different rounding, a match could be closer than itself.
    match = np.concatenate([np.diag(cdist(a[rows], b[rows])) for rows in chunks])
    n, closer = len(a), 0
    for rows in chunks:
        distance = cdist(a[rows], b)
        for own in (match[rows, None], match):
            closer += np.sum(distance < own) + np.sum(distance <= own)
    # Each cell is at most as far as itself, in both directions.
    return float((closer - 2 * n) / (4 * n * (n - 1)))


def top_k_accuracy(source: ArrayLike, target: ArrayLike, k: int = 10) -> float:
    """Fraction of cells whose own target is among the ``k`` nearest targets of their source.

    Chance level is ``k / n_cells``, so values for different numbers of cells are not comparable. Of targets at
    the same distance, each is as likely to be the nearer one: a cell whose own target ties with others counts
    by the probability that it is among the ``k`` nearest.

    Parameters
    ----------
    source, target
        ``(n_cells, n_latent)`` latents of the same cells in the same order, one modality each; at least 2
        cells. The cells of ``target`` are ranked by their distance to each cell of ``source``.
    k
        Number of nearest targets that count; with 1, a cell must be its own nearest neighbour.

    Returns
    -------
    From 0 to 1 (best).

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two cells, or a value is not finite; if ``k`` is below 1.

    Examples
    --------
    >>> from scvi_cae.evaluate import top_k_accuracy
    >>> top_k_accuracy([[0.0], [1.0], [2.0]], [[0.1], [1.9], [1.2]], k=1)
    0.3333333333333333
    """
    source, target = matched_latents(source, target)
    if k < 1:
        raise ValueError(f"k={k} must be at least 1.")
    found = 0.0
    for start in range(0, len(source), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(source)))
        distance = cdist(source[rows], target)
        match = distance[np.arange(len(rows)), rows][:, None]
        closer, ties = (distance < match).sum(1), (distance == match).sum(1)
        found += float(np.clip((k - closer) / ties, 0, 1).sum())
    return found / len(source)


def matched_latents(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Latents of the same cells in two modalities, as arrays.

    Parameters
    ----------
    a, b
        ``(n_cells, n_latent)`` latents of the same cells.

    Returns
    -------
    Both.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two cells, or a value is not finite.
    """
    a, b = (np.asarray(values, dtype=float) for values in (a, b))
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"Latents have shapes {a.shape} and {b.shape}; give the same cells with the same dimensions."
        )
    if len(a) < 2:
        raise ValueError(f"Matching needs several cells, not {len(a)}. Give at least 2.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError(
            "Latents have values that are not finite. Leave out cells that lack either modality."
        )
    return a, b
