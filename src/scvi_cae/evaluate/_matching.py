"""How well cells find themselves in the other modality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Rows of distances computed at once: memory stays linear in the number of samples.
_CHUNK = 1000


def foscttm(a: ArrayLike, b: ArrayLike) -> float:
    r"""Fraction of samples closer than the true match (FOSCTTM).

    For rows :math:`a_i` and :math:`b_i` of the same cell, how many cells of the other modality are nearer
    to it than itself, as a fraction of all, averaged over cells and over both directions:

    .. math::

        \frac{1}{2n^2} \sum_i \Big( \#\{j : |a_i - b_j| < |a_i - b_i|\}
                                  + \#\{j : |b_i - a_j| < |b_i - a_i|\} \Big)

    0 is a perfect match of every cell, about 0.5 is chance. The true match itself is never closer than
    itself, so that the worst value is :math:`(n - 1) / n`.

    Parameters
    ----------
    a, b
        ``(n_cells, n_latent)`` latents of the same cells in the same order, one modality each; n_cells >= 2.

    Returns
    -------
    From 0 to below 1.

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
    # From the same routine as below: rounded differently, a match could be closer than itself.
    match = np.concatenate([np.diag(cdist(a[rows], b[rows])) for rows in chunks])
    closer = 0
    for rows in chunks:
        distance = cdist(a[rows], b)
        closer += np.sum(distance < match[rows, None]) + np.sum(distance < match)
    return float(closer / (2 * len(a) ** 2))


def top_k_accuracy(source: ArrayLike, target: ArrayLike, k: int = 10) -> float:
    """Fraction of cells that are among the ``k`` nearest of the other modality's cells to themselves.

    Parameters
    ----------
    source, target
        ``(n_cells, n_latent)`` latents of the same cells in the same order, one modality each; n_cells >= 2. The
        cells of ``target`` are ranked by their distance to each cell of ``source``.
    k
        How many of the nearest count; 1 asks for the very cell. By chance it is one of them in ``k / n_cells`` of
        the cases, so that results on different numbers of cells do not compare.

    Returns
    -------
    From 0 to 1. Cells at the same distance as the true match do not count against it.

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
    found = 0
    for start in range(0, len(source), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(source)))
        distance = cdist(source[rows], target)
        match = distance[np.arange(len(rows)), rows]
        found += int(np.sum((distance < match[:, None]).sum(1) < k))
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
            f"a has shape {a.shape} and b {b.shape}; give the same cells by the same dimensions."
        )
    if len(a) < 2:
        raise ValueError(f"{len(a)} cells: there is nothing to mistake a cell for. Give at least 2.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a or b has values that are not finite. Leave out cells that lack either modality.")
    return a, b
