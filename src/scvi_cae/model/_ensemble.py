"""Several models of the same data as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ._attribution import agreement
from ._inference import CELL_SETS
from ._prediction import MOST_CELLS, check_no_batch, predict_quantiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._coupled_ae import CoupledAE


class Ensemble:
    """Models that predict together, better than each of them.

    Parameters
    ----------
    models
        Trained models of the same modalities and features, such as the fits of several seeds to one split
        (:func:`scvi_cae.fit_many`).

    Raises
    ------
    ValueError
        If there is no model, or they differ in modalities or features.

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
        first = self._made_of(self.models[0])
        for number, model in enumerate(self.models):
            other = self._made_of(model)
            differing = [name for name in {**first, **other} if first.get(name) != other.get(name)]
            if differing:
                raise ValueError(
                    f"Models 0 and {number} cannot predict together: they differ in modality {differing[0]!r}, its "
                    "features, layer, likelihood or batches. Train them on the same data, set up in the same way."
                )

    @staticmethod
    def _made_of(model: CoupledAE) -> dict[str, tuple]:
        """What models must have in common."""
        layers = model.get_setup_arg("layers")
        return {
            name: (features, layers.get(name), model._likelihood(name), model.batches(name))
            for name, features in model.get_var_names().items()
        }

    @property
    def modalities(self) -> list[str]:
        """Keys of the modalities."""
        return self.models[0].modalities

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
        """Mean of the models' predictions, or quantiles of what they predict together.

        Parameters
        ----------
        source, target, adata, indices, batch_size, batch
            As in :meth:`scvi_cae.CoupledAE.predict`; ``adata`` is the first model's data by default.
        quantiles
            Quantiles, as in :meth:`scvi_cae.CoupledAE.predict`, calibrated on the validation cells of all models by
            CV+: with the models of :func:`scvi_cae.splits.within`, on every training cell, each by the model that was
            not trained on it.

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
        Quantiles are those of the pooled set of each model's prediction plus its residuals, scaled as for a single
        model. An interval holds about the asked share of cells, or a little more; what is guaranteed, for cells that are
        like the validation cells, is that not more than about twice as many as asked lie outside. Models with the same validation
        cells, such as those of several seeds, count as one, their mean.

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
        adata = self.models[0].adata if adata is None else adata
        if quantiles is not None:
            check_no_batch(batch)
            return predict_quantiles(self.models, source, target, adata, indices, batch_size, quantiles)
        first, *others = (
            model.predict(source, target, adata, indices, batch_size, batch) for model in self.models
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
        adata: MuData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        scaled: bool = True,
    ) -> pd.DataFrame:
        """What drives the models' predictions, and how far they agree on it.

        Models that predict equally well can get there from different features, above all from features that say the
        same. What only some of them use is no finding.

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
            ``|mean| / (|mean| + std)``: 1 if all models give the same, 1/2 if they differ by as much as their mean,
            0 if the mean is.

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
                "How far models agree takes at least two; ask a single one itself: model.attribute(...)."
            )
        adata = self.models[0].adata if adata is None else adata
        return agreement(
            [model.attribute(source, target, adata, indices, batch_size, scaled) for model in self.models]
        )

    def calibrate(self, n_cells: int = MOST_CELLS) -> None:
        """Keep the errors on validation cells in each model, so that they give quantiles without their data.

        Parameters
        ----------
        n_cells
            As in :meth:`scvi_cae.CoupledAE.calibrate`, for each model.
        """
        for model in self.models:
            model.calibrate(n_cells)

    def get_latent_representation(
        self,
        adata: MuData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """The models' latents side by side.

        Each model has a space of its own, so that latents cannot be averaged. Side by side, divided by the square
        root of the number of models, the squared distance of two cells is the mean of their squared distances in the
        models.

        Parameters
        ----------
        adata, modality, indices, batch_size
            As in :meth:`scvi_cae.CoupledAE.get_latent_representation`; ``adata`` is the first model's data by default.

        Returns
        -------
        ``(n_cells, total of n_latent)`` float32 array.
        """
        adata = self.models[0].adata if adata is None else adata
        latents = [m.get_latent_representation(adata, modality, indices, batch_size) for m in self.models]
        return np.concatenate(latents, axis=1) / np.float32(np.sqrt(len(latents)))

    def write_latent(self, mdata: MuData | None = None, key: str = "X_cae") -> None:
        """Write latents side by side where scanpy looks for them.

        Parameters
        ----------
        mdata
            MuData to embed and to write to; the first model's by default.
        key
            Key in ``.obsm``, and the beginning of the modalities' keys, as in :meth:`scvi_cae.CoupledAE.write_latent`.
        """
        mdata = self.models[0].adata if mdata is None else mdata
        latents = {
            name: self.get_latent_representation(mdata, name)
            for name in self.models[0].measured
            if name in mdata.mod
        }
        joint = self.get_latent_representation(mdata)
        # The first model checks the keys, and whether the data are a view, before anything is replaced.
        self.models[0].write_latent(mdata, key)
        mdata.obsm[key] = joint
        for name, z in latents.items():
            mdata.obsm[f"{key}_{name}"] = z
            adata = mdata.mod[name]
            adata.obsm[key] = z[mdata.obs_names.get_indexer(adata.obs_names)]
        mdata.obs[f"{key}_set"] = self.cell_sets(mdata)

    def cell_sets(self, adata: MuData | None = None) -> pd.Series:
        """What each cell was to the trainings, as in :meth:`scvi_cae.CoupledAE.cell_sets`.

        Parameters
        ----------
        adata
            MuData; the first model's by default.

        Returns
        -------
        Categorical Series by cell: ``"training"`` if it is that to any model, else ``"validation"`` if it is that to
        any, else ``"test"``.
        """
        sets = [model.cell_sets(self.models[0].adata if adata is None else adata) for model in self.models]
        codes = np.min([s.cat.codes.to_numpy() for s in sets], axis=0)  # -1 if one does not know: missing
        return pd.Series(pd.Categorical(np.array([*CELL_SETS, None])[codes], CELL_SETS), index=sets[0].index)
