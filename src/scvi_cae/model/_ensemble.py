"""Several models of the same data, and regressions beside them, as one predictor."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from scvi import settings

from scvi_cae._arguments import check_whole
from scvi_cae.data import SETS, AlignedData, check_latent_key, write_latents

from ._attribution import agreement
from ._combination import Member, fit_stacks, predict_cells
from ._companions import Companions
from ._coupled_ae import CoupledAE
from ._cross_fitting import cross_fitting_folds, warn_once
from ._ensemble_files import Members, load_ensemble, save_ensemble
from ._many import fit_many
from ._prediction import check_no_batch, predict_quantiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._combination import Stacks


class Ensemble:
    r"""Coupled autoencoders that are trained on different parts of the data and predict together.

    Each model is trained without one part of the cells, and predicts these. So every cell has predictions by what has not
    seen it: they determine how much the networks, and regressions that are fitted in the same parts, contribute to a
    prediction, feature by feature (:meth:`weights`), and how large its errors are. Predictions are better than those of
    one model, and no worse than those of the regressions, also with few pairs.

    Parameters
    ----------
    mdata
        MuData that was set up by :meth:`setup_mudata`.
    n_models
        Number of models, and of parts.
    **settings
        Arguments of :class:`scvi_cae.CoupledAE`, such as ``n_latent``.

    Attributes
    ----------
    models
        The models; none before training.
    n_models
        Their number.

    Notes
    -----
    A prediction of one arm from others is :math:`m + \sum_c w_c (p_c - m)`, with :math:`m` the mean of the training
    cells, :math:`p_c` predictions of the network and of a regression, and from several sources also those from each of
    them; weights :math:`w_c \ge 0` are fitted by least squares to cells that none of these was fitted to, and are shrunk
    towards those of all features together. What cannot be predicted is predicted as its mean. A modality from itself is
    the mean of the networks' reconstructions.

    The regressions are kernel ridge regression on principal components to few features; ridge regression to many; and,
    to labels, a linear discriminant from many features or a logistic regression with a kernel from few.

    References
    ----------
    Wolpert, "Stacked generalization", Neural Networks 1992. Breiman, "Stacked regressions", Machine Learning 1996.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.Ensemble.setup_mudata(mdata)
    >>> ensemble = scvi_cae.Ensemble(mdata, n_models=3, n_latent=5)
    >>> ensemble.train(max_epochs=10)
    >>> ensemble.predict(source="rna", target="ephys").shape
    (200, 24)
    """

    def __init__(self, mdata: MuData, n_models: int = 5, **settings: Any) -> None:
        check_whole(n_models, "n_models", minimum=2)
        self.n_models = int(n_models)
        self._mdata: MuData | None = mdata
        self._settings = settings
        # Checks the settings before anything is trained, and knows the set-up.
        self._untrained: CoupledAE | None = CoupledAE(mdata, **settings)
        self.models: list[CoupledAE] = []
        self._companions: list[Companions] = []
        self._stacks: Stacks = {}

    @classmethod
    def from_models(cls, models: Sequence[CoupledAE]) -> Self:
        """Make an ensemble of trained models, whose predictions are averaged.

        Parameters
        ----------
        models
            Models of the same modalities and features, such as the fits of several seeds to one split
            (:func:`scvi_cae.fit_many`).

        Raises
        ------
        ValueError
            If no model is given, or models differ in modalities or features.
        """
        models = list(models)
        if not models:
            raise ValueError("An ensemble needs at least one model.")
        for number, model in enumerate(models):
            differing = models[0].setup.differences(model.setup)
            if differing:
                raise ValueError(
                    f"Models 0 and {number} cannot predict together: they differ in modality {differing[0]!r}, its "
                    "features, layer, likelihood or batches. Train them on the same data, set up in the same way."
                )
        ensemble = cls.__new__(cls)
        ensemble.n_models = len(models)
        ensemble.models = models
        ensemble._mdata, ensemble._settings, ensemble._untrained = models[0].adata, {}, None
        ensemble._companions, ensemble._stacks = [Companions({}) for _ in models], {}
        return ensemble

    @classmethod
    def setup_mudata(cls, mdata: MuData, *args: Any, **kwargs: Any) -> None:
        """Register a MuData, as :meth:`scvi_cae.CoupledAE.setup_mudata` does."""
        CoupledAE.setup_mudata(mdata, *args, **kwargs)

    @property
    def is_trained(self) -> bool:
        """Whether the models are trained."""
        return bool(self.models)

    @property
    def adata(self) -> MuData | None:
        """The data; ``None`` for an ensemble that was loaded without."""
        return self._mdata

    @property
    def _first(self) -> CoupledAE:
        """A model that knows the set-up."""
        if self.models:
            return self.models[0]
        assert self._untrained is not None
        return self._untrained

    def train(
        self,
        max_epochs: int | None = None,
        *,
        group_by: str | None = None,
        external_indexing: Sequence[np.ndarray | Sequence[int] | None] | None = None,
        **kwargs: Any,
    ) -> None:
        """Train the models, each without one part of the cells, and fit the weights of their predictions.

        Parameters
        ----------
        max_epochs
            Number of epochs, as in :meth:`scvi_cae.CoupledAE.train`.
        group_by
            Column of groups that are not divided between parts, such as donors: weights and intervals are then those for
            new donors. ``None`` (default): each cell by itself. A cell leaves a model with all that it has: all of its
            modalities, and labels.
        external_indexing
            Positions of training, validation and test cells, the last two optional. Validation and test cells take no
            part. By default, all cells take part.
        **kwargs
            Further arguments of :func:`scvi_cae.fit_many`, such as ``batch_size`` or ``plan_kwargs``.

        Raises
        ------
        RuntimeError
            If the ensemble is trained already, or was made of trained models.
        ValueError
            As in :func:`scvi_cae.fit_many`; if there are fewer groups than models.
        """
        if self.models or self._mdata is None:
            raise RuntimeError("The ensemble is trained already. Make a new one: Ensemble(mdata).")
        data = AlignedData(self._mdata, self._first.setup)
        folds = cross_fitting_folds(data, self.n_models, group_by, external_indexing)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fits = fit_many(
                self._mdata,
                folds,
                seeds=[settings.seed or 0],
                settings=[self._settings],
                max_epochs=max_epochs,
                monitor=None,
                **kwargs,
            )
        warn_once(caught, self.n_models)
        models = [fit.model for fit in fits]
        pairs = [
            (source, target) for target, sources in models[0].module.sources.items() for source in sources
        ]
        self._companions = [Companions.fit(data, fold.train, pairs) for fold in folds]
        for model, companions in zip(models, self._companions, strict=True):
            calibrating = model._trained().calibration.items()
            companions.store(
                data, {name: data.cells.get_indexer(x.validation.names) for name, x in calibrating}
            )
        self._stacks = fit_stacks(models, self._companions, data, [fold.validation for fold in folds])
        self.models, self._untrained = models, None

    def save(self, dir_path: str | Path, overwrite: bool = False, save_anndata: bool = False) -> None:
        """Save the ensemble to a folder, with all it needs to embed, predict quantiles and judge novelty without its data.

        Parameters
        ----------
        dir_path
            Folder; it is made if it does not exist. It holds ``models/0``, ``models/1`` ..., each as
            :meth:`scvi_cae.CoupledAE.save` writes it; ``ensemble.pt``, with regressions and weights; and perhaps
            ``mdata.h5mu``. At any moment, even if the process is killed, it is the old ensemble with its data or the new
            one with its own.
        overwrite
            Whether ``dir_path`` may exist; an ensemble in it is then replaced. A folder with anything else is refused.
        save_anndata
            Whether to save the data, once for all models.

        Raises
        ------
        RuntimeError
            If the ensemble is not trained.
        ValueError
            If ``dir_path`` exists and ``overwrite`` is false, or it has other contents; if weights are not finite; if
            there are no data to save.
        OSError
            If files cannot be written, as on a full disk; what was in the folder is still there.

        Examples
        --------
        >>> import tempfile
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.Ensemble.setup_mudata(mdata)
        >>> ensemble = scvi_cae.Ensemble(mdata, n_models=3, n_latent=5)
        >>> ensemble.train(max_epochs=10)
        >>> folder = f"{tempfile.mkdtemp()}/ensemble"
        >>> ensemble.save(folder)
        >>> loaded = scvi_cae.Ensemble.load(folder, adata=False)
        >>> loaded.predict("rna", "ephys", adata=mdata).shape
        (200, 24)
        """
        self._trained()
        if save_anndata and self.adata is None:
            raise ValueError("save_anndata=True, but the ensemble was loaded without data.")
        members = Members(self.models, self._companions, self._stacks)
        save_ensemble(members, Path(dir_path).expanduser(), overwrite, self.adata if save_anndata else None)

    @classmethod
    def load(
        cls,
        dir_path: str | Path,
        adata: MuData | Literal[False] | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
    ) -> Self:
        """Load a saved ensemble; no code from its files is run.

        Parameters
        ----------
        dir_path
            Folder that :meth:`save` wrote.
        adata
            MuData to attach; it need not be set up. ``None`` reads data saved with the ensemble, if there are any;
            ``False`` loads the ensemble alone, which embeds and predicts any data given to it.
        accelerator, device
            Device of the weights, as in scvi-tools.

        Returns
        -------
        The ensemble, which predicts what it predicted before it was saved.

        Raises
        ------
        ValueError
            If the folder holds no complete ensemble, or one that differs from what was saved; if the data in it are of
            another save; if ``adata`` has other features.

        Warns
        -----
        UserWarning
            If data are to be read that were saved with the ensemble, and are gone, or that were not saved with it.
        """
        members = load_ensemble(Path(dir_path).expanduser(), adata, accelerator, device)
        ensemble = cls.from_models(members.models)
        ensemble._companions, ensemble._stacks = list(members.companions), members.stacks
        return ensemble

    def weights(self, source: str | Sequence[str], target: str) -> pd.DataFrame:
        """How much each network and regression contributes to a prediction.

        Parameters
        ----------
        source, target
            As in :meth:`predict`.

        Returns
        -------
        Data frame with a row for each feature of the target and a column for each prediction: ``"network"``, of all
        sources together; with several, ``"network from rna"`` ...; and ``"regression from rna"`` ... Weights below 1 in
        sum shrink predictions towards the mean.

        Raises
        ------
        KeyError
            If no weights were fitted: the prediction is the mean of the networks', as that of a modality from itself is.
        """
        sources = self._trained()._sources(source, target)
        subset = tuple(name for name in self._first.module.sources.get(target, ()) if name in sources)
        stack = self._stacks.get((subset, target))
        if stack is None:
            raise KeyError(
                f"No weights were fitted for {target!r} from {sources}: it is the mean of the networks' predictions."
            )
        single = [(name,) for name in subset] if len(subset) > 1 else []
        names = ["network", *(f"network from {name}" for (name,) in single)]
        names += [f"regression from {name}" for name in subset if (name, target) in self._companions[0]]
        return pd.DataFrame(stack.weights.T, index=list(self._first.setup.features[target]), columns=names)

    def _trained(self) -> CoupledAE:
        """The first model, or a RuntimeError before the training."""
        if not self.models:
            raise RuntimeError("The ensemble is not trained. Call ensemble.train() first.")
        return self.models[0]

    def _sees(self, data: AlignedData) -> np.ndarray:
        """Boolean ``(n_cells, n_models)``: which models predict a cell, those that were not trained on it if there are any."""
        sets = [self._trained().set_membership(data)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are the same for each
            sets += [model.set_membership(data) for model in self.models[1:]]
        unseen = np.stack([(s != "training").to_numpy() for s in sets], axis=1)
        return unseen | ~unseen.any(axis=1, keepdims=True)

    def align(self, adata: MuData | AlignedData | None = None) -> AlignedData:
        """Data for several calls, see :meth:`scvi_cae.CoupledAE.align`; the first model's by default."""
        return self._first.align(adata)

    @property
    def modalities(self) -> list[str]:
        """Keys of the modalities."""
        return self._first.modalities

    @property
    def labels(self) -> list[str]:
        """Columns of labels."""
        return self._first.labels

    def get_var_names(self) -> dict[str, list[str]]:
        """Names of the features of each modality, and of the classes of each column of labels."""
        return self._first.get_var_names()

    def measured_values(
        self,
        modality: str,
        adata: MuData | AlignedData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Measured values on the scale of predictions, see :meth:`scvi_cae.CoupledAE.measured_values`."""
        return self._first.measured_values(modality, adata, indices)

    def predict(
        self,
        source: str | Sequence[str],
        target: str,
        adata: MuData | AlignedData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        transform_batch: str | None = None,
        quantiles: Sequence[float] | None = None,
        out_of_fold: bool = True,
    ) -> pd.DataFrame:
        """Predict one modality from others, or quantiles of the prediction.

        Parameters
        ----------
        source, target, adata, indices, batch_size, transform_batch
            As in :meth:`scvi_cae.CoupledAE.predict`; ``adata`` is the first model's data by default.
        quantiles
            Quantiles, as in :meth:`scvi_cae.CoupledAE.predict`, calibrated on the validation cells of all models by
            CV+: with the models of :func:`scvi_cae.splits.within`, on every training cell by the model that was not
            trained on it.
        out_of_fold
            Whether a cell of the training is predicted by the models that were not trained on it (default), so that its
            prediction is as good as that of a new cell; otherwise by all.

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
        sources = first._sources(source, target)
        check_whole(batch_size, "batch_size", optional=True)
        if quantiles is not None:
            check_no_batch(transform_batch)
            return self._quantiles(source, target, adata, indices, batch_size, quantiles, out_of_fold)
        number = first._batch_number(target, transform_batch)
        data = first._align(adata, sources)
        cells = first._positions(data, indices)
        chosen = (
            self._sees(data)[cells] if out_of_fold else np.ones((len(cells), len(self.models)), dtype=bool)
        )
        features = first.setup.features[target]
        total = np.zeros((len(cells), len(features)))
        for k, (model, companions) in enumerate(zip(self.models, self._companions, strict=True)):
            rows = np.flatnonzero(chosen[:, k])
            if len(rows):
                total[rows] += predict_cells(
                    model, companions, self._stacks, data, sources, target, cells[rows], batch_size, number
                )
        mean = (total / chosen.sum(1, keepdims=True)).astype(np.float32)
        return pd.DataFrame(
            first.setup.in_units(mean, target), index=data.cells[cells], columns=list(features)
        )

    def _quantiles(
        self,
        source: str | Sequence[str],
        target: str,
        adata: MuData | AlignedData | None,
        indices: Sequence[int] | np.ndarray | None,
        batch_size: int | None,
        quantiles: Sequence[float],
        out_of_fold: bool,
    ) -> pd.DataFrame:
        """Quantiles, cells that different models predict apart."""
        first = self._trained()
        data = first._align(adata, first._sources(source, target))
        cells = first._positions(data, indices)
        sees = self._sees(data)[cells] if out_of_fold else np.ones((len(cells), len(self.models)), dtype=bool)
        members = [
            Member(model, companions, self._stacks)
            for model, companions in zip(self.models, self._companions, strict=True)
        ]
        parts, rows = [], []
        for pattern in np.unique(sees, axis=0) if len(cells) else [np.ones(len(self.models), dtype=bool)]:
            there = np.flatnonzero((sees == pattern).all(1))
            chosen = [member for member, sees_it in zip(members, pattern, strict=True) if sees_it]
            parts.append(
                predict_quantiles(first, chosen, source, target, data, cells[there], batch_size, quantiles)
            )
            rows.append(there)
        return pd.concat(parts).iloc[np.argsort(np.concatenate(rows), kind="stable")]

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
