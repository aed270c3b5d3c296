"""Cells that calibrate quantiles and sets of classes: their latents and values, and the errors that follow from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import torch

from scvi_cae._arguments import shorten

from ._encoding import decode, device_of, encode, measured_values
from ._intervals import gaussian_quantiles, min_residuals, pooled_quantiles
from ._local_errors import LocalErrors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scvi_cae.data import AlignedData
    from scvi_cae.module import CoupledModule

#: Largest number of cells of each set that calibrate one prediction.
MAX_CELLS = 2000
#: Largest number of values of these cells that are stored, of each set and pattern of modalities.
MAX_VALUES = 2**22
#: Rank beyond those of all cells.
NO_LIMIT = np.iinfo(np.int64).max


class CalibrationCells(NamedTuple):
    """Cells of one set that have a target, with what is needed to compute errors of its prediction.

    Each pattern of modalities contributes the cells of lowest random rank. Cells of several patterns are a uniform
    sample of all of these as far as the lowest of the patterns' limits.

    Parameters
    ----------
    names
        ``(n_cells,)`` names of the cells.
    latents
        ``(n_cells, n_latent)`` latents by arm, NaN where a cell lacks it.
    values
        ``(n_cells, n_features)`` measured values of the target on the scale of predictions, NaN where missing.
    ranks
        ``(n_cells,)`` random rank of each cell.
    limits
        ``(n_cells,)`` rank up to which all cells of the same pattern are here.
    """

    names: np.ndarray
    latents: Mapping[str, np.ndarray]
    values: np.ndarray
    ranks: np.ndarray
    limits: np.ndarray

    def chosen(self, sources: Sequence[str]) -> np.ndarray:
        """Positions of at most :data:`MAX_CELLS` cells that have one of the sources: a uniform sample of those."""
        has = np.any([np.isfinite(self.latents[name][:, 0]) for name in sources], axis=0)
        cells = np.flatnonzero(has & (self.ranks <= self.limits[has].min(initial=NO_LIMIT)))
        if len(cells) > MAX_CELLS:
            cells = np.sort(cells[np.argsort(self.ranks[cells])[:MAX_CELLS]])
        return cells

    def complete(self, sources: Sequence[str]) -> np.ndarray:
        """Positions of those :meth:`chosen` that have all of the sources."""
        cells = self.chosen(sources)
        return cells[np.all([np.isfinite(self.latents[name][cells, 0]) for name in sources], axis=0)]

    def true_class(self, cells: np.ndarray, probabilities: np.ndarray) -> pd.Series:
        """Probabilities that some of the cells were given for their class, by name.

        Parameters
        ----------
        cells
            Positions of the cells.
        probabilities
            ``(len(cells), n_classes)`` probabilities of the classes.
        """
        return pd.Series((probabilities * self.values[cells]).sum(axis=1), index=self.names[cells])


class CalibrationData(NamedTuple):
    """Cells that calibrate quantiles of one target, or sets of classes.

    Parameters
    ----------
    training
        Training cells, whose errors show where cells are hard to predict; none for labels.
    validation
        Validation cells, whose errors calibrate.
    """

    training: CalibrationCells
    validation: CalibrationCells


def calibration_cells(
    module: CoupledModule, data: AlignedData, cells: np.ndarray, target: str
) -> CalibrationCells:
    """Choose cells that calibrate the prediction of a target, and compute their latents.

    Parameters
    ----------
    module
        The trained module.
    data
        The training's data.
    cells
        Positions of the cells of a set.
    target
        Key of the modality.
    """
    arms = data.setup.arms
    present = np.stack([data[name].present[cells] for name in arms], axis=1)
    has = present[:, arms.index(target)]
    cells, present = cells[has], present[has]
    ranks = np.random.default_rng(0).permutation(len(cells))
    limits = np.full(len(cells), NO_LIMIT)
    n_kept = min(MAX_CELLS, max(MAX_VALUES // data[target].n_features, 1))
    for pattern in np.unique(present, axis=0):
        alike = np.flatnonzero((present == pattern).all(1))
        if len(alike) > n_kept:
            limits[alike] = np.partition(ranks[alike], n_kept - 1)[n_kept - 1]
    kept = ranks <= limits
    cells, ranks, limits = cells[kept], ranks[kept], limits[kept]
    return CalibrationCells(
        data.cells[cells].astype(str).to_numpy(dtype=object),
        {name: encode(module, data, name, cells).cpu().numpy() for name in arms},
        measured_values(module, data, target, cells),
        ranks,
        limits,
    )


class Calibration(NamedTuple):
    """Errors of predicting one modality from given sources.

    Parameters
    ----------
    names
        ``(n_cells,)`` names of validation cells.
    residuals
        ``(n_cells, n_features)`` measured less predicted values of these cells, NaN where not measured.
    scales
        ``(n_cells, n_features)`` expected errors of these cells.
    local
        Expected errors of any cell.
    """

    names: np.ndarray
    residuals: np.ndarray
    scales: np.ndarray
    local: LocalErrors


def calibrate(
    module: CoupledModule, cells: CalibrationData, sources: Sequence[str], target: str
) -> Calibration:
    """Errors on validation cells, relative to those of training cells nearby.

    Parameters
    ----------
    module
        The trained module.
    cells
        Cells that calibrate the target.
    sources
        Names of the arms to predict from.
    target
        Key of the modality to predict.

    Raises
    ------
    ValueError
        If no training cell has a source and the target.
    """
    _, latents, residuals = _residuals(module, cells.training, sources, target)
    if not len(latents):
        raise ValueError(
            f"No training cell has {shorten(sources)} and {target!r}: errors of this prediction are unknown."
        )
    local = LocalErrors.fit(latents, residuals)
    names, latents, residuals = _residuals(module, cells.validation, sources, target)
    return Calibration(names, residuals, local.at(latents), local)


def _residuals(
    module: CoupledModule, cells: CalibrationCells, sources: Sequence[str], target: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Names, latents and residuals of cells that have a source and the target."""
    chosen, device = cells.chosen(sources), device_of(module)
    latents = {name: torch.from_numpy(cells.latents[name][chosen]).to(device) for name in sources}
    z, values = decode(module, latents, target)
    return cells.names[chosen], z, cells.values[chosen] - values


