"""Errors of a model on cells that it was not trained on, and the quantiles that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from scvi_cae._arguments import shorten

from ._intervals import least_residuals, pooled_quantiles
from ._local_errors import LocalErrors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Calibration(NamedTuple):
    """Errors in predicting one modality from another.

    Parameters
    ----------
    cells
        ``(n_cells,)`` names of validation cells.
    residuals
        ``(n_cells, n_features)`` what was measured less what is predicted, NaN where nothing was.
    scales
        ``(n_cells, n_features)`` the errors to be expected in these cells.
    local
        The errors to be expected in any cell.
    """

    cells: np.ndarray
    residuals: np.ndarray
    scales: np.ndarray
    local: LocalErrors

    def as_dict(self) -> dict[str, Any]:
        """Arrays by name, to be saved."""
        return {**self._asdict(), "local": self.local._asdict()}

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Self:
        """What was saved, with tensors for arrays."""

        def arrays(values: Mapping[str, Any]) -> dict[str, Any]:
            return {name: x.cpu().numpy() if torch.is_tensor(x) else x for name, x in values.items()}

        local = LocalErrors(**arrays(saved["local"]))
        return cls(**arrays({**saved, "cells": np.asarray(saved["cells"]), "local": local}))


class Predicted(NamedTuple):
    """One model's prediction of cells, and what is known of its errors.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` predictions.
    scales
        ``(n_cells, n_features)`` the errors to be expected; without a calibration, learnt standard deviations.
    calibration
        Errors on validation cells; ``None`` for a model that has none, and has learnt standard deviations instead.
    """

    values: np.ndarray
    scales: np.ndarray
    calibration: Calibration | None


def predicted_quantiles(
    models: Sequence[Predicted], quantiles: np.ndarray, target: str, features: Sequence[str]
) -> np.ndarray:
    """Quantiles of what models predict together.

    Models that have the same validation cells, such as those of several seeds, are one predictor: their mean. Those of
    different folds are pooled.

    Parameters
    ----------
    models
        Predictions of the same cells.
    quantiles
        The quantiles.
    target, features
        What is predicted, for errors.

    Returns
    -------
    ``(n_cells, n_features, n_quantiles)``, in the units of the predictions.

    Raises
    ------
    ValueError
        If a feature has too few residuals, or only some models have validation cells.
    """
    groups: dict[tuple[str, ...], list[tuple[Predicted, Calibration]]] = {}
    for model in models:
        if model.calibration is not None:
            groups.setdefault(tuple(model.calibration.cells), []).append((model, model.calibration))
    n_lacking = len(models) - sum(map(len, groups.values()))
    if not groups:
        return _gaussian_quantiles(models, quantiles)
    if n_lacking:
        raise ValueError(
            f"{n_lacking} of {len(models)} models have no validation cells to calibrate quantiles on. Train all of them on "
            "splits with validation cells: scvi_cae.splits.within(split)."
        )
    centres, scales, residuals = [], [], []
    for group in groups.values():
        centres.append(np.mean([x.values for x, _ in group], axis=0))
        scales.append(np.mean([x.scales for x, _ in group], axis=0))
        errors = np.mean([x.residuals for _, x in group], axis=0)
        residuals.append(errors / np.mean([x.scales for _, x in group], axis=0))
    n = np.sum([(~np.isnan(r)).sum(0) for r in residuals], axis=0)
    least = least_residuals(quantiles)
    if (n < least).any():
        few = np.flatnonzero(n < least)
        raise ValueError(
            f"quantiles={quantiles.tolist()} take at least {least} validation cells with source and target; features "
            f"{shorten([features[int(i)] for i in few])} of {target!r} have as few as {n[few].min()}. Validate on more "
            "cells, as an ensemble does on all of scvi_cae.splits.within(split), or ask for quantiles nearer to 0.5."
        )
    return pooled_quantiles(centres, scales, residuals, quantiles)


def _gaussian_quantiles(models: Sequence[Predicted], quantiles: np.ndarray) -> np.ndarray:
    """Quantiles of the normal distribution with mean and variance of the models' mixture."""
    values = np.stack([model.values for model in models])
    variance = np.mean([model.scales**2 for model in models], axis=0) + values.var(axis=0)
    return values.mean(axis=0)[..., None] + np.sqrt(variance)[..., None] * norm.ppf(quantiles)


def quantile_table(
    values: np.ndarray, quantiles: np.ndarray, features: Sequence[str], cells: pd.Index
) -> pd.DataFrame:
    """``(n_cells, n_features, n_quantiles)`` values as a float32 data frame with columns by feature and quantile."""
    columns = pd.MultiIndex.from_product([list(features), quantiles.tolist()], names=["feature", "quantile"])
    return pd.DataFrame(values.reshape(len(values), len(columns)), index=cells, columns=columns)
