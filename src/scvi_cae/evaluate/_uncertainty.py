"""Scores of predicted quantiles, and of predictions as uncertain cells are set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._metrics import describe, pooled_r2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike


@describe
def interval_scores(truth: ArrayLike, intervals: pd.DataFrame, scale: ArrayLike) -> pd.DataFrame:
    r"""Score predicted quantiles of each feature.

    The pinball loss of a predicted quantile :math:`q_\tau` is

    .. math:: \max\{\tau (y - q_\tau),\ (\tau - 1) (y - q_\tau)\}.

    Parameters
    ----------
    %(truth)s
    intervals
        Predictions of the same cells, as returned by ``predict(..., quantiles=...)``: columns by feature and
        quantile.
    %(scale)s

    Returns
    -------
    A row for each feature; ``.mean()`` gives all features the same weight.

    ``n_cells``
        Number of cells scored: those with truth and prediction.
    ``coverage``
        Fraction of cells whose value is between the lowest and the highest quantile, bounds included.
    ``width``
        Mean distance of these two quantiles, in standard deviations; NaN for a feature with none.
    ``pinball``
        Mean pinball loss of all quantiles, in standard deviations, likewise. Lower is better: correct quantiles as
        close to the value as possible. For evenly spaced quantiles, twice this is about the continuous ranked
        probability score.

    Raises
    ------
    ValueError
        If shapes differ, there are fewer than two quantiles, or a feature has no cell to score.

    See Also
    --------
    sklearn.metrics.mean_pinball_loss : The same loss for a single quantile, without missing values.

    Examples
    --------
    >>> import pandas as pd
    >>> from scvi_cae.evaluate import interval_scores
    >>> columns = pd.MultiIndex.from_product([["width"], [0.1, 0.9]], names=["feature", "quantile"])
    >>> intervals = pd.DataFrame([[0.0, 2.0], [1.0, 3.0]], columns=columns)
    >>> interval_scores([[1.0], [4.0]], intervals, scale=[1.0])
             n_cells  coverage  width  pinball
    feature
    width          2       0.5    2.0     0.35
    """
    features, quantiles, values = _by_quantile(intervals)
    truth, scale = np.asarray(truth, dtype=float), np.asarray(scale, dtype=float)
    if truth.shape != values.shape[:2] or scale.shape != truth.shape[1:]:
        raise ValueError(
            f"truth has shape {truth.shape}, scale {scale.shape}, and the intervals are of {values.shape[0]} "
            f"cells by {values.shape[1]} features; give the same cells and features."
        )
    scale = np.where(scale > 0, scale, np.nan)
    scored = ~np.isnan(truth) & ~np.isnan(values[..., 0])
    n = scored.sum(0)
    if not n.all():
        raise ValueError(
            f"No cell has both truth and prediction of {features[n == 0].tolist()}. Leave these features out."
        )
    low, high = values[..., quantiles.argmin()], values[..., quantiles.argmax()]
    error = truth[..., None] - values
    pinball = np.maximum(quantiles * error, (quantiles - 1) * error).mean(-1) / scale
    scores = {"coverage": (truth >= low) & (truth <= high), "width": (high - low) / scale, "pinball": pinball}
    means = {name: np.where(scored, score, 0).sum(0) / n for name, score in scores.items()}
    return pd.DataFrame({"n_cells": n, **means}, index=features)


@describe
def interval_width(intervals: pd.DataFrame, scale: ArrayLike) -> pd.Series:
    """Mean width of the intervals of each cell, a measure of the uncertainty of its prediction.

    Parameters
    ----------
    intervals
        Predictions as returned by ``predict(..., quantiles=...)``: columns by feature and quantile.
    %(scale)s

    Returns
    -------
    ``(n_cells,)`` mean over features of the distance between the lowest and the highest quantile, in standard
    deviations; NaN for cells without a prediction.

    Raises
    ------
    ValueError
        If there are fewer than two quantiles.

    Examples
    --------
    >>> import pandas as pd
    >>> from scvi_cae.evaluate import interval_width
    >>> columns = pd.MultiIndex.from_product([["width"], [0.1, 0.9]], names=["feature", "quantile"])
    >>> interval_width(pd.DataFrame([[0.0, 2.0], [1.0, 5.0]], columns=columns), scale=[2.0]).tolist()
    [1.0, 2.0]
    """
    _, quantiles, values = _by_quantile(intervals)
    scale = np.asarray(scale, dtype=float)
    scored = scale > 0
    width = (values[..., quantiles.argmax()] - values[..., quantiles.argmin()])[:, scored] / scale[scored]
    return pd.Series(width.mean(1), index=intervals.index)


@describe
def abstention(
    truth: ArrayLike,
    prediction: ArrayLike,
    uncertainty: ArrayLike,
    mean: ArrayLike,
    scale: ArrayLike,
    set_aside: Sequence[float] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5),
) -> pd.DataFrame:
    """Scores of the predictions that remain after the most uncertain cells are set aside.

    Parameters
    ----------
    %(truth)s
    %(prediction)s
    uncertainty
        ``(n_cells,)`` uncertainty of each cell, such as :func:`interval_width`; the largest are set aside
        first.
    %(mean)s
    %(scale)s
    set_aside
        Fractions of cells to set aside.

    Returns
    -------
    A row for each fraction: number of remaining cells (``n_cells``), their mean squared error in squared
    standard deviations (``mse``) and their :func:`pooled_r2` (``r2``). R2 also falls if the cells set aside
    are far from the mean, since these have most of the variance.

    Raises
    ------
    ValueError
        If shapes differ, an uncertainty is NaN, a fraction is not at least 0 and below 1, or as in
        :func:`pooled_r2`.

    Examples
    --------
    >>> from scvi_cae.evaluate import abstention
    >>> truth, prediction = [[0.0], [1.0], [2.0], [3.0]], [[0.0], [1.0], [2.0], [5.0]]
    >>> abstention(truth, prediction, [0.1, 0.3, 0.2, 0.9], mean=[1.5], scale=[1.0], set_aside=[0, 0.25])[
    ...     "mse"
    ... ]
    set aside
    0.00    1.0
    0.25    0.0
    Name: mse, dtype: float64
    """
    truth, prediction = np.asarray(truth, dtype=float), np.asarray(prediction, dtype=float)
    uncertainty, fractions = np.asarray(uncertainty, dtype=float), np.asarray(set_aside, dtype=float)
    if truth.shape[:1] != uncertainty.shape or np.isnan(uncertainty).any():
        raise ValueError(
            f"uncertainty must be one number for each of the {len(truth)} cells. Leave out cells without a "
            "prediction."
        )
    if not ((fractions >= 0) & (fractions < 1)).all():
        raise ValueError(f"set_aside={list(set_aside)} must be fractions of at least 0 and below 1.")
    scale = np.asarray(scale, dtype=float)
    squared = ((truth - prediction) / np.where(scale > 0, scale, np.nan)) ** 2
    order = np.argsort(uncertainty, kind="stable")
    rows = []
    for fraction in fractions:
        kept = order[: max(round(len(order) * (1 - fraction)), 1)]
        r2 = pooled_r2(truth[kept], prediction[kept], mean, scale)
        rows.append((len(kept), float(np.nanmean(squared[kept])), r2))
    index = pd.Index(fractions, name="set aside")
    return pd.DataFrame(rows, columns=["n_cells", "mse", "r2"], index=index)


def _by_quantile(intervals: pd.DataFrame) -> tuple[pd.Index, np.ndarray, np.ndarray]:
    """Features, quantiles and ``(n_cells, n_features, n_quantiles)`` values of predicted intervals."""
    columns = intervals.columns
    if columns.nlevels != 2 or len(columns.unique(1)) < 2:
        raise ValueError(
            "intervals must have columns by feature and quantile, with two quantiles or more, as returned by "
            "predict(..., quantiles=[0.05, 0.95])."
        )
    features, quantiles = columns.unique(0), columns.unique(1)
    ordered = intervals.reindex(columns=pd.MultiIndex.from_product([features, quantiles]))
    shape = (len(intervals), len(features), len(quantiles))
    return features, quantiles.to_numpy(dtype=float), ordered.to_numpy(dtype=float).reshape(shape)
