"""Several models of the same data, and regressions beside them, as one predictor."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import pandas as pd
from scvi import settings

from scvi_cae._arguments import check_whole
from scvi_cae.data import AlignedData

from ._alignment import AlignmentMixin
from ._combination import fit_stacks
from ._companions import Companions
from ._coupled_ae import CoupledAE
from ._cross_fitting import cross_fitting_folds, warn_once
from ._ensemble_embedding import EnsembleEmbedding
from ._ensemble_files import Members, load_ensemble, save_ensemble
from ._ensemble_prediction import EnsemblePrediction
from ._many import fit_many
from ._mapping import MappingMixin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mudata import MuData

    from ._combination import Stacks


class Ensemble(EnsemblePrediction, EnsembleEmbedding, AlignmentMixin, MappingMixin):
    r"""Coupled autoencoders that are trained on different parts of the data and predict together.

    Each model is trained without one part of the cells, and predicts these. So every cell has predictions by what has not
    seen it: they determine how much the networks, and regressions that are fitted in the same parts, contribute to a
    prediction, feature by feature (:meth:`weights`), and how large its errors are. With few pairs, predictions do not fall
    below those of the regressions, as those of one model do (docs/few_pairs.md).

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

    Raises
    ------
    ValueError
        If ``n_models`` is not a whole number of at least 2, the MuData is not set up, or a setting is not valid.

    Notes
    -----
    A prediction of one arm from others is :math:`m + \sum_c w_c (p_c - m)`, with :math:`m` the mean of the training
    cells, :math:`p_c` predictions of the network and of regressions, or, from several sources, of the network and those
    combined from each. Weights :math:`w_c \ge 0` are fitted by least squares to cells that none of these was fitted to,
    and are shrunk towards those of all features together. What cannot be predicted is predicted as its mean.
    Probabilities of classes are the normalised products :math:`\prod_c p_c^{w_c}`, with weights of maximum likelihood that
    all classes share. A modality from itself is the mean of the networks' reconstructions.

    The regressions are ridge and, up to 2,000 features, kernel ridge regression on principal components; to labels, a
    linear discriminant and, from few features, logistic regression with a kernel.

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
        self._whole = Companions({})
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
        ensemble._whole = Companions({})
        return ensemble

    @classmethod
    def setup_mudata(cls, mdata: MuData, *args: Any, **kwargs: Any) -> None:
        """Register a MuData, as :meth:`scvi_cae.CoupledAE.setup_mudata` does."""
        CoupledAE.setup_mudata(mdata, *args, **kwargs)

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
        everyone = np.union1d(folds[0].train, folds[0].validation)
        self._whole = Companions.fit(data, everyone, pairs)
        # Few cells of a class may all be in one part: then no part has the regression.
        shared = set.intersection(*(beside.pairs for beside in (*self._companions, self._whole)))
        for beside in (*self._companions, self._whole):
            beside.keep(shared)
        for model, companions in zip(models, self._companions, strict=True):
            calibrating = model._trained().calibration.items()
            companions.store(
                data, {name: data.cells.get_indexer(pd.Index(x.validation.names)) for name, x in calibrating}
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
        members = Members(self.models, self._companions, self._whole, self._stacks)
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
        ensemble._whole = members.whole
        return ensemble

    @classmethod
    def prepare_query_mudata(
        cls, mdata: MuData, reference_model: Self | str | Path, *args: Any, **kwargs: Any
    ) -> MuData:
        """Bring other data to the features of a trained ensemble, or of one in a folder.

        See :meth:`scvi_cae.CoupledAE.prepare_query_mudata`.
        """
        if isinstance(reference_model, (str, Path)):
            reference_model = cls.load(reference_model, adata=False)
        return CoupledAE.prepare_query_mudata(mdata, reference_model._trained(), *args, **kwargs)

    def normalize_query(self, query: MuData, match_medians: bool = False) -> MuData:
        """Bring expression values of a query onto the training's, see :meth:`scvi_cae.CoupledAE.normalize_query`."""
        return self._trained().normalize_query(query, match_medians)
