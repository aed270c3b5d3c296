"""Predictions of an ensemble, and what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae._arguments import check_whole

from ._attribution import agreement
from ._combination import SharedCompanions, predict_cells
from ._encoding import encode
from ._ensemble_core import EnsembleCore
from ._member import Member, out_of_fold_members
from ._prediction import calibrating_cells, check_no_batch, check_recalibration, predict_quantiles
from ._tables import tidy_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.data import AlignedData


class EnsemblePrediction(EnsembleCore):
    """Predictions of one arm from others by several models and regressions."""

    def weights(self, source: str | Sequence[str], target: str) -> pd.DataFrame:
        """How much each network and regression contributes to a prediction.

        Parameters
        ----------
        source, target
            As in :meth:`predict`.

        Returns
        -------
        Data frame with a row for each feature of the target (of labels, for each class, all alike) and a column for each prediction: ``"network"``, and the
        regressions, ``"ridge"``, ``"kernel ridge"`` ...; from several sources ``"network"``, of all of them together, and
        the combined predictions from each, ``"from rna"`` ... Weights below 1 in sum shrink predictions towards the mean, and
        probabilities towards equal ones.

        Raises
        ------
        KeyError
            If no weights were fitted: the prediction is the mean of the networks', as that of a modality from itself is.
        """
        sources = self._ordered(source, target)
        subset = tuple(sources)
        stack = self._stacks.get((subset, target))
        if stack is None:
            raise KeyError(
                f"No weights were fitted for {target!r} from {sources}: it is the mean of the networks' predictions."
            )
        if len(subset) == 1:
            names = ["network", *self._companions[0].names(subset[0], target)]
        else:
            names = ["network", *(f"from {name}" for name in subset)]
        features = list(self._first.setup.features[target])
        weights = np.broadcast_to(stack.weights.T, (len(features), len(names)))
        return pd.DataFrame(weights.copy(), index=features, columns=names)

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
        out_of_fold: bool = True,
        tidy: bool = False,
    ) -> pd.DataFrame:
        """Predict one modality from others, or quantiles of the prediction.

        Parameters
        ----------
        source, target, adata, indices, batch_size, transform_batch, recalibrate
            As in :meth:`scvi_cae.CoupledAE.predict`; ``adata`` is the first model's data by default.
        quantiles
            Quantiles, as in :meth:`scvi_cae.CoupledAE.predict`, calibrated on the validation cells of all models by
            CV+: with the models of :func:`scvi_cae.splits.within`, on every training cell by the model that was not
            trained on it.
        out_of_fold
            Whether a cell of the training is predicted by the models that were not trained on it (default), so that its
            prediction is as good as that of a new cell; otherwise by all.
        tidy
            Whether to return a row for each value, as in :meth:`scvi_cae.CoupledAE.predict`.

        Returns
        -------
        Data frame of cells by features of ``target``, in the units of the training data; NaN for cells without
        ``source``. With ``quantiles``, columns are features by quantiles.

        Raises
        ------
        ValueError
            As in :meth:`scvi_cae.CoupledAE.predict`; with ``quantiles``, if only some models have validation cells.

        Notes
        -----
        Quantiles are computed from the pooled set of each model's prediction plus its residuals, scaled as for a single
        model. An interval covers about the nominal fraction of cells, or slightly more; for cells that are exchangeable
        with the validation cells, at most about twice the nominal fraction is guaranteed to be outside. Models with the
        same validation cells, such as those of several seeds, count as one, their mean.

        References
        ----------
        Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 2021.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> split = scvi_cae.splits.k_fold(mdata, 5)[0]
        >>> folds = scvi_cae.splits.within(split, 5)
        >>> fits = scvi_cae.fit_many(mdata, folds, max_epochs=10, monitor=None)
        >>> ensemble = scvi_cae.Ensemble.from_models([fit.model for fit in fits])
        >>> ensemble.predict("rna", "ephys", indices=split.test, quantiles=[0.05, 0.95]).shape
        (40, 48)
        """
        first = self._trained()
        sources = self._ordered(source, target)
        check_whole(batch_size, "batch_size", optional=True)
        check_recalibration(recalibrate, quantiles)
        if quantiles is not None:
            check_no_batch(transform_batch)
            data = first._align(adata, sources)
            own = calibrating_cells(self, data, sources, target) if recalibrate else None
            table = self._quantiles(sources, target, data, indices, batch_size, quantiles, own, out_of_fold)
            return tidy_table(table) if tidy else table
        number = first._batch_number(target, transform_batch)
        data = first._align(adata, sources)
        cells = first._positions(data, indices)
        chosen = (
            self._predictors(data)[cells]
            if out_of_fold
            else np.ones((len(cells), len(self.models)), dtype=bool)
        )
        features = first.setup.features[target]
        total = np.zeros((len(cells), len(features)))
        n_models = np.zeros(total.shape, dtype=np.int16)
        new, whole = chosen.all(1), SharedCompanions(self._whole)
        for k, (model, companions) in enumerate(zip(self.models, self._companions, strict=True)):
            for rows, beside in (
                (np.flatnonzero(chosen[:, k] & ~new), companions),
                (np.flatnonzero(chosen[:, k] & new), whole),
            ):
                if len(rows):
                    there = cells[rows]
                    latents = {name: encode(model.module, data, name, there, batch_size) for name in sources}
                    values = predict_cells(
                        model, beside, self._stacks, data, latents, target, there, batch_size, number
                    )
                    # A model does not predict a feature that none of its training cells has.
                    total[rows] += np.nan_to_num(values)
                    n_models[rows] += np.isfinite(values)
        mean = (total / np.where(n_models > 0, n_models, np.nan)).astype(np.float32)
        table = pd.DataFrame(data.in_units(mean, target), index=data.cells[cells], columns=list(features))
        return tidy_table(table) if tidy else table

    def _quantiles(
        self,
        sources: Sequence[str],
        target: str,
        data: AlignedData,
        indices: Sequence[int] | np.ndarray | None,
        batch_size: int | None,
        quantiles: Sequence[float],
        own: np.ndarray | None,
        out_of_fold: bool,
    ) -> pd.DataFrame:
        """Quantiles, cells that different models predict apart."""
        first = self._trained()
        cells = first._positions(data, indices)
        by = (
            self._predictors(data)[cells]
            if out_of_fold
            else np.ones((len(cells), len(self.models)), dtype=bool)
        )
        members = self._members()
        parts, rows = [], []
        for pattern in np.unique(by, axis=0) if len(cells) else [np.ones(len(self.models), dtype=bool)]:
            there = np.flatnonzero((by == pattern).all(1))
            chosen = members if pattern.all() else out_of_fold_members(members, pattern)
            parts.append(
                predict_quantiles(
                    first, chosen, sources, target, data, cells[there], batch_size, quantiles, own
                )
            )
            rows.append(there)
        return pd.concat(parts).iloc[np.argsort(np.concatenate(rows), kind="stable")]

    def _members(self) -> list[Member]:
        """The models as predictors whose errors are known."""
        whole = SharedCompanions(self._whole)
        return [
            Member(model, companions, whole, self._stacks)
            for model, companions in zip(self.models, self._companions, strict=True)
        ]

    def _class_scores(self, sources: Sequence[str], label: str) -> pd.Series:
        """Probability of their true class of cells that have all sources by the models that they validated, by name."""
        scores = pd.concat([member.class_scores(sources, label) for member in self._members()])
        return scores.groupby(level=0).mean()

    def attribute(
        self,
        source: str,
        target: str,
        adata: MuData | AlignedData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        scaled: bool = True,
    ) -> pd.DataFrame:
        """Effects of features on the models' predictions, and how far the models agree on them.

        Models that predict equally well can use different features, above all redundant ones. An effect in only some of
        the models is not a finding.

        Parameters
        ----------
        source, target, adata, indices, batch_size, scaled
            As in :meth:`scvi_cae.CoupledAE.attribute`; ``adata`` is the first model's data by default.

        Returns
        -------
        Data frame with a row for each feature of ``source``, and three columns for each feature of ``target``, a
        :class:`pandas.MultiIndex` of ``feature`` and ``statistic``:

        ``mean``
            Mean of the models' derivatives.
        ``std``
            Their standard deviation (``ddof=1``).
        ``stability``
            ``|mean| / (|mean| + std)``: 1 if all models are equal, 1/2 if they differ by as much as their mean, 0 if
            their mean is 0.

        Raises
        ------
        ValueError
            If there are fewer than two models; else as in :meth:`scvi_cae.CoupledAE.attribute`.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> ensemble = scvi_cae.Ensemble.from_models(
        ...     [fit.model for fit in scvi_cae.fit_many(mdata, seeds=range(3), max_epochs=10)]
        ... )
        >>> effects = ensemble.attribute(source="rna", target="ephys")
        >>> effects["AP width (ms)"].columns.tolist()
        ['mean', 'std', 'stability']
        """
        if len(self.models) < 2:
            raise ValueError(
                "Agreement of models needs at least two; use a single one itself: model.attribute(...)."
            )
        data = self._first._align(adata, [source])
        return agreement(
            [model.attribute(source, target, data, indices, batch_size, scaled) for model in self.models]
        )

    def _ordered(self, source: str | Sequence[str], target: str) -> list[str]:
        """Sources in the order of the model, in which weights are kept."""
        first = self._trained()
        sources = first._sources(source, target)
        return sorted(sources, key=[target, *first.module.sources[target]].index)
