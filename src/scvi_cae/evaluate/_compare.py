"""Paired comparison of two methods over folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

#: The comparison has a row for each combination of these columns.
KEYS = ["metric", "source", "target"]


def compare(
    table: pd.DataFrame,
    a: str,
    b: str,
    metric: str = "r2",
    *,
    confidence: float = 0.95,
    test_fraction: float | None = None,
) -> pd.DataFrame:
    r"""Compare two methods by their paired differences over folds.

    Scores of several seeds are averaged within each fold first, since seeds share their test cells.
    Differences are those of both methods on the same fold. Folds may be some or all of a k-fold
    cross-validation, repeated ones, or random splits.

    Parameters
    ----------
    table
        Scores as returned by :func:`cross_validate`: columns ``method``, ``fold``, ``source``, ``target``,
        ``metric``, ``value``, ``n_cells`` and ``n_train``; optionally ``seed``.
    a, b
        Names of the methods.
    metric
        Metric to compare. Lower is better for ``"foscttm"`` and ``"crps"`` only: there, a negative difference
        favours ``a``.
    confidence
        Level of the confidence interval.
    test_fraction
        Fraction of the cells that each fold tests. By default that of the table, from ``n_cells`` and
        ``n_train``; needed for a table without them.

    Returns
    -------
    A row for each metric, source and target:

    ``a``, ``b``
        Mean of each method over folds.
    ``difference``
        Mean of ``a - b``.
    ``low``, ``high``
        Confidence interval of the difference; NaN for a single fold.
    ``p``
        Two-sided p-value of the t-test that corresponds to the interval; NaN for a single fold.
    ``n_folds``, ``n_better``
        Number of folds, and number of folds in which the value of ``a`` is larger.

    Raises
    ------
    ValueError
        If the table lacks a method or the metric, if a method has several scores for a fold and seed, if the
        methods share no fold, or if the table does not say how many cells were tested and trained on.

    Notes
    -----
    Folds share most of their training cells, so their scores are not independent and a plain t-test finds
    differences too easily. Interval and t-test are corrected for this (Nadeau and Bengio): the variance of
    the mean of :math:`J` differences is estimated by :math:`s^2 (1/J + n_2 / n_1)`, with :math:`n_2` cells
    tested and :math:`n_1` trained on in each fold, in the mean over folds. The second term does not shrink
    with more folds of the same size, as those of a repeated k-fold (Bouckaert and Frank).

    References
    ----------
    Nadeau and Bengio, "Inference for the generalization error", Machine Learning 2003. Bouckaert and Frank,
    "Evaluating the replicability of significance tests for comparing learning algorithms", PAKDD 2004.

    Examples
    --------
    >>> import pandas as pd
    >>> from scvi_cae.evaluate import compare
    >>> rows = [("ours", fold, 0.3 + fold / 100 + fold % 2 / 50) for fold in range(5)]
    >>> rows += [("ridge", fold, 0.2 + fold / 100) for fold in range(5)]
    >>> table = pd.DataFrame(rows, columns=["method", "fold", "value"])
    >>> table = table.assign(metric="r2", source="rna", target="ephys")
    >>> table = table.assign(n_cells=20, n_train=80)
    >>> result = compare(table, "ours", "ridge").loc[("r2", "rna", "ephys")]
    >>> round(float(result["difference"]), 3), bool(result["low"] > 0)
    (0.108, True)
    """
    rows = table[table["metric"] == metric]
    if rows.empty:
        raise ValueError(
            f"The table has no metric {metric!r}. Its metrics are "
            f"{', '.join(map(repr, table['metric'].unique()))}."
        )
    for name in (a, b):
        if name not in set(rows["method"]):
            raise ValueError(
                f"The table has no {metric!r} of {name!r}. Methods with this metric are "
                f"{', '.join(map(repr, rows['method'].unique()))}."
            )
    rows = rows[rows["method"].isin([a, b])]
    unique = ["method", *KEYS, "fold", *(["seed"] if "seed" in rows else [])]
    repeated = rows[rows.duplicated(unique)]
    if len(repeated):
        raise ValueError(
            f"{repeated['method'].iloc[0]!r} has several scores for one fold and seed. Compare one setting "
            "at a time."
        )
    if test_fraction is not None and not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction={test_fraction} must be above 0 and below 1.")
    if test_fraction is None and not {"n_cells", "n_train"} <= set(rows):
        raise ValueError(
            "The table does not say how many cells each fold tests and trains on: it lacks the columns 'n_cells' "
            "and 'n_train'. Give the fraction of the cells that a fold tests: test_fraction=0.1 for ten folds, "
            "however often they are repeated."
        )
    ratio = (
        rows["n_cells"] / rows["n_train"] if test_fraction is None else test_fraction / (1 - test_fraction)
    )
    rows = rows.assign(ratio=ratio)
    by_fold = rows.groupby(["method", *KEYS, "fold"])[["value", "ratio"]].mean()
    paired = pd.DataFrame({x: by_fold["value"].loc[method] for x, method in (("a", a), ("b", b))}).dropna()
    if paired.empty:
        raise ValueError(
            f"{a!r} and {b!r} have no fold in common with a score of both. Score both on the same folds."
        )
    # Of methods that were trained on different numbers of cells, the one with fewer counts.
    paired["ratio"] = by_fold["ratio"].groupby([*KEYS, "fold"]).max()
    results: dict[Any, dict[str, float]] = {
        key: _paired(group["a"].to_numpy(), group["b"].to_numpy(), group["ratio"].mean(), confidence)
        for key, group in paired.groupby(KEYS)
    }
    # Keep the order of the table.
    results = {key: results[key] for key in rows[KEYS].itertuples(index=False, name=None) if key in results}
    out = pd.DataFrame.from_dict(results, orient="index")
    out.index = pd.MultiIndex.from_tuples(list(results), names=KEYS)
    return out.astype({"n_folds": int, "n_better": int})


def _paired(a: np.ndarray, b: np.ndarray, ratio: float, confidence: float) -> dict[str, float]:
    """Means of both methods, and statistics of their differences, with the ratio of test to training cells."""
    difference, n = a - b, len(a)
    low = high = p = np.nan
    if n > 1:
        error = np.sqrt(difference.var(ddof=1) * (1 / n + ratio))
        half_width = stats.t.ppf((1 + confidence) / 2, n - 1) * error
        low, high = difference.mean() - half_width, difference.mean() + half_width
        t = abs(difference.mean()) / error if error > 0 else np.inf
        p = float(2 * stats.t.sf(t, n - 1)) if difference.any() else 1.0
    return {
        "a": a.mean(),
        "b": b.mean(),
        "difference": difference.mean(),
        "low": low,
        "high": high,
        "p": p,
        "n_folds": n,
        "n_better": int((difference > 0).sum()),
    }
