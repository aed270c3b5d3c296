"""Coefficients of determination pooled over all features and cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scvi_cae._docstrings import insert_descriptions

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: Parameters that scores of predictions share.
describe = insert_descriptions(
    truth="""
        ``(n_cells, n_features)`` measured values, in the units of the data; NaN where not measured. Such
        entries are not scored.
    """,
    prediction="""
        ``(n_cells, n_features)`` predicted values, in the same units. May be NaN where no value is scored.
    """,
    mean="``(n_features,)`` mean of the training cells.",
    scale="""
        ``(n_features,)`` standard deviation of the training cells. Features with 0 or NaN, which are constant
        among them or have no value there, are not scored.
    """,
)


@describe
def pooled_r2(truth: ArrayLike, prediction: ArrayLike, mean: ArrayLike, scale: ArrayLike) -> float:
    r"""Coefficient of determination pooled over all features and cells, relative to the training mean.

    .. math:: R^2 = 1 - \frac{\sum (y - \hat y)^2}{\sum y^2}

    with :math:`y = (\mathrm{truth} - \mathrm{mean}) / \mathrm{scale}`, :math:`\hat y` standardised likewise
    from the prediction, and sums over the observed entries. 1 is a perfect prediction, 0 is as good as the
    training mean, and values below 0 are worse than the mean. Features are standardised, so all have the same
    weight whatever their unit. Sums are pooled before division, so features that vary little among the cells
    scored do not dominate, as they do in a mean of R2 per feature.

    Parameters
    ----------
    %(truth)s
    %(prediction)s
    %(mean)s
    %(scale)s

    Returns
    -------
    At most 1; NaN if every observed value equals the training mean, so that no variance can be explained, or
    if no feature is scored.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or ``prediction`` is NaN at one that is scored.

    References
    ----------
    :func:`sklearn.metrics.r2_score` of the flattened entries is the same, except that it is relative to the
    mean of the cells scored, which a prediction cannot know.

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


@describe
def r2_beyond(truth: ArrayLike, prediction: ArrayLike, reference: ArrayLike, scale: ArrayLike) -> float:
    r"""Relative reduction of the squared error of a reference prediction.

    .. math:: R^2 = 1 - \frac{\sum (y - \hat y)^2}{\sum (y - \hat y_0)^2}

    with all values divided by ``scale``, the reference prediction :math:`\hat y_0`, and sums over the
    observed entries. If the reference is the mean of the training cells of each cell's family or type
    (:class:`TypeMeanBaseline`), this is the fraction of the variance not explained by the label that the
    prediction explains: 0 is as good as knowing the label only, values below 0 are worse. If the reference is
    the training mean, this is :func:`pooled_r2`.

    Parameters
    ----------
    %(truth)s
    %(prediction)s
    reference
        ``(n_cells, n_features)`` values of the reference prediction, as ``prediction``.
    %(scale)s

    Returns
    -------
    At most 1; NaN if the reference has no error, or no feature is scored.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or a prediction is NaN at one that is scored.

    Examples
    --------
    >>> from scvi_cae.evaluate import r2_beyond
    >>> r2_beyond([[1.0], [3.0]], [[1.0], [2.0]], reference=[[2.0], [2.0]], scale=[1.0])
    0.5
    """
    scale = np.asarray(scale, dtype=float)
    if scale.shape != np.shape(truth)[-1:]:
        raise ValueError(
            f"scale has shape {scale.shape}; give one number for each of the {np.shape(truth)[-1]} features."
        )
    truth, prediction, scored = observed_entries(truth, prediction, scale > 0)
    _, reference, _ = observed_entries(truth, reference, scale > 0)
    scale = np.broadcast_to(scale, truth.shape)[scored]
    residual, total = (
        np.sum(((truth[scored] - values[scored]) / scale) ** 2) for values in (prediction, reference)
    )
    return float(1 - residual / total) if total > 0 else np.nan


@describe
def observed_entries(
    truth: ArrayLike, prediction: ArrayLike, features: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth and prediction as arrays, and a mask of the observed entries of some features.

    Parameters
    ----------
    %(truth)s
    %(prediction)s
    features
        Boolean ``(n_features,)`` mask of the features to score; by default those with any prediction.

    Returns
    -------
    Both, and a boolean ``(n_cells, n_features)``.

    Raises
    ------
    ValueError
        If shapes differ, ``truth`` has no observed entry, or ``prediction`` is NaN at one that is scored.
    """
    truth, prediction = (np.asarray(values, dtype=float) for values in (truth, prediction))
    if truth.ndim != 2 or truth.shape != prediction.shape:
        raise ValueError(
            f"truth has shape {truth.shape} and prediction {prediction.shape}; give both for the same cells "
            "and features."
        )
    observed = ~np.isnan(truth)
    if features is None:
        features = ~np.isnan(prediction).all(0)
    if not observed.any():
        raise ValueError(
            "truth has no observed value, so nothing can be scored. Choose cells that have this modality."
        )
    observed &= features
    unpredicted = np.argwhere(observed & np.isnan(prediction))
    if len(unpredicted):
        row, column = unpredicted[0]
        raise ValueError(
            f"prediction is NaN at {len(unpredicted)} entries whose truth is observed, the first at row "
            f"{row}, column {column}. Score only cells that have the source modality, and features that the method "
            "was trained on."
        )
    return truth, prediction, observed
