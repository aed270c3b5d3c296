"""The model that users call."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from numbers import Real
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import torch
from scvi import settings

from scvi_cae.data import Split, check_modalities, check_mudata, check_not_view, positions, shorten
from scvi_cae.module import COUPLING_LOSSES, ArmConfig, CoupledModule
from scvi_cae.recipes import gala2021

from ._published import read_published_weights
from ._saving import SavableModel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mudata import MuData


def default_arm(n_features: int) -> ArmConfig:
    """The arm of a modality about which nothing else is said.

    A wide modality, such as gene expression, measures everything many times over, and its encoder overfits
    unless most of it is dropped at random; a narrow one has little to spare, and gets noise instead. Of ``n``
    features, input dropout leaves about ``7 * sqrt(n)``, but at least a fifth and at most nine tenths.
    """
    dropout = float(np.clip(1 - 7 / np.sqrt(n_features), 0.1, 0.8))
    return ArmConfig(dropout=dropout, noise=0.1 if dropout == 0.1 else 0.0)


class CoupledAE(SavableModel):
    """Coupled autoencoder of the modalities of a MuData.

    Each modality has an encoder into a common low-dimensional space and a decoder out of it. Latents of cells
    that have two modalities are pulled together, relative to the smallest variance of the latents, and each
    decoder also learns to read the other modalities' latents: the space identifies cells consistently across
    modalities and predicts one modality from another :cite:p:`Gala19,Gala21`. Cells may lack any modality, and
    any value (NaN); what is missing enters no loss and no statistic.

    Parameters
    ----------
    mdata
        MuData set up by :meth:`setup_mudata`. ``None`` only together with ``registry``.
    n_latent
        Number of latent dimensions. The default, 10, predicts one modality from another best; 2 or 3 can be
        looked at, and match cells across modalities better.
    arms
        For each modality, settings that differ from the defaults: any of the arguments of
        :class:`~scvi_cae.module.ArmConfig`, as in ``{"rna": {"hidden": (128, 64)}}``. By default an encoder
        and a decoder with one hidden layer of 64 units beside a linear path, and an augmentation that depends
        on the number of features ``n``: input dropout that leaves about ``7 * sqrt(n)`` of them, but at least a
        fifth and at most nine tenths; where it leaves nine tenths, also noise of 0.1 standard deviations.
    coupling
        Weight of the coupling loss, one for all pairs of modalities that share cells or one for each:
        ``{("rna", "ephys"): 1.0}``. The default, together with a weight of 2 for cross-modal predictions, predicts
        held-out cells a little better than the papers' weights of 1. Pairs of weight 0, and pairs that a
        dictionary leaves out, are not coupled, and neither of the two decoders learns from the other's latent.
        Two weights couple a pair by direction: with ``{("rna", "ephys"): (0.1, 0.9)}`` mostly the encoder of
        ``ephys`` follows that of ``rna``, whose latent then keeps more of its own.
    coupling_loss
        What pulls latents together: ``"min_variance"`` :cite:p:`Gala21`, the squared distance relative to the
        smallest variance of the latents; ``"min_variance_2019"``, with a term for each modality, and
        ``"full_covariance"``, relative to the whole covariance :cite:p:`Gala19`; or ``"mse"``, the plain distance,
        under which latents collapse, to show just that.
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
        coupling: float | Mapping[tuple[str, str], float | tuple[float, float]] = 0.5,
        coupling_loss: str = "min_variance",
        registry: dict | None = None,
    ) -> None:
        super().__init__(mdata, registry)
        features = {name: self._features(name) for name in self.modalities}
        if isinstance(n_latent, bool) or not isinstance(n_latent, (int, np.integer)) or n_latent < 1:
            raise ValueError(f"n_latent={n_latent!r} must be a whole number of at least 1.")
        configs = self._arm_configs({name: len(names) for name, names in features.items()}, arms or {})
        coupling = self._coupling_weights(coupling, mdata)
        if coupling_loss not in COUPLING_LOSSES:
            raise ValueError(f"coupling_loss={coupling_loss!r} must be one of {list(COUPLING_LOSSES)}.")
        self.module = self._module_cls(
            {name: len(names) for name, names in features.items()},
            int(n_latent),
            configs,
            coupling,
            coupling_loss,
        )
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
        cls._register(mdata, list(modalities), dict(layers or {}), to_train=False)
        rna, ephys = modalities
        n_latent, latent_bias = published[rna].n_latent, published[rna].latent_bias
        settings_ = dict(gala2021(rna, ephys, n_latent=n_latent, latent_bias=latent_bias).model)
        settings_["arms"] = {
            name: {**arm, "hidden": published[name].hidden} for name, arm in settings_["arms"].items()
        }
        model = cls(mdata, **settings_)
        for name, aligned in model._aligned(mdata).items():
            model.module.arm(name).fit(aligned.values(np.flatnonzero(aligned.present)))
            published[name].copy_to(model.module.arm(name))
        nobody = np.empty(0, dtype=np.int64)
        model._finish(mdata, Split(nobody, nobody, nobody), trained=True)
        model.history_ = {}
        return model

    def _arm_configs(
        self, n_features: Mapping[str, int], arms: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, ArmConfig]:
        for name in arms:
            self._check_modality(name)
        configs = {}
        for name, n in n_features.items():
            try:
                configs[name] = replace(default_arm(n), **arms.get(name, {}))
            except (TypeError, ValueError) as error:
                raise ValueError(f"arms[{name!r}]: {error}") from error
        return configs

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
            coupling = dict.fromkeys(combinations(self.modalities, 2), coupling)
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

    def _query(
        self,
        adata: MuData | None,
        indices: Sequence[int] | np.ndarray | None,
        modalities: Sequence[str],
        batch_size: int | None = None,
    ) -> tuple[MuData, np.ndarray]:
        """A MuData that has one of ``modalities``, and positions of cells in it, for inference.

        Other data than the model's own are checked but not registered with scvi-tools, which would write to them
        and keep them alive.
        """
        for name in modalities:
            self._check_modality(name)
        self._check_if_trained(warn=False)
        if batch_size is not None and (not isinstance(batch_size, (int, np.integer)) or batch_size < 1):
            raise ValueError(f"batch_size={batch_size!r} must be a whole number of at least 1.")
        mdata = self.adata if adata is None else adata
        if mdata is None:
            raise ValueError("The model was loaded without data; give some: adata=mdata.")
        if mdata is not self.adata:
            check_mudata(mdata)
            self._check_query(mdata, modalities)
        if not set(modalities) & set(mdata.mod):
            raise ValueError(
                f"The data have no modality {shorten(modalities)}; they have {shorten(list(mdata.mod))}. Rename it "
                "to the model's name."
            )
        return mdata, np.arange(mdata.n_obs) if indices is None else positions(indices, mdata.n_obs)

    @torch.inference_mode()
    def _encode(
        self, mdata: MuData, modality: str, cells: np.ndarray, batch_size: int | None
    ) -> torch.Tensor:
        """Latents of cells in one modality; NaN where a cell lacks it.

        Cells are read in the order in which they are stored, a few thousand at a time.
        """
        self.module.eval()
        aligned, arm = self._aligned_modality(mdata, modality), self.module.arm(modality)
        latents = torch.empty(len(cells), self.module.n_latent, device=self.device)
        size = batch_size or settings.batch_size
        for places, values in aligned.chunks(cells):
            for rows, raw in zip(
                torch.from_numpy(places).split(size), torch.from_numpy(values).split(size), strict=True
            ):
                observation = arm.standardiser(raw.to(self.device))
                present = observation.present[:, None] > 0
                latents[rows.to(self.device)] = torch.where(present, arm.encode(observation), torch.nan)
        return latents

    def get_latent_representation(
        self,
        adata: MuData | None = None,
        modality: str | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> np.ndarray:
        """Latents of cells.

        Parameters
        ----------
        adata
            MuData with the model's features; the one the model was made with by default. Modalities may be
            absent from it.
        modality
            Key of the modality whose latent is wanted. By default the joint one: the mean over the modalities
            that a cell has.
        indices
            Positions of cells, or a mask of all; all by default.
        batch_size
            Largest number of cells encoded at once, ``scvi.settings.batch_size`` by default; 4,096 at most.

        Returns
        -------
        ``(n_cells, n_latent)`` float32 array. A modality's latent is NaN for cells without it; the joint latent
        is finite for every cell with at least one of the model's modalities.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If there is no such modality, or the data have none of the model's, or other features in one that is
            read, or infinite values.
        """
        names = self.modalities if modality is None else [modality]
        mdata, cells = self._query(adata, indices, names, batch_size)
        # The joint latent of a single modality is its own.
        return self._joint([self._encode(mdata, name, cells, batch_size) for name in names]).cpu().numpy()

    @staticmethod
    def _joint(latents: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.nanmean(torch.stack(list(latents)), dim=0)

    def write_latent(self, mdata: MuData | None = None, key: str = "X_cae") -> None:
        """Write latents where scanpy looks for them.

        Parameters
        ----------
        mdata
            MuData to embed and to write to; the one the model was made with by default.
        key
            Key in ``.obsm``.

        Notes
        -----
        The joint latent goes to ``mdata.obsm[key]``, ready for ``sc.pp.neighbors(mdata, use_rep=key)``; that of
        each modality ``m`` that the MuData has to ``mdata.obsm[f"{key}_{m}"]``, NaN for cells without it, and to
        ``mdata[m].obsm[key]``, where features can colour it. What stood under these keys is replaced. Of data
        backed by a file, these are in memory only; the file is not written to.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If ``key`` is one that MuData uses itself, or cannot write to a file; if the data are a view, have none
            of the model's modalities, or other features.
        """
        mdata, cells = self._query(mdata, None, self.modalities)
        check_not_view(mdata)
        names = [key, *(f"{key}_{name}" for name in self.modalities)]
        if not key or "/" in key or set(names) & set(mdata.mod):
            raise ValueError(
                f"key={key!r} cannot name latents: it must not be empty, contain a slash, or give the name of a "
                f"modality, under which MuData keeps which cells have it."
            )
        latents = {name: self._encode(mdata, name, cells, None) for name in self.modalities}
        mdata.obsm[key] = self._joint(list(latents.values())).cpu().numpy()
        for name, z in latents.items():
            if name not in mdata.mod:
                continue
            mdata.obsm[f"{key}_{name}"] = z.cpu().numpy()
            adata = mdata.mod[name]
            adata.obsm[key] = mdata.obsm[f"{key}_{name}"][mdata.obs_names.get_indexer(adata.obs_names)]

    @torch.inference_mode()
    def predict(
        self,
        source: str,
        target: str,
        adata: MuData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
    ) -> pd.DataFrame:
        """Predict one modality from another; ``source == target`` reconstructs it.

        Parameters
        ----------
        source
            Key of the modality to predict from.
        target
            Key of the modality to predict. The data need not have it.
        adata
            MuData with the model's features; the one the model was made with by default.
        indices
            Positions of cells; all by default.
        batch_size
            Number of cells computed at once, ``scvi.settings.batch_size`` by default.

        Returns
        -------
        Data frame of cells by features of ``target``, in the units of the training data; NaN for cells without
        ``source``.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If there is no such modality, the two are not coupled, or the data lack ``source`` altogether, have
            other features in it, or infinite values.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> model.predict(source="rna", target="ephys").shape == (200, mdata["ephys"].n_vars)
        True
        """
        for name in (source, target):
            self._check_modality(name)
        if source != target and source not in self.module.sources[target]:
            raise ValueError(
                f"{source!r} and {target!r} are not coupled in this model: its decoder of {target!r} never saw "
                f"{source!r}. Give the pair a weight: CoupledAE(mdata, coupling={{({source!r}, {target!r}): 1.0}})."
            )
        mdata, cells = self._query(adata, indices, [source], batch_size)
        arm = self.module.arm(target)
        z = self._encode(mdata, source, cells, batch_size)
        values = torch.cat(
            [
                arm.standardiser.inverse(arm.decode(part))
                for part in z.split(batch_size or settings.batch_size)
            ]
        )
        return pd.DataFrame(
            values.cpu().numpy(), index=mdata.obs_names[cells], columns=self._features(target)
        )
