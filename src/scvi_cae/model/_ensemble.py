"""Several models of the same data as one predictor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_cae.data import SETS, check_latent_key, write_latents

from ._attribution import agreement
from ._prediction import check_no_batch, predict_quantiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from scvi_cae.data import AlignedData

    from ._coupled_ae import CoupledAE


class Ensemble:
    """Models that predict together, better than each one alone.

    Parameters
    ----------
    models
        Trained models of the same modalities and features, such as the fits of several seeds to one split
        (:func:`scvi_cae.fit_many`).

    Raises
    ------
    ValueError
        If no model is given, or models differ in modalities or features.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> fits = scvi_cae.fit_many(mdata, scvi_cae.splits.k_fold(mdata, 5)[:1], seeds=range(3), max_epochs=10)
    >>> ensemble = scvi_cae.Ensemble([fit.model for fit in fits])
    >>> ensemble.predict(source="rna", target="ephys").shape
    (200, 24)
    """

    def __init__(self, models: Sequence[CoupledAE]) -> None:
        self.models = list(models)
        if not self.models:
            raise ValueError("An ensemble needs at least one model.")
        for number, model in enumerate(self.models):
            differing = self.models[0].setup.differences(model.setup)
            if differing:
                raise ValueError(
                    f"Models 0 and {number} cannot predict together: they differ in modality {differing[0]!r}, its "
                    "features, layer, likelihood or batches. Train them on the same data, set up in the same way."
                )

    def align(self, adata: MuData | AlignedData | None = None) -> AlignedData:
        """Data for several calls, see :meth:`scvi_cae.CoupledAE.align`; the first model's by default."""
        return self.models[0].align(adata)

    @property
    def modalities(self) -> list[str]:
        """Keys of the modalities."""
        return self.models[0].modalities

    @property
    def labels(self) -> list[str]:
        """Columns of labels."""
        return self.models[0].labels

    def get_var_names(self) -> dict[str, list[str]]:
        """Names of the features of each modality, and of the classes of each column of labels."""
        return self.models[0].get_var_names()

    def measured_values(
        self,
        modality: str,
        adata: MuData | AlignedData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Measured values on the scale of predictions, see :meth:`scvi_cae.CoupledAE.measured_values`."""
        return self.models[0].measured_values(modality, adata, indices)

    def predict(
        self,
        source: str | Sequence[str],
        target: str,
        adata: MuData | AlignedData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        transform_batch: str | None = None,
        quantiles: Sequence[float] | None = None,
    ) -> pd.DataFrame:
        """Mean of the models' predictions, or quantiles of their joint prediction.

        Parameters
        ----------
        source, target, adata, indices, batch_size, transform_batch
            As in :meth:`scvi_cae.CoupledAE.predict`; ``adata`` is the first model's data by default.
        quantiles
            Quantiles, as in :meth:`scvi_cae.CoupledAE.predict`, calibrated on the validation cells of all models by
            CV+: with the models of :func:`scvi_cae.splits.within`, on every training cell by the model that was not
            trained on it.

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
        >>> ensemble = scvi_cae.Ensemble([fit.model for fit in fits])
        >>> ensemble.predict("rna", "ephys", indices=split.test, quantiles=[0.05, 0.95]).shape
        (40, 48)
        """
        if quantiles is not None:
            check_no_batch(transform_batch)
            return predict_quantiles(self.models, source, target, adata, indices, batch_size, quantiles)
        data = self.models[0]._align(adata, self.models[0]._sources(source, target))
        first, *others = (
            model.predict(source, target, data, indices, batch_size, transform_batch) for model in self.models
        )
        total = np.array(first, dtype=np.float64)
        for other in others:
            total += other.to_numpy()
        mean = (total / len(self.models)).astype(np.float32)
        return pd.DataFrame(mean, index=first.index, columns=first.columns)

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
        >>> ensemble = scvi_cae.Ensemble(
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
        data = self.models[0]._align(adata, [source])
        return agreement(
            [model.attribute(source, target, data, indices, batch_size, scaled) for model in self.models]
        )

    def get_latent_representation(
        self,
        adata: MuData | AlignedData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Concatenated latents of the models.

        Each model has a space of its own, so that latents cannot be averaged. When they are concatenated and divided by
        the square root of the number of models, the squared distance of two cells is the mean of their squared distances
        in the models.

        Parameters
        ----------
        adata, modality, indices, batch_size
            As in :meth:`scvi_cae.CoupledAE.get_latent_representation`; ``adata`` is the first model's data by default.

        Returns
        -------
        ``(n_cells, total of n_latent)`` float32 array.
        """
        data = self.align(adata)
        latents = [m.get_latent_representation(data, modality, indices, batch_size) for m in self.models]
        return np.concatenate(latents, axis=1) / np.float32(np.sqrt(len(latents)))

    def write_latent(self, adata: MuData | AlignedData | None = None, key: str = "X_cae") -> None:
        """Write concatenated latents where scanpy looks for them.

        Parameters
        ----------
        adata
            MuData to embed and to write to; the first model's by default.
        key
            Key in ``.obsm``, and prefix of the modalities' keys, as in :meth:`scvi_cae.CoupledAE.write_latent`.
        """
        data = self.align(adata)
        check_latent_key(data.mdata, key, self.modalities)
        latents = {
            name: self.get_latent_representation(data, name) for name in self.modalities if data.has(name)
        }
        joint = self.get_latent_representation(data)
        write_latents(data.mdata, key, joint, latents, self.set_membership(data))

    def set_membership(self, adata: MuData | AlignedData | None = None) -> pd.Series:
        """Set of each cell in the trainings, see :meth:`scvi_cae.CoupledAE.set_membership`.

        Parameters
        ----------
        adata
            MuData; the first model's by default.

        Returns
        -------
        Categorical Series by cell: ``"training"`` if it was a training cell of any model, else ``"validation"`` if it
        was a validation cell of any, else ``"test"``.
        """
        data = self.align(adata)
        sets = [model.set_membership(data) for model in self.models]
        codes = np.min([s.cat.codes.to_numpy() for s in sets], axis=0)  # -1 if unknown to one: missing
        return pd.Series(pd.Categorical(np.array([*SETS, None])[codes], SETS), index=data.cells)