class Predicted(NamedTuple):
    """One model's prediction of cells, and its expected errors.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` predictions.
    scales
        ``(n_cells, n_features)`` expected errors; without a calibration, learnt standard deviations.
    calibration
        Errors on validation cells; ``None`` for a model without any, which has learnt standard deviations instead.
    """

    values: np.ndarray
    scales: np.ndarray
    calibration: Calibration | None


def relative_errors(models: Sequence[Predicted], measured: np.ndarray) -> np.ndarray:
    """``(n_cells, n_features)`` errors of the mean of several models on some cells, in units of the expected errors.

    Parameters
    ----------
    models
        Predictions of these cells.
    measured
        ``(n_cells, n_features)`` measured values on the scale of predictions, NaN where missing.
    """
    return (measured - np.mean([x.values for x in models], axis=0)) / np.mean(
        [x.scales for x in models], axis=0
    )


def predicted_quantiles(
    models: Sequence[Predicted],
    quantiles: np.ndarray,
    target: str,
    features: Sequence[str],
    errors: np.ndarray | None = None,
) -> np.ndarray:
    """Quantiles of the joint prediction of several models.

    Models that have the same validation cells, such as those of several seeds, are one predictor: their mean. Those of
    different folds are pooled.

    Parameters
    ----------
    models
        Predictions of the same cells.
    quantiles
        The quantiles.
    target, features
        Names for messages.
    errors
        :func:`relative_errors` on cells that calibrate in place of the validation cells.

    Returns
    -------
    ``(n_cells, n_features, n_quantiles)``, in the units of the predictions.

    Raises
    ------
    ValueError
        If a feature has too few residuals, or only some models have validation cells.
    """
    if errors is None and all(model.calibration is None for model in models):
        return gaussian_quantiles([x.values for x in models], [x.scales for x in models], quantiles)
    if errors is None:
        centres, scales, residuals = _by_validation_cells(models)
        kind, more = (
            "validation cells",
            ("Validate on more cells, as an ensemble does on all of scvi_cae.splits.within(split), or"),
        )
    else:
        centres, scales = (
            [np.mean(x, axis=0)] for x in ([y.values for y in models], [y.scales for y in models])
        )
        residuals = [errors]
        kind, more = "cells of the data that were not trained on,", "Measure both in more of them, or"
    n = np.sum([(~np.isnan(r)).sum(0) for r in residuals], axis=0)
    needed = min_residuals(quantiles)
    # A feature that no training cell has is predicted as NaN, and has no residuals.
    predicted = np.any([~np.isnan(centre).all(0) for centre in centres], axis=0)
    few = np.flatnonzero((n < needed) & predicted)
    if len(few):
        raise ValueError(
            f"quantiles={quantiles.tolist()} need at least {needed} {kind} with source and target; features "
            f"{shorten([features[int(i)] for i in few])} of {target!r} have as few as {n[few].min()}. {more} ask for "
            "quantiles nearer to 0.5."
        )
    return pooled_quantiles(centres, scales, residuals, quantiles)


def _by_validation_cells(
    models: Sequence[Predicted],
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Predictions, expected errors and relative errors on validation cells, of models with the same of these together."""
    groups: dict[tuple[str, ...], list[tuple[Predicted, Calibration]]] = {}
    for model in models:
        if model.calibration is not None:
            groups.setdefault(tuple(model.calibration.names), []).append((model, model.calibration))
    n_lacking = len(models) - sum(map(len, groups.values()))
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
    return centres, scales, residuals
