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
    Differences are those of both methods on the same fold.

    Parameters
    ----------
    table
        Scores as returned by :func:`cross_validate`: columns ``method``, ``fold``, ``source``, ``target``,
        ``metric`` and ``value``; optionally ``seed``, ``n_train`` and ``n_test``.
    a, b
        Names of the methods.
    metric
        Metric to compare. Lower is better for ``"foscttm"`` and ``"crps"`` only: there, a negative difference
        favours ``a``.
    confidence
        Level of the confidence interval.
    test_fraction
        Fraction of the cells that each fold tests. By default that of the table's columns ``n_train`` and
        ``n_test``, as :func:`cross_validate` writes them. A table without them needs it, since the number of
        folds does not tell repeats of a cross-validation from more folds.

    Returns
    -------
    A row for each metric, source and target:

    ``a``, ``b``
        Mean of each method over folds.
    ``difference``
        Mean of ``a - b``.
    ``low``, ``high``
        Confidence interval of the difference; NaN for a single fold.
    ``p_t``, ``p_wilcoxon``
        Two-sided p-values of the t-test that corresponds to the interval and of the Wilcoxon signed-rank
        test; NaN for a single fold, and the latter for repeated folds.
    ``n_folds``, ``n_better``
        Number of folds, and number of folds in which the value of ``a`` is larger.

    Raises
    ------
    ValueError
        If the table lacks a method, the metric or, without ``test_fraction``, the sizes of folds, if a method has
        several scores for a fold and seed, or if the methods share no fold.

    Notes
    -----
    Folds share most of their training cells, so their scores are not independent and a plain t-test finds
    differences too easily. Interval and t-test are corrected for this (Nadeau and Bengio): the variance of
    the mean of :math:`J` differences is estimated by :math:`s^2 (1/J + f / (1 - f))`, with :math:`f` the
    fraction of cells that a fold tests. The second term does not shrink with more folds of the same size, as
    those of a repeated k-fold (Bouckaert and Frank). The Wilcoxon test is not corrected; with 10 folds, its
    p-value is at least 0.002. It is NaN for repeated folds, which test more cells than there are: it would take
    the repeats for new cells.

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
    >>> table = table.assign(metric="r2", source="rna", target="ephys", n_train=80, n_test=20)
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
    by_fold = rows.groupby(["method", *KEYS, "fold"])["value"].mean()
    paired = pd.DataFrame({"a": by_fold.loc[a], "b": by_fold.loc[b]}).dropna()
    if paired.empty:
        raise ValueError(
            f"{a!r} and {b!r} have no fold in common with a score of both. Score both on the same folds."
        )
    fraction = _test_fraction(rows) if test_fraction is None else test_fraction
    if not 0 < fraction < 1:
        raise ValueError(f"test_fraction={test_fraction} must be above 0 and below 1.")
    results: dict[Any, dict[str, float]] = {
        key: _paired(group["a"].to_numpy(), group["b"].to_numpy(), fraction, confidence)
        for key, group in paired.groupby(KEYS)
    }
    # Keep the order of the table.
    results = {key: results[key] for key in rows[KEYS].itertuples(index=False, name=None) if key in results}
    out = pd.DataFrame.from_dict(results, orient="index")
    out.index = pd.MultiIndex.from_tuples(list(results), names=KEYS)
    return out.astype({"n_folds": int, "n_better": int})


def _test_fraction(rows: pd.DataFrame) -> float:
    """Mean over folds of the fraction of cells that a fold tests, of those that it trains on or tests."""
    if not {"n_train", "n_test"} <= set(rows):
        raise ValueError(
            "The table has no columns n_train and n_test, so nothing tells which fraction of the cells a fold tests. "
            "Pass it: 0.1 for ten folds, repeated or not, test_fraction=0.1."
        )
    sizes = rows.groupby("fold")[["n_train", "n_test"]].first()
    return float((sizes["n_test"] / sizes.sum(axis=1)).mean())


def _paired(a: np.ndarray, b: np.ndarray, fraction: float, confidence: float) -> dict[str, float]:
    """Means of both methods, and statistics of their differences."""
    difference, n = a - b, len(a)
    low = high = p_t = p_wilcoxon = np.nan
    if n > 1:
        error = np.sqrt(difference.var(ddof=1) * (1 / n + fraction / (1 - fraction)))
        half_width = stats.t.ppf((1 + confidence) / 2, n - 1) * error
        low, high = difference.mean() - half_width, difference.mean() + half_width
        same = not difference.any()
        if n * fraction < 1.5:  # Folds without repeats test each cell once.
            p_wilcoxon = 1.0 if same else float(stats.wilcoxon(difference).pvalue)
        t = abs(difference.mean()) / error if error > 0 else np.inf
        p_t = 1.0 if same else float(2 * stats.t.sf(t, n - 1))
    return {
        "a": a.mean(),
        "b": b.mean(),
        "difference": difference.mean(),
        "low": low,
        "high": high,
        "p_t": p_t,
        "p_wilcoxon": p_wilcoxon,
        "n_folds": n,
        "n_better": int((difference > 0).sum()),
    }
