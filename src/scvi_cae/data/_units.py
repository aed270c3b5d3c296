"""Detection of other units than those of the training data, from values."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Largest ratio of scales, and number of training standard deviations between means, of like values.
_MAX_RATIO = 5.0
#: Fraction of the values at either end that is replaced by the nearest other value.
_TRIM = 0.05
#: Tolerance of a power of ten, in decades: cells and temperatures differ as well.
_TOLERANCE = 0.35
#: Numbers of cells that are examined, and of features whose values are sorted at once.
_MAX_CELLS, _MAX_FEATURES = 5_000, 512


class _Moments(NamedTuple):
    """``(n_features,)`` moments; ``scale`` is proportional to the unit and least sensitive to the choice of cells."""

    mean: np.ndarray
    spread: np.ndarray
    scale: np.ndarray

    def times(self, factor: np.ndarray) -> _Moments:
        size = np.abs(factor)
        return _Moments(self.mean * factor, self.spread * size, self.scale * size)

    @property
    def size(self) -> np.ndarray:
        """Root mean square."""
        return np.hypot(self.mean, self.spread)


def _skewed_scale(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """``E[x**2] / E[x]``, which does not depend on the number of zeros."""
    return (mean**2 + spread**2) / mean


def _robust_moments(
    block: np.ndarray, mean: np.ndarray, spread: np.ndarray
) -> tuple[_Moments, np.ndarray, np.ndarray, np.ndarray]:
    """Moments of some features, which of them are skewed, which have zeros, and their numbers of values."""
    ordered = np.sort(block, axis=0)  # NaN comes last
    n, n_zero = (~np.isnan(block)).sum(0), (block == 0).sum(0)
    median = np.take_along_axis(ordered, np.maximum(n - 1, 0)[None] // 2, axis=0)[0]
    skewed = (ordered[0] >= 0) & (mean > 0) & ((spread > mean) | (median == 0))
    first = np.where(skewed, n_zero, 0)
    counted = n - first
    cut = np.maximum(1, (_TRIM * counted).astype(int))
    lowest, highest = (
        np.take_along_axis(ordered, np.clip(at, 0, len(block) - 1)[None], axis=0)
        for at in (first + cut, n - 1 - cut)
    )
    place = np.arange(len(block))[:, None]
    inside = (place >= first) & (place < n)
    drawn_in = np.clip(ordered, lowest, highest)
    centre = np.where(inside, drawn_in, 0.0).sum(0) / counted
    deviation = np.sqrt((np.where(inside, drawn_in - centre, 0.0) ** 2).sum(0) / counted)
    moments = _Moments(
        np.where(skewed, centre * counted / n, centre),
        deviation,
        np.where(skewed, _skewed_scale(centre, deviation), deviation),
    )
    return moments, skewed, n_zero > 0, counted


def _reasons(query: _Moments, training: _Moments, skewed: np.ndarray) -> np.ndarray:
    """Reason why each feature is unlike that of the training cells; empty if it is not."""
    apart = np.abs(query.mean - training.mean)
    ratio, ratio_of_means = query.scale / training.scale, query.mean / training.mean
    large = (ratio > _MAX_RATIO) & (~skewed | (ratio_of_means > _MAX_RATIO))
    # Cells of one type vary little, but a wrong unit would change their mean as well, unless it is near zero.
    small_mean = np.abs(ratio_of_means) < 1 / _MAX_RATIO
    near_zero = ~skewed & (np.abs(training.mean) < training.spread / 2)
    small = (ratio < 1 / _MAX_RATIO) & (small_mean | near_zero)
    far = ~skewed & (apart > _MAX_RATIO * training.spread)
    flipped = (
        ~skewed
        & (ratio_of_means < 0)
        & (apart > 2 * training.spread)
        & (np.abs(query.mean + training.mean) < apart / _MAX_RATIO)
    )
    reasons = ["opposite sign", "larger spread", "smaller spread", "another mean"]
    return np.select([flipped, large, small, far], reasons, default="")


def _factors(query: _Moments, training: _Moments, skewed: np.ndarray, reasons: np.ndarray) -> np.ndarray:
    """Power of ten, or -1, that makes features like those of the training cells; NaN if none does."""
    tenfolds = np.log10(np.where(skewed, training.scale / query.scale, training.size / query.size))
    whole = np.rint(tenfolds)
    power = (np.abs(tenfolds - whole) <= _TOLERANCE) & (whole != 0)
    # 10 ** -3 of floats is not always 0.001.
    tens = np.array([float(f"1e{int(k)}") if good else np.nan for k, good in zip(whole, power, strict=True)])
    factors = np.where(reasons == "opposite sign", -1.0, tens)
    return np.where(_reasons(query.times(factors), training, skewed) == "", factors, np.nan)


def unlike_training(
    values: Any, mean: np.ndarray, spread: np.ndarray, names: Sequence[str], min_cells: int = 10
) -> pd.DataFrame:
    """Features whose values differ from those of the training cells by so much that their unit may differ.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` array or sparse matrix, NaN where missing.
    mean, spread
        ``(n_features,)`` mean and standard deviation of each feature among the training cells.
    names
        Names of the features.
    min_cells
        Smallest number of values, for genes other than zero, by which a feature is judged.

    Returns
    -------
    Data frame with a row for each such feature: ``feature``, its name; ``reason``, in words; ``query_mean`` and
    ``training_mean``; ``scale_ratio``, the scale of its values relative to the training cells'; and ``factor``,
    the power of ten, or -1, by which to multiply the values so that they are like the training cells', NaN if
    there is none.

    Notes
    -----
    The scale of a feature is its standard deviation. A feature is reported if its scale is more than 5 times that
    of the training cells; if it is less than a fifth, and the mean is too, or says nothing because it is near zero:
    cells of one type vary little, and that is no matter of units; if the means are more than 5 standard deviations
    apart; or if the query's mean is about theirs with the other sign. The outermost tenth of the values count as the
    nearest of the others, so that no single cell decides. Of more than 10,000 cells, some 5,000 are looked at.

    Features like genes, which are not negative, and whose standard deviation exceeds their mean or whose median is
    zero, may be expressed by some cells only, and a query may be of others. Their scale is
    :math:`E[x^2] / E[x]`, of which it does not matter how many values are zero, and the means must differ as the
    scales do. Of those that have zeros, small ones are reported only if most are small.

    Examples
    --------
    >>> import numpy as np
    >>> from scvi_cae.data import unlike_training
    >>> seconds = np.random.default_rng(0).normal(0.001, 0.0002, size=(50, 1))
    >>> table = unlike_training(seconds, np.array([1.0]), np.array([0.2]), ["AP width (ms)"])
    >>> table[["feature", "reason", "factor"]].to_numpy().tolist()
    [['AP width (ms)', 'too small', 1000.0]]
    """
    mean, spread = np.asarray(mean, dtype=float), np.asarray(spread, dtype=float)
    n_cells, n_features = values.shape
    # Evenly spaced, because neighbours may be of one batch.
    values = values[:: max(1, n_cells // _MAX_CELLS)]
    values = values.tocsc() if sparse.issparse(values) else np.asarray(values)
    tables = []
    with np.errstate(divide="ignore", invalid="ignore"):
        for start in range(0, n_features if n_cells else 0, _MAX_FEATURES):
            part = slice(start, start + _MAX_FEATURES)
            block = values[:, part]
            block = (block.toarray() if sparse.issparse(block) else block).astype(float)
            query, skewed, zeros, n = _robust_moments(block, mean[part], spread[part])
            scale = np.where(skewed, _skewed_scale(mean[part], spread[part]), spread[part])
            training = _Moments(mean[part], spread[part], scale)
            reasons = _reasons(query, training, skewed)
            tables.append(
                pd.DataFrame(
                    {
                        "feature": np.array([str(name) for name in names[part]], dtype=object),
                        "reason": reasons,
                        "query_mean": query.mean,
                        "training_mean": training.mean,
                        "scale_ratio": query.scale / training.scale,
                        "factor": _factors(query, training, skewed, reasons),
                        "gene": skewed & zeros,
                    }
                )[(n >= min_cells) & (spread[part] > 0)]
            )
    columns = ["feature", "reason", "query_mean", "training_mean", "scale_ratio", "factor"]
    if not tables:
        return pd.DataFrame(columns=columns)
    table = pd.concat(tables, ignore_index=True)
    small_gene = table["gene"] & (table["reason"] == "smaller spread")
    if small_gene.sum() <= table["gene"].sum() / 2:
        table = table[~small_gene]
    found = table.loc[table["reason"] != "", columns].reset_index(drop=True)
    found.loc[found["factor"] > 1, "reason"] = "too small"
    found.loc[(found["factor"] > 0) & (found["factor"] < 1), "reason"] = "too large"
    return found


def warn_unlike_training(modality: str, table: pd.DataFrame) -> None:
    """Warn of features that :func:`unlike_training` reports, with the conversion to the model's units.

    Parameters
    ----------
    modality
        Key of the modality.
    table
        What :func:`unlike_training` returned.
    """
    if table.empty:
        return
    shown = table[:5]
    groups = [group for _, group in shown.groupby(["reason", "factor"], sort=False, dropna=False)]
    parts = [f"{shorten(group['feature'].tolist())} {_advice(group)}" for group in groups]
    more = f"; and {len(table) - len(shown)} more" if len(table) > len(shown) else ""
    count = "1 feature is" if len(table) == 1 else f"{len(table)} features are"
    warnings.warn(
        f"Modality {modality!r}: {count} unlike those that the model was trained on: {'; '.join(parts)}{more}. "
        "Bring values into the units of the training data, and counts to their normalisation.",
        UserWarning,
        stacklevel=3,
    )


def _advice(group: pd.DataFrame) -> str:
    """Advice for features of one reason and factor."""
    reason, factor = group["reason"].iloc[0], group["factor"].iloc[0]
    verb = "seems" if len(group) == 1 else "seem"
    if reason == "opposite sign":
        return f"{verb} to have the opposite sign: multiply by -1"
    if not np.isnan(factor):
        return f"{verb} {max(factor, 1 / factor):.0f} times {reason}: multiply by {factor:g}"
    what = {"larger spread": "vary more", "smaller spread": "vary less", "another mean": "lie elsewhere"}
    return f"{verb} to {what[reason]} than in the training cells: compare how it is defined"
