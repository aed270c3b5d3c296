"""The model that users call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from numbers import Real
from typing import TYPE_CHECKING, Any, Self, cast, get_args

import numpy as np
import torch

from scvi_cae._arguments import shorten
from scvi_cae.data import (
    Split,
    check_modalities,
    check_mudata,
    registry_key,
)
from scvi_cae.module import COUPLING_LOSSES, ArmConfig, CoupledModule
from scvi_cae.recipes import gala2021

from ._adaptation import AdaptableModel
from ._inference import LatentAxes
from ._published import read_published_weights

if TYPE_CHECKING:
    from pathlib import Path

    from mudata import MuData

    from scvi_cae.module._config import Likelihood
    from scvi_cae.module.likelihoods import NegativeBinomial


#: Modalities with more features have shallow networks.
WIDE = 200


def default_arm(n_features: int, likelihood: Likelihood = "squared_error") -> ArmConfig:
    """The arm of a modality about which nothing else is said.

    A wide modality, such as gene expression, measures everything many times over, and its encoder overfits
    unless most of it is dropped at random; a narrow one has little to spare, and gets noise, too. Of ``n`` features,
    input dropout leaves about ``7 * sqrt(n)``, but at least a fifth and at most four fifths. What little of a wide
    modality is more than noise has little weight in its mean error, so that its arm weighs more; and others' encoders,
    which would overfit so many targets, learn less from predicting it. Single features of a narrow modality are worth
    predicting, and depend on cell types in ways that take a deeper network. All of it was chosen on inner validation
    cells (docs/benchmark.md).

    The arm of labels is linear: each class has a place in the latent, and logits are linear in it. Other modalities'
    encoders learn to tell classes apart, but their decoders learn little from labels, which would teach them means of
    classes.
    """
    if likelihood == "categorical":
        return ArmConfig(
            likelihood,
            hidden=(),
            dropout=0.0,
            weight=0.1,
            cross_weight=4.0,
            source_weight=0.3,
            translate=False,
        )
    dropout = float(np.clip(1 - 7 / np.sqrt(n_features), 0.2, 0.8))
    wide = (dropout - 0.2) / 0.6
    return ArmConfig(
        likelihood,
        hidden=(64,) if n_features > WIDE else (128, 128),
        dropout=dropout,
        noise=0.1 if dropout == 0.2 else 0.0,
        weight=1 + 0.2 * wide,
        pull=1 - 0.75 * wide,
    )


class CoupledAE(AdaptableModel):
    """Coupled autoencoder of the modalities of a MuData.

    Each modality has an encoder into a common low-dimensional space and a decoder out of it. Latents of cells
    that have two modalities are made to agree where they can, and each
    decoder also learns to read the other modalities' latents: the space identifies cells consistently across
    modalities and predicts one modality from another :cite:p:`Gala19,Gala21`. Cells may lack any modality, and
    any value (NaN); what is missing enters no loss and no statistic.

    Parameters
    ----------
    mdata
        MuData set up by :meth:`setup_mudata`. ``None`` only together with ``registry``.
    n_latent
        Number of latent dimensions. With the default, 10, cross-modal predictions are about as good as with
        more; 2 or 3 can be looked at, and hold less of everything (docs/benchmark.md).
    arms
        For each modality, settings that differ from the defaults: any of the arguments of
        :class:`~scvi_cae.module.ArmConfig`, as in ``{"rna": {"hidden": (128, 64)}}``. The defaults depend on the
        number of features ``n``. Encoder and decoder have a linear path, beside two hidden layers of 128 units, or,
        with more than 200 features, one of 64. Input dropout leaves about ``7 * sqrt(n)`` features, but at least a
        fifth and at most four fifths; where it leaves four fifths, there is also noise of 0.1 standard deviations.
        The more is dropped, the larger the weight of the arm (1 to 1.2), and the less do other encoders learn from
        predicting it (``pull``, 1 to 0.25).
    coupling
        Weight of the coupling loss, one for all pairs of modalities that share cells or one for each:
        ``{("rna", "ephys"): 1.0}``. The default is for the default ``coupling_loss``: less of it
        leaves more to each modality alone, more predicts one from the other a little better (docs/benchmark.md). Pairs of weight 0, and pairs that a
        dictionary leaves out, are not coupled, and neither of the two decoders learns from the other's latent.
        Two weights couple a pair by direction: with ``{("rna", "ephys"): (0.1, 0.9)}`` mostly the encoder of
        ``ephys`` follows that of ``rna``, whose latent then keeps more of its own.
    coupling_loss
        What pulls latents together. ``"log_determinant"``, much like the mutual information of the latents: where
        modalities agree, they are to agree closely, and where they do not, each keeps its own
        (:func:`~scvi_cae.module.log_determinant_coupling`). As published: ``"min_variance"`` :cite:p:`Gala21`, the
        squared distance relative to the smallest variance of the latents; ``"min_variance_2019"``, with a term for each modality, and
        ``"full_covariance"``, relative to the whole covariance :cite:p:`Gala19`; or ``"mse"``, the plain distance,
        under which latents collapse, to show just that.
    latent_axes
        Coordinates in which latents are given. ``"agreement"``: after training, axes are those along which modalities
        agree on the training cells, from the most to the least, scaled so that the nearest cells are those most likely
        to be the same, and distances, neighbours and clusters are about what modalities agree on. ``"network"``: as the encoders give them, as published.
        Predictions are the same.
    registry
        Registry of an earlier set-up, for a model without data; :meth:`load` gives it.

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
        features = {name: self._features(name) for name in self.modalities}
        if isinstance(n_latent, bool) or not isinstance(n_latent, (int, np.integer)) or n_latent < 1:
            raise ValueError(f"n_latent={n_latent!r} must be a whole number of at least 1.")
        configs = self._arm_configs({name: len(names) for name, names in features.items()}, arms or {})
        n_batches = {name: len(self.batches(name)) for name in self.modalities}
        coupling = self._coupling_weights(coupling, mdata)
        if coupling_loss not in COUPLING_LOSSES:
            raise ValueError(f"coupling_loss={coupling_loss!r} must be one of {list(COUPLING_LOSSES)}.")
        if latent_axes not in get_args(LatentAxes):
            raise ValueError(f"latent_axes={latent_axes!r} must be one of {list(get_args(LatentAxes))}.")
        self.latent_axes = latent_axes
        self.module = self._module_cls(
            {name: len(names) for name, names in features.items()},
            int(n_latent),
            configs,
            coupling,
            {
                # Fewer classes than dimensions have no variance in some of them.
                pair: "mse" if set(pair) & set(self.labels) else coupling_loss
                for pair in combinations(self.modalities, 2)
            },
            n_batches,
        )
        self._set_gene_lengths()
        sizes = ", ".join(f"{name}: {len(names)} features" for name, names in features.items())
        self._model_summary_string = f"CoupledAE with n_latent: {n_latent}, {sizes}."
        # With the resolved coupling: a pair is coupled after loading if and only if it was before.
        self.init_params_ = self._get_init_params(locals())

    @classmethod
    def from_published_weights(
        cls,
        path: str | Path,
        mdata: MuData,
        modalities: tuple[str, str] = ("rna", "ephys"),
        layers: Mapping[str, str] | None = None,
    ) -> Self:
        """The published model: trained networks of Gala et al. 2021, read from the authors' weights file.

        The file knows no names: features must be those that the networks were trained on, in that order and scaled
        in that way, as :func:`scvi_cae.datasets.gala2021` reads them.

        Parameters
        ----------
        path
            HDF5 file of weights, ``...-weights.h5``, from github.com/AllenInstitute/coupledAE-patchseq. It is under
            the Allen Institute's licence, for non-commercial use.
        mdata
            MuData with log-transformed counts per million and scaled electrophysiology; it need not be set up.
            The published model has 1,252 genes and 68 features.
        modalities
            Keys of the transcriptomes and of the electrophysiology.
        layers
            Layer to read of a modality; ``X`` of those not named.

        Returns
        -------
        A trained model in the configuration of :func:`scvi_cae.recipes.gala2021`. It predicts, embeds and saves like
        any other. Should it be trained further, noise is scaled by the variance of features in ``mdata``.

        Raises
        ------
        FileNotFoundError
            If there is no file at ``path``.
        ValueError
            If it holds no such weights, or if ``mdata`` lacks a modality or has another number of features.

        Examples
        --------
        >>> model = CoupledAE.from_published_weights("weights.h5", mdata)  # doctest: +SKIP
        >>> ephys = model.predict(source="rna", target="ephys")  # doctest: +SKIP
        """
        if isinstance(modalities, str) or len(modalities) != 2:
            raise ValueError(f"modalities={modalities!r} must name two modalities: ('rna', 'ephys').")
        published = dict(zip(modalities, read_published_weights(path), strict=True))
        check_mudata(mdata)
        check_modalities(mdata, list(modalities), layers or {})
        for name, weights in published.items():
            if mdata[name].n_vars != weights.n_features:
                raise ValueError(
                    f"Modality {name!r} has {mdata[name].n_vars} features, but the published networks read "
                    f"{weights.n_features}: give these, in the published order."
                )
        arguments: dict[str, Any] = {
            "modalities": list(modalities),
            "layers": dict(layers or {}),
            "batch_key": {},
        }
        arguments |= {"labels_key": [], "likelihoods": {}, "gene_length_key": None}
        cls._register(mdata, arguments, to_train=False)
        rna, ephys = modalities
        n_latent, latent_bias = published[rna].n_latent, published[rna].latent_bias
        settings_ = dict(gala2021(rna, ephys, n_latent=n_latent, latent_bias=latent_bias).model)
        settings_["arms"] = {
            name: {**arm, "hidden": published[name].hidden} for name, arm in settings_["arms"].items()
        }
        model = cls(mdata, **settings_)
        for name, aligned in model._aligned(mdata).items():
            model._fit_arm(name, aligned, np.flatnonzero(aligned.present))
            published[name].copy_to(model.module.arm(name))
        nobody = np.empty(0, dtype=np.int64)
        model._finish(mdata, Split(nobody, nobody, nobody), trained=True)
        model.obs_names_ = None  # which cells trained is not known
        model.history_ = {}
        return model

    def _arm_configs(
        self, n_features: Mapping[str, int], arms: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, ArmConfig]:
        for name, given in arms.items():
            self._check_modality(name)
            if "likelihood" in given:
                raise ValueError(
                    f"arms[{name!r}]: the likelihood is a matter of the data, which are checked for it: "
                    f"setup_mudata(mdata, likelihoods={{{name!r}: {given['likelihood']!r}}})."
                )
        configs = {}
        for name, n in n_features.items():
            try:
                configs[name] = replace(default_arm(n, self._likelihood(name)), **arms.get(name, {}))
            except (TypeError, ValueError) as error:
                raise ValueError(f"arms[{name!r}]: {error}") from error
        return configs

    def _set_gene_lengths(self) -> None:
        for name in self.measured:
            lengths = self._state(registry_key(name)).get("lengths")
            if lengths is not None:
                likelihood = cast("NegativeBinomial", self.module.arm(name).likelihood)
                likelihood.set_lengths(torch.tensor(lengths))

    def _coupling_weights(
        self,
        coupling: float | Mapping[tuple[str, str], float | tuple[float, float]],
        mdata: MuData | None,
    ) -> dict[tuple[str, str], float | tuple[float, float]]:
        if not isinstance(coupling, Mapping):
            if not isinstance(coupling, Real):
                raise ValueError(
                    f"coupling={coupling!r} must be a number, or a dictionary of pairs and their weights."
                )
            coupling = {
                # Labels follow the modalities, rather than these the labels: see CoupledModule's ``pull``.
                pair: (0.0, coupling) if set(pair) & set(self.labels) else coupling
                for pair in combinations(self.modalities, 2)
            }
            if mdata is not None:
                present = {name: x.present for name, x in self._aligned(mdata).items()}
                coupling = {(i, j): w for (i, j), w in coupling.items() if (present[i] & present[j]).any()}
        for pair, weight in coupling.items():
            if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(self.modalities):
                raise ValueError(
                    f"coupling: {pair!r} is not a pair of the modalities {shorten(self.modalities)}."
                )
            both = weight if isinstance(weight, tuple) and len(weight) == 2 else (weight,)
            if not all(isinstance(w, Real) and 0 <= w < np.inf for w in both):
                raise ValueError(
                    f"coupling: the weight of {pair!r} is {weight!r}; it must be a number of at least 0, or a tuple of "
                    "two, with which the first and the second encoder follow the other."
                )
        if len({frozenset(pair) for pair in coupling}) < len(coupling):
            raise ValueError(f"coupling names a pair twice: {list(coupling)}.")
        coupled = {name for pair, weight in coupling.items() if np.sum(weight) > 0 for name in pair}
        alone = [name for name in self.modalities if coupled and name not in coupled]
        if alone:
            warnings.warn(
                f"{shorten(alone)} is coupled to no other modality: it is an autoencoder of its own, and its latent has "
                "nothing to do with the others'. Give a pair with it a weight in coupling, or leave it out: "
                "setup_mudata(mdata, modalities=[...]).",
                UserWarning,
                stacklevel=3,
            )
        return dict(coupling)
