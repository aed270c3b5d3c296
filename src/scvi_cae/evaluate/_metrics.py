"""How much of the values of all features together is predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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
    mean = np.asarray(mean, dtype=float)
    n_features = np.shape(truth)[-1:]
    if mean.shape != n_features:
        raise ValueError(
            f"mean has shape {mean.shape}; give one number for each of the {np.shape(truth)[-1]} features."
        )
    return r2_beyond(truth, prediction, np.broadcast_to(mean, np.shape(truth)), scale)


def r2_beyond(truth: ArrayLike, prediction: ArrayLike, reference: ArrayLike, scale: ArrayLike) -> float:
    r"""Share of a reference prediction's squared error that a prediction saves.

    With everything divided by ``scale``,

    .. math:: R^2 = 1 - \frac{\sum (y - \hat y)^2}{\sum (y - \hat y_0)^2},

    both sums over the observed entries. With the mean of each cell's family or type among the training cells as the
    reference :math:`\hat y_0` (:class:`TypeMeanBaseline`), it says how much of what the label leaves open is
    predicted: 0 is as good as knowing the label and nothing else, below 0 is worse. With the training mean, it is
    :func:`pooled_r2`.

    Parameters
    ----------
    truth
        ``(n_cells, n_features)`` measured values, in the data's own units; NaN where not measured, and then
        not scored.
    prediction, reference
        ``(n_cells, n_features)`` predicted values, in the same units. May be NaN where ``truth`` is.
    scale
        ``(n_features,)`` standard deviation of the training cells.

    Returns
    -------
    At most 1; NaN if the reference is right everywhere.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or a prediction is NaN at one.

    Examples
    --------
    >>> from scvi_cae.evaluate import r2_beyond
    >>> r2_beyond([[1.0], [3.0]], [[1.0], [2.0]], reference=[[2.0], [2.0]], scale=[1.0])
    0.5
    """
    truth, prediction, observed = observed_entries(truth, prediction)
    _, reference, _ = observed_entries(truth, reference)
    scale = np.asarray(scale, dtype=float)
    if scale.shape != truth.shape[1:]:
        raise ValueError(
            f"scale has shape {scale.shape}; give one number for each of the {truth.shape[1]} features."
        )
    total = np.sum(((truth - reference) / scale)[observed] ** 2)
    return float(1 - np.sum(((truth - prediction) / scale)[observed] ** 2) / total) if total > 0 else np.nan


def observed_entries(truth: ArrayLike, prediction: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth and prediction as arrays, and where the truth is observed.

    Parameters
    ----------
    truth, prediction
        ``(n_cells, n_features)`` values, NaN where not measured; the prediction is not NaN elsewhere.

    Returns
    -------
    Both, and a boolean ``(n_cells, n_features)``.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or ``prediction`` is NaN at one.
    """
    truth, prediction = (np.asarray(values, dtype=float) for values in (truth, prediction))
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise ValueError(
            f"truth has shape {truth.shape} and prediction {prediction.shape}; give both as the same cells by "
            "the same features."
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
    return truth, prediction, observed
