"""Measures of agreement between arrays; they know nothing of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.distance import cdist

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Rows of distances computed at once: memory stays linear in the number of samples.
_CHUNK = 1000


def pooled_r2(truth: ArrayLike, prediction: ArrayLike, mean: ArrayLike, scale: ArrayLike) -> float:
    r"""Coefficient of determination over all features and cells together, against the training mean.

    With :math:`y = (\mathrm{truth} - \mathrm{mean}) / \mathrm{scale}` and :math:`\hat y` likewise from the
    prediction,

    .. math:: R^2 = 1 - \frac{\sum (y - \hat y)^2}{\sum y^2},

    both sums over the observed entries. 1 is perfect, 0 is as good as always predicting the training mean,
    and below 0 is worse than that. Since features are standardised first, each weighs the same, whatever its
    unit; since sums are pooled before they are divided, features that vary little among the cells scored do
    not blow up, as they do in a mean of R2 per feature.

    Parameters
    ----------
    truth
        ``(n_cells, n_features)`` measured values, in the data's own units; NaN where not measured, and then
        not scored.
    prediction
        ``(n_cells, n_features)`` predicted values, in the same units. May be NaN where ``truth`` is.
    mean, scale
        ``(n_features,)`` mean and standard deviation of the training cells.

    Returns
    -------
    At most 1; NaN if every observed value is the training mean, against which nothing can be explained.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or ``prediction`` is NaN at one.

    References
    ----------
    :func:`sklearn.metrics.r2_score` computes the same of the flattened entries, but against the mean of the
    cells scored, which a prediction cannot know.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.evaluate import pooled_r2
    >>> truth = np.array([[1.0, 20.0], [3.0, np.nan]])
    >>> pooled_r2(truth, truth, mean=[2, 10], scale=[1, 10])
    1.0
    >>> pooled_r2(truth, [[2, 10], [2, 10]], mean=[2, 10], scale=[1, 10])
    0.0
    """
    truth, prediction = (np.asarray(values, dtype=float) for values in (truth, prediction))
    mean, scale = (np.asarray(values, dtype=float) for values in (mean, scale))
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise ValueError(
            f"truth has shape {truth.shape} and prediction {prediction.shape}; give both as the same cells by "
            "the same features."
        )
    if mean.shape != truth.shape[1:] or scale.shape != truth.shape[1:]:
        raise ValueError(
            f"mean has shape {mean.shape} and scale {scale.shape}; give one number for each of the "
            f"{truth.shape[1]} features."
        )
    observed = ~np.isnan(truth)
    if not observed.any():
        raise ValueError(
            "truth has no observed value: nothing to score. Choose cells that have this modality."
        )
    unpredicted = np.argwhere(observed & np.isnan(prediction))
    if len(unpredicted):
        row, column = unpredicted[0]
        raise ValueError(
            f"prediction is NaN at {len(unpredicted)} entries whose truth is observed, the first at row {row}, "
            f"column {column}. Score only cells that have the modality predicted from."
        )
    y, y_hat = ((values - mean) / scale for values in (truth, prediction))
    total = np.sum(y[observed] ** 2)
    return float(1 - np.sum((y - y_hat)[observed] ** 2) / total) if total > 0 else np.nan


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
    a, b = (np.asarray(values, dtype=float) for values in (a, b))
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"a has shape {a.shape} and b {b.shape}; give the same cells by the same dimensions."
        )
    if len(a) < 2:
        raise ValueError(f"{len(a)} cells: there is nothing to mistake a cell for. Give at least 2.")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a or b has values that are not finite. Leave out cells that lack either modality.")
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(a), _CHUNK)]
    # From the same routine as below: rounded differently, a match could be closer than itself.
    match = np.concatenate([np.diag(cdist(a[rows], b[rows])) for rows in chunks])
    closer = 0
    for rows in chunks:
        distance = cdist(a[rows], b)
        closer += np.sum(distance < match[rows, None]) + np.sum(distance < match)
    return float(closer / (2 * len(a) ** 2))
