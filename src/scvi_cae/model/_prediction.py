"""Predictions of one modality from others, and their quantiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd
import torch

from scvi_cae._arguments import check_whole, shorten

from ._calibration import Calibration, Predicted, calibrate, predicted_quantiles, relative_errors
from ._core import CoreModel
from ._encoding import decode, decoder_inputs, device_of, encode, measured_values
from ._intervals import check_quantiles
from ._parameters import describe
from ._tables import quantile_table, tidy_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mudata import MuData

    from scvi_cae.data import AlignedData

#: Largest number of values that are predicted at once, for quantiles.
MAX_VALUES = 2**25


class PredictionMixin(CoreModel):
    """Prediction of one modality from others."""

    @describe
    def predict(
        self,
        source: str | Sequence[str],
        target: str,
        adata: MuData | AlignedData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        transform_batch: str | None = None,
        quantiles: Sequence[float] | None = None,
        recalibrate: bool = False,
        tidy: bool = False,
    ) -> pd.DataFrame:
        """Predict one modality from others; ``source == target`` reconstructs it.

        Parameters
        ----------
        source
            Key of the modality to predict from, or several: then the mean of the latents that a cell has is decoded.
        target
            Key of the modality to predict, or column of labels. The data need not have it.
        %(adata)s
        %(indices)s
        %(batch_size)s
        transform_batch
            Technical batch to predict for, if ``target`` has technical batches; by default the average over all of
            them, weighted by their shares of the training cells.
        quantiles
            Quantiles of the value of a cell, instead of its expected value: nine cells in ten have a value between
            those of ``[0.05, 0.95]``. They are calibrated on the training's validation cells by conformal prediction.
        recalibrate
            Whether to calibrate quantiles on cells of ``adata`` instead: those that have a source and the target, and
            that the model was not trained on. So they hold for the other cells of another laboratory, if cells with both
            are a random sample of all.
        tidy
            Whether to return a row for each value, with columns ``cell``, ``feature``, ``quantile`` if there are
            quantiles, and ``value``: what ``to_csv(path, index=False)`` writes, :func:`pandas.read_csv` reads as it was.

        Returns
        -------
        Data frame of cells by features of ``target``, in the units of the training data, or in those of a query that
        :meth:`align_query` aligned; NaN for cells without any ``source``. Counts are those expected at the mean library
        size of the training cells; for labels, columns are classes and values class probabilities. With ``quantiles``, columns have two levels, ``feature`` and
        ``quantile``: ``table.xs(0.05, axis=1, level="quantile")`` is one quantile. The index is named ``cell``.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If no arm or technical batch has such a name, a source and the target are not coupled, or the data lack
            every ``source``, or have other features or infinite values in one. With ``quantiles``, if too few cells
            calibrate them, 19 for ``[0.05, 0.95]``, and for labels or a ``transform_batch``. If ``recalibrate`` is set
            without ``quantiles``.

        Notes
        -----
        For each feature, residuals of the validation cells (measured less predicted; for counts, at the mean library
        size) are divided by the expected error at the cell's position in the latent space, estimated from the training
        cells; quantiles of the ratio, corrected for their finite number, times the expected error at the position of
        the new cell, are added to its prediction. Whatever the model, an interval then covers the nominal fraction of
        cells that are exchangeable with the validation cells, on average over these and not within every group.
        Validation cells chose the best epoch, so that their residuals are slightly optimistic: train with
        ``monitor=None`` to avoid that. At most 2,000 cells of each set are used, and cells without a feature do not
        count for it. A saved model has these cells' latents and values, and needs no data for quantiles.

        A model without validation cells, whose target has a Gaussian likelihood, gives the quantiles of the learnt
        normal distribution. They are not calibrated: errors on new cells are larger than on training cells.

        References
        ----------
        Lei, G'Sell, Rinaldo, Tibshirani and Wasserman, "Distribution-free predictive inference for regression", Journal
        of the American Statistical Association 2018.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, train_size=0.7, monitor=None, enable_progress_bar=False)
        >>> model.predict(source="rna", target="ephys").shape == (200, mdata["ephys"].n_vars)
        True
        >>> intervals = model.predict(source="rna", target="ephys", quantiles=[0.1, 0.9])
        >>> upper = intervals.xs(0.9, axis=1, level="quantile")
        >>> model.predict("rna", "ephys", quantiles=[0.1, 0.9], tidy=True).columns.tolist()
        ['cell', 'feature', 'quantile', 'value']
        """
        sources = self._sources(source, target)
        check_whole(batch_size, "batch_size", optional=True)
        check_recalibration(recalibrate, quantiles)
        if quantiles is not None:
            check_no_batch(transform_batch)
            data = self._align(adata, sources)
            own = calibrating_cells(self, data, sources, target) if recalibrate else None
            table = predict_quantiles(self, [self], source, target, data, indices, batch_size, quantiles, own)
            return tidy_table(table) if tidy else table
        number = self._batch_number(target, transform_batch)
        data = self._align(adata, sources)
        cells = self._positions(data, indices)
        latents = {name: encode(self.module, data, name, cells, batch_size) for name in sources}
        _, values = decode(self.module, latents, target, batch_size, number)
        values = data.in_units(values, target)
        table = pd.DataFrame(values, index=data.cells[cells], columns=list(self.setup.features[target]))
        return tidy_table(table) if tidy else table

    @describe
    def measured_values(
        self,
        modality: str,
        adata: MuData | AlignedData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Measured values of cells on the scale of predictions, with which predictions are compared.

        Parameters
        ----------
        %(modality)s
        %(adata)s
        %(indices)s

        Returns
        -------
        ``(n_cells, n_features)``, NaN where missing. Counts are at the mean library size of the training cells, since
        sequencing depth is not predicted; labels are 1 for a cell's class and 0 for the others.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If no arm has this name, or the data lack the modality.
        """
        data = self._align(adata, [modality])
        values = measured_values(self.module, data, modality, self._positions(data, indices))
        return data.in_units(values, modality)

    def _batch_number(self, target: str, batch: str | None) -> int | None:
        """Number of a technical batch of a modality."""
        known = self.batches(target)
        if batch is None:
            return None
        if str(batch) not in known:
            have = (
                f"its batches are {shorten(known)}" if known else "it has none: setup_mudata(batch_key=...)"
            )
            raise ValueError(f"transform_batch={batch!r} is not a batch of modality {target!r}; {have}.")
        return known.index(str(batch))

    def _calibration(self, sources: Sequence[str], target: str) -> Calibration | None:
        """Errors of a prediction on validation cells; ``None`` for a training without any."""
        cells = self._trained().calibration.get(target)
        if cells is None:
            return None
        key = tuple(sources), target
        if key not in self._calibrations:
            self._calibrations[key] = calibrate(self.module, cells, sources, target)
        return self._calibrations[key]

    def _class_scores(self, sources: Sequence[str], label: str) -> pd.Series:
        """Probability of their true class of validation cells that have all sources, by name; none if there are none."""
        if label not in self._trained().calibration:
            return pd.Series(dtype=float)
        cells = self._trained().calibration[label].validation
        chosen, device = cells.complete(sources), device_of(self.module)
        latents = {name: torch.from_numpy(cells.latents[name][chosen]).to(device) for name in sources}
        return cells.true_class(chosen, decode(self.module, latents, label)[1])

    def _predicted(
        self,
        data: AlignedData,
        sources: Sequence[str],
        target: str,
        cells: np.ndarray,
        batch_size: int | None,
        calibration: Calibration | None,
    ) -> Predicted:
        """Predictions of cells, and their expected errors."""
        latents = {name: encode(self.module, data, name, cells, batch_size) for name in sources}
        _, values = decode(self.module, latents, target, batch_size)
        return Predicted(values, self._expected_errors(latents, target, calibration), calibration)

    def _expected_errors(
        self, latents: Mapping[str, torch.Tensor], target: str, calibration: Calibration | None
    ) -> np.ndarray:
        """``(n_cells, n_features)`` expected errors of the prediction from latents, up to a factor if calibrated."""
        z = decoder_inputs(self.module, latents, target).cpu().numpy()
        if calibration is not None:
            return calibration.local.at(z)
        scale = self._learnt_scale(list(latents), target)
        return np.broadcast_to(scale, (len(z), len(scale)))

    def _learnt_scale(self, sources: Sequence[str], target: str) -> np.ndarray:
        """``(n_features,)`` learnt standard deviation about a prediction, the largest of several sources'."""
        likelihood = self.module.arm(target).likelihood
        scales = [likelihood.learnt_scale(self.module.source_number(name, target)) for name in sources]
        known = [scale.cpu().numpy() for scale in scales if scale is not None]
        if not known:
            raise ValueError(
                "The model has no validation cells to calibrate quantiles on. Train with train_size below 1, or an "
                "ensemble on scvi_cae.splits.within(split)."
            )
        return np.max(known, axis=0)


