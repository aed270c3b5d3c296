"""Predictions, and how far to trust them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import torch
from scvi import settings

from ._calibration import Calibration, Predicted, predicted_quantiles, quantile_table
from ._inference import InferringModel
from ._intervals import check_quantiles
from ._local_errors import LocalErrors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.data import Split
    from scvi_cae.module.likelihoods import Gaussian

#: Most validation cells that calibrate quantiles, and most training cells that say where cells are hard to predict.
MOST_CELLS = 2000
#: Values that are predicted at once, for quantiles.
MOST_VALUES = 2**25


class PredictingModel(InferringModel):
    """A model that predicts one modality from others, and knows how well."""

    #: By source and target, what :meth:`calibrate` has found.
    calibrations_: dict[tuple[str, str], dict[str, Any]] | None = None

    def predict(
        self,
        source: str | Sequence[str],
        target: str,
        adata: MuData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        batch: str | None = None,
        quantiles: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Predict one modality from others; ``source == target`` reconstructs it.

        Parameters
        ----------
        source
            Key of the modality to predict from, or several: then from the mean of the latents of those that a cell has.
        target
            Key of the modality to predict, or column of labels. The data need not have it.
        adata
            MuData with the model's features; the one the model was made with by default.
        indices
            Positions of cells; all by default.
        batch_size
            Number of cells computed at once, ``scvi.settings.batch_size`` by default.
        batch
            Technical batch that the predicted values are to be of, if ``target`` has batches; by default none in
            particular: all of them, by their shares of the training cells.
        quantiles
            Quantiles of the value that a cell has, instead of the value to be expected: between those of
            ``[0.05, 0.95]`` lies the value of nine cells in ten. They are calibrated on the model's validation cells,
            by conformal prediction.

        Returns
        -------
        Data frame of cells by features of ``target``, in the units of the training data; NaN for cells without any
        ``source``. Counts are those expected at the mean library size of the training cells; of labels, columns are
        classes and values their probabilities. With ``quantiles``, columns have two levels, ``feature`` and
        ``quantile``: ``table.xs(0.05, axis=1, level="quantile")`` is one of them.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If there is no such modality or batch, a source and the target are not coupled, or the data lack every
            ``source``, have other features in one, or infinite values. With ``quantiles``, if there are too few
            validation cells for them; if the model has no data and :meth:`calibrate` was not called before it was saved;
            or for labels or a ``batch``.

        Notes
        -----
        For each feature, residuals of the validation cells (measured less predicted; of counts, at the mean library
        size) are divided by the error to be expected at the cell's place in the latent space, which the errors of the
        training cells tell; quantiles of the ratio, with the correction for their finite number, times the error at
        the place of the new cell, are added to its prediction. Whatever the model, an interval then holds the asked
        share of cells, over cells that are like the validation cells; it is not the share within every group of cells.
        Cells that chose the best epoch are a little too well predicted: train with ``monitor=None`` to avoid that.
        Validation cells of which a feature is missing do not count for it.

        A model without validation cells, whose target has a Gaussian likelihood, gives the quantiles of the learnt
        normal distribution. They are not calibrated: errors on new cells are larger than on those that trained.

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
        """
        if quantiles is None:
            sources = self._check_sources(source, target)
            number = self._batch_number(target, batch)
            mdata, cells = self._query(adata, indices, sources, batch_size)
            _, values = self._decoded(mdata, sources, target, cells, batch_size, number)
            return pd.DataFrame(values, index=mdata.obs_names[cells], columns=self._features(target))
        check_no_batch(batch)
        return predict_quantiles([self], source, target, adata, indices, batch_size, quantiles)

    def calibrate(self, n_cells: int = MOST_CELLS) -> None:
        """Keep the errors on validation cells in the model, so that it gives quantiles without its data.

        Until it is trained again, the model uses what was found here for quantiles of every modality predicted from
        itself or from one that it is coupled to, and saves it. There is no need to call this for a model that has its
        data.

        Parameters
        ----------
        n_cells
            Largest number of validation cells, drawn at random, whose errors are kept for each pair of modalities: four
            bytes for each feature and cell, twice.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If the model has no data, or no validation cells.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, train_size=0.7, monitor=None, enable_progress_bar=False)
        >>> model.calibrate()
        >>> model.save("model")  # doctest: +SKIP
        """
        self._check_if_trained(warn=False)
        if isinstance(n_cells, bool) or not isinstance(n_cells, (int, np.integer)) or n_cells < 1:
            raise ValueError(f"n_cells={n_cells!r} must be a whole number of at least 1.")
        if not self._n_validation:
            raise ValueError(
                "The model has no validation cells to calibrate on. Train with train_size below 1, or on splits with "
                "validation cells: scvi_cae.splits.within(split)."
            )
        pairs = [(s, target) for target in self.measured for s in (target, *self.module.sources[target])]
        self.calibrations_ = {
            (source, target): self._find_errors([source], target, n_cells).as_dict()
            for source, target in pairs
        }

    @property
    def _n_validation(self) -> int:
        return 0 if self.validation_indices is None else len(self.validation_indices)

    @torch.inference_mode()
    def _decoded(
        self,
        mdata: MuData,
        sources: Sequence[str],
        target: str,
        cells: np.ndarray,
        batch_size: int | None = None,
        batch: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Latents of cells, and what is predicted from them."""
        arm = self.module.arm(target)
        latents = [self._encode(mdata, name, cells, batch_size) for name in sources]
        z = self._mean(
            [self.module.translate(z, name, target) for z, name in zip(latents, sources, strict=True)]
        )
        values = torch.cat([arm.decode(part, batch) for part in z.split(batch_size or settings.batch_size)])
        return z.cpu().numpy(), values.cpu().numpy()

    def _predicted(
        self,
        mdata: MuData,
        sources: Sequence[str],
        target: str,
        cells: np.ndarray,
        batch_size: int | None,
        calibration: Calibration | None,
    ) -> Predicted:
        """Predictions of cells, and their errors."""
        z, values = self._decoded(mdata, sources, target, cells, batch_size)
        if calibration is not None:
            return Predicted(values, calibration.local.at(z), calibration)
        spread = self._learnt_spread(sources, target)
        return Predicted(values, np.broadcast_to(spread, values.shape), None)

    def _calibration(self, sources: Sequence[str], target: str) -> Calibration | None:
        """Errors of a prediction, kept or found now; ``None`` without validation cells."""
        kept = (self.calibrations_ or {}).get((sources[0], target)) if len(sources) == 1 else None
        if kept is not None:
            return Calibration.from_dict(kept)
        return self._find_errors(sources, target) if self._n_validation else None

    def _find_errors(self, sources: Sequence[str], target: str, n_cells: int = MOST_CELLS) -> Calibration:
        """Errors on validation cells, in proportion to those on training cells nearby."""
        if self.adata is None:
            raise ValueError(
                "The model has no data to calibrate quantiles on. Call calibrate() before it is saved, or load it with "
                "the data it was trained on: load(folder, adata=mdata)."
            )
        _, latents, residuals = self._residuals(sources, target, self.train_indices, MOST_CELLS)
        if not len(latents):
            raise ValueError(
                f"The data have none of the training cells with {sources} and {target!r}. Load the model with the data "
                "it was trained on."
            )
        local = LocalErrors.fit(latents, residuals)
        cells, latents, residuals = self._residuals(sources, target, self.validation_indices, n_cells)
        return Calibration(cells, residuals, local.at(latents), local)

    def _residuals(
        self, sources: Sequence[str], target: str, cells: np.ndarray, n_cells: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Names, latents and residuals of at most ``n_cells`` of some cells that have a source and the target."""
        mdata, cells = self.adata, np.asarray(cells)
        present = {name: self._aligned_modality(mdata, name).present[cells] for name in {*sources, target}}
        cells = cells[present[target] & np.any([present[name] for name in sources], axis=0)]
        if len(cells) > n_cells:
            cells = np.random.default_rng(0).choice(cells, n_cells, replace=False)
        z, values = self._decoded(mdata, sources, target, cells)
        measured = self._aligned_modality(mdata, target).values(cells)
        measured = self.comparable(target, measured)
        return mdata.obs_names[cells].astype(str).to_numpy(), z, measured - values

    def _learnt_spread(self, sources: Sequence[str], target: str) -> np.ndarray:
        """``(n_features,)`` standard deviation that a Gaussian likelihood has learnt, of several sources the largest."""
        if self._likelihood(target) != "gaussian":
            raise ValueError(
                "The model has no validation cells to calibrate quantiles on. Train with train_size below 1, or an "
                "ensemble on scvi_cae.splits.within(split)."
            )
        known = (target, *self.module.sources[target])
        likelihood = cast("Gaussian", self.module.arm(target).likelihood)
        return np.max([likelihood.spread(known.index(name)).cpu().numpy() for name in sources], axis=0)

    def _finish(self, mdata: MuData, split: Split, trained: bool) -> None:
        super()._finish(mdata, split, trained)
        # Other weights make other errors.
        self.calibrations_ = None


def predict_quantiles(
    models: Sequence[PredictingModel],
    source: str | Sequence[str],
    target: str,
    adata: MuData | None,
    indices: Sequence[int] | np.ndarray | None,
    batch_size: int | None,
    quantiles: Sequence[float],
) -> pd.DataFrame:
    """Quantiles of what models predict together; see :meth:`PredictingModel.predict`."""
    wanted, first = check_quantiles(quantiles), models[0]
    if target in first.labels:
        raise ValueError(
            f"{target!r} are labels: what is predicted are the probabilities of classes, which have no quantiles. Leave "
            "out quantiles."
        )
    for model in models:
        sources = model._check_sources(source, target)
        mdata, cells = model._query(adata, indices, sources, batch_size)
    calibrations = [model._calibration(sources, target) for model in models]
    features = first._features(target)
    values = np.empty((len(cells), len(features), len(wanted)), dtype=np.float32)
    step = max(MOST_VALUES // (len(features) * len(models)), 1)
    # At least once, for the errors of a call without cells.
    for start in range(0, max(len(cells), 1), step):
        part = slice(start, start + step)
        predicted = [
            model._predicted(mdata, sources, target, cells[part], batch_size, calibration)
            for model, calibration in zip(models, calibrations, strict=True)
        ]
        values[part] = predicted_quantiles(predicted, wanted, target, features)
    if first._likelihood(target) == "negative_binomial":
        values = np.maximum(values, 0)
    return quantile_table(values, wanted, features, mdata.obs_names[cells])


def check_no_batch(batch: str | None) -> None:
    """Refuse quantiles of a technical batch."""
    if batch is not None:
        raise ValueError(
            "Quantiles are calibrated for predictions of no technical batch in particular: leave out batch, or quantiles."
        )
