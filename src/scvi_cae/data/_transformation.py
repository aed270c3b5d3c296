"""Monotone maps of features from the values of a query to those of a reference, kept with the query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

if TYPE_CHECKING:
    from mudata import MuData

#: Key in ``.uns`` of the report on a query, by modality.
QUERY_REPORT = "scvi_cae_query"


class Transformation(NamedTuple):
    """A piecewise linear map of each feature.

    Parameters
    ----------
    before, after
        ``(n_knots, n_features)`` values of a query in ascending order, and what each becomes. Beyond the outermost, the
        slope is that between these two.
    """

    before: np.ndarray
    after: np.ndarray

    @classmethod
    def linear(cls, mean: np.ndarray, spread: np.ndarray, new_mean: np.ndarray, factor: np.ndarray) -> Self:
        """``factor * (x - mean) + new_mean``.

        Parameters
        ----------
        mean, spread
            ``(n_features,)`` where values lie, and about how far apart.
        new_mean, factor
            ``(n_features,)`` what the mean becomes, and factors above 0.
        """
        half = np.where(spread > 0, spread, 1.0)
        return cls(
            np.stack([mean - half, mean + half]),
            np.stack([new_mean - factor * half, new_mean + factor * half]),
        )

    @property
    def slopes(self) -> np.ndarray:
        """``(n_features,)`` slopes between the outermost values; 1 for a feature that is constant on either side."""
        run, rise = self.before[-1] - self.before[0], self.after[-1] - self.after[0]
        usable = (run > 0) & (rise > 0)
        return np.divide(rise, run, out=np.ones(len(run)), where=usable)

    @property
    def inverse(self) -> Transformation:
        """The map back."""
        return Transformation(self.after, self.before)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Transform ``(..., n_features)`` values; NaN stay NaN."""
        out = np.empty(np.shape(values), dtype=np.float64)
        for j, slope in enumerate(self.slopes):
            x, before, after = (
                np.asarray(values[..., j], dtype=np.float64),
                self.before[:, j],
                self.after[:, j],
            )
            out[..., j] = np.interp(x, before, after)
            out[..., j] += slope * (np.minimum(x - before[0], 0) + np.maximum(x - before[-1], 0))
        return out

    def write(self, report: dict[str, Any]) -> None:
        """Keep the map in the report on a modality of a query."""
        report["transformation"] = {"before": self.before, "after": self.after}

    @classmethod
    def read(cls, mdata: MuData, modality: str) -> Self | None:
        """The map by which a modality of a query was aligned; ``None`` if it was not."""
        kept = mdata.uns.get(QUERY_REPORT, {}).get(modality, {}).get("transformation")
        return None if kept is None else cls(np.asarray(kept["before"]), np.asarray(kept["after"]))