class Calibrated(Protocol):
    """A predictor whose errors are known."""

    def _calibration(self, sources: Sequence[str], target: str) -> Calibration | None: ...

    def _predicted(
        self,
        data: AlignedData,
        sources: Sequence[str],
        target: str,
        cells: np.ndarray,
        batch_size: int | None,
        calibration: Calibration | None,
    ) -> Predicted: ...


class Trained(Protocol):
    """What knows which cells it was trained on: a model, or an ensemble."""

    def set_membership(self, adata: AlignedData) -> pd.Series:
        """Sets of the cells."""


def predict_quantiles(
    first: PredictionMixin,
    predictors: Sequence[Calibrated],
    source: str | Sequence[str],
    target: str,
    adata: MuData | AlignedData | None,
    indices: Sequence[int] | np.ndarray | None,
    batch_size: int | None,
    quantiles: Sequence[float],
    own: np.ndarray | None = None,
) -> pd.DataFrame:
    """Quantiles of the joint prediction of models, the first of which knows the set-up.

    Parameters
    ----------
    first
        The model that knows the set-up.
    predictors
        The predictors.
    source, target, adata, indices, batch_size, quantiles
        As in :meth:`PredictionMixin.predict`.
    own
        Positions of cells of ``adata`` that calibrate; by default, validation cells of the training do.
    """
    wanted = check_quantiles(quantiles)
    if target in first.labels:
        raise ValueError(
            f"{target!r} are labels: their prediction are class probabilities, which have no quantiles. Leave out "
            "quantiles."
        )
    sources = first._sources(source, target)
    data = first._align(adata, sources)
    cells = first._positions(data, indices)
    calibrations = [predictor._calibration(sources, target) for predictor in predictors]

    def predicted(rows: np.ndarray) -> list[Predicted]:
        return [
            predictor._predicted(data, sources, target, rows, batch_size, calibration)
            for predictor, calibration in zip(predictors, calibrations, strict=True)
        ]

    errors = None
    if own is not None:
        errors = relative_errors(predicted(own), measured_values(first.module, data, target, own))
    features = first.setup.features[target]
    values = np.empty((len(cells), len(features), len(wanted)), dtype=np.float32)
    step = max(MAX_VALUES // (len(features) * len(predictors)), 1)
    # At least once, for the errors of a call without cells.
    for start in range(0, max(len(cells), 1), step):
        part = slice(start, start + step)
        values[part] = predicted_quantiles(predicted(cells[part]), wanted, target, features, errors)
    values = np.maximum(values, np.float32(first.module.arm(target).likelihood.minimum))
    values = data.in_units(values.swapaxes(1, 2), target).swapaxes(1, 2)
    return quantile_table(values, wanted, features, data.cells[cells])


def check_recalibration(recalibrate: bool, quantiles: Sequence[float] | None) -> None:
    """Refuse to calibrate an expected value."""
    if recalibrate and quantiles is None:
        raise ValueError("recalibrate=True is for quantiles: add quantiles=[0.05, 0.95].")


def calibrating_cells(model: Trained, data: AlignedData, sources: Sequence[str], target: str) -> np.ndarray:
    """Positions of the cells of other data that calibrate quantiles on them.

    Parameters
    ----------
    model
        The model, or an ensemble.
    data
        The data.
    sources, target
        What is predicted from what.
    """
    if not data.has(target):
        raise ValueError(
            f"recalibrate=True: the data lack {target!r}, whose measured values would calibrate its quantiles."
        )
    has = np.any([data[name].present for name in sources], axis=0) & data[target].present
    return np.flatnonzero(has & model.set_membership(data).isin(["validation", "test"]).to_numpy())


def check_no_batch(batch: str | None) -> None:
    """Refuse quantiles of a technical batch."""
    if batch is not None:
        raise ValueError(
            "Quantiles are calibrated for predictions averaged over technical batches: leave out transform_batch, or "
            "quantiles."
        )
