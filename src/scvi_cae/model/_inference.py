"""What a trained model tells of cells: latents, and what drives predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from scvi import settings

from scvi_cae._arguments import shorten
from scvi_cae.data import check_mudata, check_not_view, positions, tensor

from ._attribution import in_units, mean_derivatives
from ._axes import agreement_axes
from ._saving import SavableModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mudata import MuData

    from scvi_cae.data import Split
    from scvi_cae.module import Observation


#: Coordinates of latents.
LatentAxes = Literal["agreement", "network"]
#: Most training cells that say along which axes modalities agree.
MOST_CELLS = 10_000
#: What a cell can be to a training.
CELL_SETS = ["training", "validation", "test"]


class InferringModel(SavableModel):
    """A model that embeds cells."""

    latent_axes: LatentAxes = "agreement"
    #: Origin and axes of the coordinates in which latents are given; ``None``: as the encoders give them.
    axes_: tuple[np.ndarray, np.ndarray] | None = None

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
        if not any(self._has(mdata, name) for name in modalities):
            raise ValueError(
                f"The data have no modality {shorten(modalities)}; they have {shorten(list(mdata.mod))}. Rename it "
                "to the model's name."
            )
        return mdata, np.arange(mdata.n_obs) if indices is None else positions(indices, mdata.n_obs)

    @torch.inference_mode()
    def _encode(
        self, mdata: MuData, modality: str, cells: np.ndarray, batch_size: int | None
    ) -> torch.Tensor:
        """Latents of cells in one modality; NaN where a cell lacks it."""
        arm = self.module.arm(modality)
        latents = torch.empty(len(cells), self.module.n_latent, device=self.device)
        for rows, observation in self._observations(mdata, modality, cells, batch_size):
            present = observation.present[:, None] > 0
            latents[rows.to(self.device)] = torch.where(present, arm.encode(observation), torch.nan)
        return latents

    def _observations(
        self, mdata: MuData, modality: str, cells: np.ndarray, batch_size: int | None
    ) -> Iterator[tuple[torch.Tensor, Observation]]:
        """One modality of cells for inference, a batch at a time, with the places in ``cells``.

        Cells are read in the order in which they are stored, a few thousand at a time.
        """
        self.module.eval()
        aligned, arm = self._aligned_modality(mdata, modality), self.module.arm(modality)
        size = batch_size or settings.batch_size
        for places, values in aligned.chunks(cells):
            for rows, raw in zip(
                torch.from_numpy(places).split(size), torch.from_numpy(values).split(size), strict=True
            ):
                batch = tensor(aligned.batch(cells[rows.numpy()]), self.device)
                yield rows, arm.observe(raw.to(self.device), batch)

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
            Key of the modality whose latent is wanted, or of a column of labels. By default the joint one: the mean over
            the modalities that a cell has, labels left out.
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
        names = self.measured if modality is None else [modality]
        mdata, cells = self._query(adata, indices, names, batch_size)
        return self._mean([self._place(mdata, name, cells, batch_size) for name in names]).cpu().numpy()

    @staticmethod
    def _mean(latents: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mean of the latents that a cell has; that of a single one is its own."""
        return torch.nanmean(torch.stack(list(latents)), dim=0)

    def _place(
        self, mdata: MuData, modality: str, cells: np.ndarray, batch_size: int | None = None
    ) -> torch.Tensor:
        """Latents of cells in one modality, in the coordinates in which they are given."""
        z = self._encode(mdata, modality, cells, batch_size)
        if self.axes_ is None:
            return z
        origin, axes = (torch.as_tensor(x, dtype=z.dtype, device=z.device) for x in self.axes_)
        return (z - origin) @ axes

    def _finish(self, mdata: MuData, split: Split, trained: bool) -> None:
        super()._finish(mdata, split, trained)
        # A model that is adapted to other data stays in the coordinates of its reference.
        if not self.adapting_:
            found = trained and self.latent_axes == "agreement"
            self.axes_ = self._find_axes(mdata, split.train) if found else None

    def _find_axes(self, mdata: MuData, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Axes along which modalities agree on training cells, or on a sample of many."""
        present = [self._aligned_modality(mdata, name).present[cells] for name in self.measured]
        cells = cells[np.sum(present, axis=0) > 1]
        if len(cells) > MOST_CELLS:
            cells = np.random.default_rng(0).choice(cells, MOST_CELLS, replace=False)
        latents = {name: self._encode(mdata, name, cells, None).cpu().numpy() for name in self.measured}
        return agreement_axes(latents, self.module.coupling)

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
        ``mdata[m].obsm[key]``, where features can colour it. ``mdata.obs[f"{key}_set"]`` says for which cells
        these are held out: ``"training"`` (fitted to), ``"validation"`` (chose the epoch) or ``"test"``, by the
        cells' names. What stood under these keys is replaced. Of data backed by a file, these are in memory only;
        the file is not written to.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If ``key`` is one that MuData uses itself, or cannot write to a file; if the data are a view, have none
            of the model's modalities, or other features.
        """
        mdata, cells = self._query(mdata, None, self.measured)
        check_not_view(mdata)
        names = [key, *(f"{key}_{name}" for name in self.measured)]
        if not key or "/" in key or set(names) & set(mdata.mod):
            raise ValueError(
                f"key={key!r} cannot name latents: it must not be empty, contain a slash, or give the name of a "
                f"modality, under which MuData keeps which cells have it."
            )
        latents = {name: self._place(mdata, name, cells) for name in self.measured}
        mdata.obsm[key] = self._mean(list(latents.values())).cpu().numpy()
        for name, z in latents.items():
            if name not in mdata.mod:
                continue
            mdata.obsm[f"{key}_{name}"] = z.cpu().numpy()
            adata = mdata.mod[name]
            adata.obsm[key] = mdata.obsm[f"{key}_{name}"][mdata.obs_names.get_indexer(adata.obs_names)]
        mdata.obs[f"{key}_set"] = self.cell_sets(mdata)

    def cell_sets(self, adata: MuData | None = None) -> pd.Series:
        """What each cell was to the training.

        Parameters
        ----------
        adata
            MuData; the one the model was made with by default.

        Returns
        -------
        Categorical Series by cell: ``"training"`` (weights and standardisation were fitted to it), ``"validation"``
        (it chose the epoch), or ``"test"`` (neither; so are all cells of other names). Missing if the model was not trained here (published weights).

        Raises
        ------
        RuntimeError
            If the model is not trained.
        """
        mdata, _ = self._query(adata, None, self.measured)
        names = mdata.obs_names.astype(str)
        if self.obs_names_ is None:
            return pd.Series(pd.Categorical([None] * mdata.n_obs, CELL_SETS), index=mdata.obs_names)
        sets = np.full(mdata.n_obs, "test", dtype=object)
        # A cell that trained and validated, in two calls of train, has trained.
        for name, cells in (("validation", self.validation_indices_), ("training", self.train_indices_)):
            sets[names.isin(np.asarray(self.obs_names_)[cells])] = name
        return pd.Series(pd.Categorical(sets, CELL_SETS), index=mdata.obs_names)

    def attribute(
        self,
        source: str,
        target: str,
        adata: MuData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        scaled: bool = True,
    ) -> pd.DataFrame:
        """What drives a prediction: how much each feature of one modality moves each predicted feature of another.

        The derivative of the prediction with respect to each feature, averaged over cells. It says what the model
        makes of a feature, with all others held fixed, not what the feature does in a cell.

        Parameters
        ----------
        source
            Key of the modality to predict from, or of a column of labels.
        target
            Key of the modality to predict, or column of labels.
        adata
            MuData with the model's features; the one the model was made with by default.
        indices
            Positions of the cells to average over; all that have ``source`` by default.
        batch_size
            Number of cells computed at once, ``scvi.settings.batch_size`` by default. It takes memory for as many
            times ``n_latent`` values of every feature of both modalities.
        scaled
            Whether derivatives are in standard deviations of the target's feature per standard deviation of the
            source's, both among the training cells, so that features of any unit compare. Otherwise in the data's
            units. See the notes for counts and labels.

        Returns
        -------
        Data frame of features of ``source`` by features of ``target``. A missing value contributes nothing: each row is
        averaged over the cells in which the feature is measured, and NaN if it is measured in none.

        Notes
        -----
        Cells are encoded in their own technical batch, and predicted for none in particular, as in :meth:`predict`.

        Counts: as ``source``, the derivative is by the log counts that the encoder reads, at a given library size; per
        standard deviation of these, or per unit, if ``scaled`` is false or the arm does not standardise. As
        ``target``, it is that of the logarithm of the expected count.

        Labels: as ``source``, by the class's indicator, from 0 to 1; as ``target``, of the log-odds of the class
        against all others, which do not saturate as probabilities do. Neither has a standard deviation to be scaled
        by.

        A feature that does not vary among the training cells has no standard deviation: as ``source``, its scaled
        derivatives are 0; as ``target``, they are in its unit.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If there is no such modality, the two are not coupled, no cell has ``source``, or the data have other
            features in it, or infinite values.

        Examples
        --------
        >>> import scvi_cae
        >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
        >>> scvi_cae.CoupledAE.setup_mudata(mdata)
        >>> model = scvi_cae.CoupledAE(mdata, n_latent=5)
        >>> model.train(max_epochs=20, enable_progress_bar=False)
        >>> effects = model.attribute(source="rna", target="ephys")
        >>> effects.shape
        (200, 24)
        >>> top = effects["AP width (ms)"].abs().nlargest(10).index
        """
        (name,) = self._check_sources(source, target)
        mdata, cells = self._query(adata, indices, [name], batch_size)
        arm = self.module.arm(name)
        batches = (batch for _, batch in self._observations(mdata, name, cells, batch_size))
        reads = self.module.arm(target)

        def decode(z: torch.Tensor) -> torch.Tensor:
            return reads.likelihood.additive(reads.output(self.module.translate(z, name, target)))

        effects = mean_derivatives(arm, decode, batches)
        if effects is None:
            raise ValueError(
                f"None of the {len(cells)} cells has modality {name!r}, which the prediction starts from. Give cells "
                "that have it: indices=..."
            )
        by, of = (self.feature_moments(m) if scaled else None for m in (name, target))
        effects = in_units(effects, arm.likelihood.input_scale.cpu().numpy(), scaled, by, of)
        return pd.DataFrame(effects, index=self._features(name), columns=self._features(target))

    @torch.inference_mode()
    def comparable(self, modality: str, values: np.ndarray) -> np.ndarray:
        """Values of a modality on the scale on which predictions are compared with them.

        Parameters
        ----------
        modality
            Key of the modality.
        values
            ``(n_cells, n_features)`` values in the data's units, NaN where missing.

        Returns
        -------
        ``(n_cells, n_features)``: the same, but counts at the mean library size of the training cells, since how
        deeply a cell was sequenced is not predicted.
        """
        self._check_modality(modality)
        raw = torch.tensor(values, device=self.device)
        return self.module.arm(modality).likelihood.comparable(raw).cpu().numpy()

    def comparable_values(self, modality: str, indices: np.ndarray) -> np.ndarray:
        """Measured values of cells of the model's data, as :meth:`comparable` makes them.

        Parameters
        ----------
        modality
            Key of the modality.
        indices
            Positions of the cells.

        Returns
        -------
        ``(n_cells, n_features)``, NaN where missing; of labels, 1 for a cell's class and 0 for the others.
        """
        self._check_modality(modality)
        return self.comparable(modality, self._aligned_modality(self.adata, modality).values(indices))

    def _check_sources(self, source: str | Sequence[str], target: str) -> list[str]:
        """The modalities to predict from, coupled to the target or that itself."""
        sources = [source] if isinstance(source, str) else list(source)
        if not sources or len(set(sources)) < len(sources):
            raise ValueError(f"source={source!r} must name one modality, or several that differ.")
        for name in (*sources, target):
            self._check_modality(name)
        for name in sources:
            if name != target and name not in self.module.sources[target]:
                raise ValueError(
                    f"{name!r} and {target!r} are not coupled in this model: its decoder of {target!r} never saw "
                    f"{name!r}. Give the pair a weight: CoupledAE(mdata, coupling={{({name!r}, {target!r}): 1.0}})."
                )
        return sources

    def _batch_number(self, target: str, batch: str | None) -> int | None:
        """Number of a technical batch of a modality."""
        known = self.batches(target)
        if batch is None:
            return None
        if str(batch) not in known:
            have = (
                f"its batches are {shorten(known)}" if known else "it has none: setup_mudata(batch_key=...)"
            )
            raise ValueError(f"batch={batch!r} is not a batch of modality {target!r}; {have}.")
        return known.index(str(batch))
