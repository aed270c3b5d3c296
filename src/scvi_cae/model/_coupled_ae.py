"""The model that users call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from scvi_cae._arguments import check_whole
from scvi_cae.module import COUPLING_LOSSES, CoupledModule
from scvi_cae.module.likelihoods import NegativeBinomial

from ._alignment import AlignmentMixin
from ._attribution import AttributionMixin
from ._core import CoreModel
from ._defaults import arm_configs, coupling_losses, coupling_weights
from ._embedding import EmbeddingMixin
from ._mapping import MappingMixin
from ._not_offered import NotOffered
from ._novelty import NoveltyMixin
from ._prediction import PredictionMixin
from ._query import QueryMixin
from ._saving import SavingMixin
from ._setup import SetupMixin
from ._training import TrainingMixin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mudata import MuData

#: Coordinates of latents.
LatentAxes = Literal["agreement", "network"]


class CoupledAE(
    SetupMixin,
    TrainingMixin,
    EmbeddingMixin,
    PredictionMixin,
    AttributionMixin,
    NoveltyMixin,
    QueryMixin,
    AlignmentMixin,
    MappingMixin,
    SavingMixin,
    NotOffered,
    CoreModel,
):
    """Coupled autoencoder of the modalities of a MuData.

    Each modality has an encoder into a common low-dimensional space and a decoder out of it. A coupling loss makes the
    latents of cells with two modalities agree, and each decoder also learns to read the other modalities' latents: the
    space identifies cells consistently across modalities and predicts one modality from another
    :cite:p:`Gala19,Gala21`. Cells may lack any modality, and any value (NaN); missing values enter no loss and no
    statistic.

    Parameters
    ----------
    mdata
        MuData set up by :meth:`setup_mudata`. ``None`` only together with ``registry``.
    n_latent
        Number of latent dimensions. With the default, 10, cross-modal predictions are about as good as with
        more; 2 or 3 can be plotted but retain less information (docs/dimensions.md).
    arms
        For each modality, settings that differ from the defaults: any of the arguments of
        :class:`~scvi_cae.module.ArmConfig`, as in ``{"rna": {"hidden": (128, 64)}}``. The defaults depend on the
        number of features ``n``. Encoder and decoder have a linear path in parallel to two hidden layers of 128 units
        or, with more than 200 features, one of 64. Input dropout retains about ``7 * sqrt(n)`` features, but at least a
        fifth and at most four fifths; where it retains four fifths, noise of 0.1 standard deviations is added. The
        more features are dropped, the larger is the weight of the arm (1 to 1.2), and the less other encoders learn
        from predicting it (``cross_gradient``, 1 to 0.25).
    coupling
        Weight of the coupling loss, one for all pairs of modalities that share cells or one for each:
        ``{("rna", "ephys"): 1.0}``. The default suits the default ``coupling_loss``: a smaller weight leaves more of the
        latent to each modality alone, a larger one predicts one from the other slightly better (docs/benchmark.md).
        Pairs of weight 0, and pairs that a dictionary leaves out, are not coupled, and neither of the two decoders
        learns from the other's latent. Two weights couple a pair by direction: with
        ``{("rna", "ephys"): (0.1, 0.9)}`` mostly the encoder of ``ephys`` follows that of ``rna``, whose latent then
        retains more that is specific to it.
    coupling_loss
        Loss that makes latents agree. ``"log_determinant"`` resembles the mutual information of the latents: they agree
        closely along directions that modalities share, and each keeps the others
        (:data:`~scvi_cae.module.COUPLING_LOSSES`). As published: ``"min_variance"`` :cite:p:`Gala21`, the
        squared distance relative to the smallest variance of the latents; ``"min_variance_2019"``, with a term for each
        modality, and ``"full_covariance"``, relative to the whole covariance :cite:p:`Gala19`; or ``"mse"``, the plain
        distance, under which latents collapse, for comparison.
    latent_axes
        Coordinates in which latents are given. ``"agreement"``: the axes along which modalities agree on the training
        cells, in decreasing order, scaled so that nearest cells are the most likely to be the same: distances,
        neighbours and clusters reflect what modalities agree on. ``"network"``: the coordinates of the encoders, as
        published. Predictions do not depend on it.
    registry
        Registry of an earlier set-up, for a model without data; used by :meth:`load`.

    Raises
    ------
    ValueError
        If a setting is not valid.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
    >>> model.train(max_epochs=20, enable_progress_bar=False)
    >>> model.write_latent(mdata)
    >>> mdata.obsm["X_cae"].shape
    (200, 5)
    >>> ephys = model.predict(source="rna", target="ephys")

    References
    ----------
    Gala et al., "A coupled autoencoder approach for multi-modal analysis of cell types", NeurIPS 2019.

    Gala et al., "Consistent cross-modal identification of cortical neurons with coupled autoencoders", Nature
    Computational Science 2021.
    """

    _module_cls = CoupledModule

    def __init__(
        self,
        mdata: MuData | None = None,
        n_latent: int = 10,
        arms: Mapping[str, Mapping[str, Any]] | None = None,
        coupling: float | Mapping[tuple[str, str], float | tuple[float, float]] = 0.2,
        coupling_loss: str = "log_determinant",
        latent_axes: LatentAxes = "agreement",
        registry: dict | None = None,
    ) -> None:
        super().__init__(mdata, registry)
        setup = self.setup
        check_whole(n_latent, "n_latent")
        configs = arm_configs(setup, arms or {})
        if coupling_loss not in COUPLING_LOSSES:
            raise ValueError(f"coupling_loss={coupling_loss!r} must be one of {list(COUPLING_LOSSES)}.")
        if latent_axes not in get_args(LatentAxes):
            raise ValueError(f"latent_axes={latent_axes!r} must be one of {list(get_args(LatentAxes))}.")
        n_features = {name: len(setup.features[name]) for name in setup.arms}
        self.latent_axes = latent_axes
        self.module = self._module_cls(
            n_features,
            int(n_latent),
            configs,
            coupling_weights(setup, coupling),
            coupling_losses(setup, coupling_loss),
            {name: len(batches) for name, batches in setup.batches.items()},
        )
        for name, lengths in setup.lengths.items():
            likelihood = self.module.arm(name).likelihood
            assert isinstance(likelihood, NegativeBinomial)
            likelihood.set_lengths(torch.tensor(lengths))
        sizes = ", ".join(f"{name}: {n} features" for name, n in n_features.items())
        self._model_summary_string = f"CoupledAE with n_latent: {n_latent}, {sizes}."
        self.init_params_ = self._get_init_params(locals())
