"""What a training starts from: cells, batches and standardisation, all checked."""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scvi import settings

from scvi_cae._arguments import shorten
from scvi_cae.data import (
    check_split,
    draw_split,
    given_split,
    has_column,
    obs_column,
    presence_pattern,
    tensor,
)
from scvi_cae.train import PAIRED_FRACTION, CoupledDataSplitter, n_repeats

from ._setup import MuDataModel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd
    from mudata import MuData

    from scvi_cae.data import AlignedLabels, AlignedModality, ResidentData, Split, StreamedData
    from scvi_cae.module import CoupledModule, Observation


class Ready(NamedTuple):
    """What a training starts from.

    Parameters
    ----------
    aligned
        The modalities.
    patterns
        ``(n_cells,)`` code of each cell's pattern of modalities.
    paired
        Boolean ``(n_cells,)``: which cells have several modalities, labels aside.
    split
        Training, validation and test cells.
    batch_size
        Largest number of cells in a batch.
    monitor
        Metrics whose sum chooses the epoch.
    """

    aligned: Mapping[str, AlignedModality | AlignedLabels]
    patterns: np.ndarray
    paired: np.ndarray
    split: Split
    batch_size: int
    monitor: tuple[str, ...]


def random_stream(device: torch.device | str = "cpu") -> torch.Generator:
    """A stream of random numbers of its own, seeded from torch's global one."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))


class PreparableModel(MuDataModel):
    """A model that chooses the cells of a training, and fits its arms' standardisation to them."""

    module: CoupledModule
    is_trained_: bool
    #: Mean and standard deviation of each modality's features among the training cells.
    moments_: Mapping[str, tuple[np.ndarray, np.ndarray]] = MappingProxyType({})
    #: Which arms, and which of their layers, go on learning from other data than the first; all if empty.
    adapting_: Mapping[str, Any] = MappingProxyType({})
    _data_splitter_cls = CoupledDataSplitter

    def _prepare(
        self,
        train_size: float | None,
        validation_size: float | None,
        stratify_by: str | None,
        external_indexing: Sequence[np.ndarray | Sequence[int] | None] | None,
        batch_size: int | None,
        monitor: str | Sequence[str] | None,
        monitor_after: int,
        early_stopping: bool,
        datasplitter_kwargs: Mapping[str, Any] | None,
    ) -> Ready:
        """Check all that can be checked before training, and choose the cells."""
        mdata = self._training_data()
        aligned = self._aligned(mdata)
        present = {name: x.present for name, x in aligned.items()}
        split = self._split(mdata, present, train_size, validation_size, stratify_by, external_indexing)
        if self.adapting_:
            # Frozen arms need no cells, and an arm learns without pairs, too.
            check_split(split, {name: present[name] for name in self.adapting_["arms"]}, (), 1)
        else:
            # A few labels are enough, and validation cells need none.
            measured = {name: present[name] for name in self.measured}
            pairs = [pair for pair in self.module.coupling if set(pair) <= set(measured)]
            check_split(split, measured, pairs, self.module.n_latent)
            labelled = {name: present[name] for name in self.labels}
            check_split(split._replace(validation=split.validation[:0]), labelled, (), 1)
        batch_size = len(split.train) if batch_size is None else batch_size
        monitor = (monitor,) if isinstance(monitor, str) else tuple(monitor or ())
        self._check_monitor(monitor, monitor_after)
        paired = np.sum([present[name] for name in self.measured], axis=0) > 1
        self._check_batches(split, present, paired, batch_size, datasplitter_kwargs)
        if early_stopping and not len(split.validation):
            raise ValueError(
                "early_stopping needs validation cells: leave some by train_size or external_indexing."
            )
        return Ready(aligned, presence_pattern(present), paired, split, batch_size, monitor)

    def _observe(self) -> dict[str, Callable[[torch.Tensor, torch.Tensor | None], Observation]]:
        """What makes observations of each modality's raw values."""
        return {name: self.module.arm(name).observe for name in self.modalities}

    def _deal(
        self,
        ready: Ready,
        data: ResidentData | StreamedData,
        datasplitter_kwargs: Mapping[str, Any] | None,
    ) -> CoupledDataSplitter:
        settings_ = {"stream": random_stream(), "paired": ready.paired, **(datasplitter_kwargs or {})}
        return self._data_splitter_cls(data, ready.split, ready.patterns, ready.batch_size, **settings_)

    def feature_moments(self, modality: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and standard deviation of a modality's features among the training cells, in the data's units.

        Parameters
        ----------
        modality
            Key of the modality.

        Returns
        -------
        Two ``(n_features,)`` arrays; ``None`` for counts and labels, and for a model that is not trained.
        """
        self._check_modality(modality)
        return self.moments_.get(modality)

    def _training_data(self) -> MuData:
        if self.adata is None:
            raise ValueError(
                "The model was loaded without data; load it with some to train it: load(dir, adata=mdata)."
            )
        return self.adata

    def _split(
        self,
        mdata: MuData,
        present: Mapping[str, np.ndarray],
        train_size: float | None,
        validation_size: float | None,
        stratify_by: str | None,
        external_indexing: Sequence[np.ndarray | Sequence[int] | None] | None,
    ) -> Split:
        if external_indexing is not None:
            if (train_size, validation_size, stratify_by) != (None, None, None):
                raise ValueError(
                    "external_indexing names the cells itself; leave out train_size, validation_size and stratify_by."
                )
            split = given_split(mdata.n_obs, external_indexing)
            self._warn_if_seen(split)
            return split
        if (
            self.is_trained_
            and len(self.train_indices_)
            and (train_size, validation_size, stratify_by) == (None, None, None)
        ):
            sets = (self.train_indices_, self.validation_indices_, self.test_indices_)
            return given_split(mdata.n_obs, sets)
        setup_args = self.registry_["setup_args"]
        keys: list[tuple[str, str | None]] = []
        if stratify_by is not None:
            keys = [(stratify_by, None)]
        else:
            keys = [(key, None) for key in setup_args["labels_key"]]
            keys += [(key, modality) for modality, key in setup_args["batch_key"].items()]
            # Data that the model is adapted to need not have them.
            keys = [(key, modality) for key, modality in keys if has_column(mdata, key)]
        strata: list[np.ndarray | pd.Series] = [
            presence_pattern(present),
            *(obs_column(mdata, key, modality) for key, modality in keys),
        ]
        split = draw_split(strata, train_size, validation_size, np.random.RandomState(settings.seed))
        self._warn_if_seen(split)
        return split

    def _warn_if_seen(self, split: Split) -> None:
        """Warn if cells that the model was trained on are to validate or test it."""
        if not self.is_trained_:
            return
        seen = np.intersect1d(np.concatenate([split.validation, split.test]), self.train_indices_)
        if len(seen):
            warnings.warn(
                f"{len(seen)} validation and test cells were trained on before: their scores will be too good. Go on "
                "with the split of the first training by giving none, or train a new model.",
                UserWarning,
                stacklevel=3,
            )

    def _check_monitor(self, monitor: Sequence[str], monitor_after: int) -> None:
        known = [f"{name}_validation" for name in self.module.metrics] + ["validation_loss"]
        unknown = [name for name in monitor if name not in known]
        if unknown:
            raise ValueError(
                f"monitor: no metric {shorten(unknown)} of validation cells; there are {shorten(known, 20)}."
            )
        if not isinstance(monitor_after, (int, np.integer)) or monitor_after < 0:
            raise ValueError(f"monitor_after={monitor_after!r} must be a whole number of at least 0.")

    def _check_batches(
        self,
        split: Split,
        present: Mapping[str, np.ndarray],
        paired: np.ndarray,
        batch_size: int,
        datasplitter_kwargs: Mapping[str, Any] | None,
    ) -> None:
        """Check that the coupling's covariances can be computed in every batch."""
        least = self.module.n_latent + 2
        if not isinstance(batch_size, (int, np.integer)):
            raise ValueError(f"batch_size={batch_size!r} must be a whole number, or None.")
        if batch_size < least:
            raise ValueError(
                f"batch_size={batch_size} is too small: the coupling needs the covariance of {self.module.n_latent} "
                f"latent dimensions in every batch, so at least {least} cells (n_latent + 2)."
            )
        fraction = (datasplitter_kwargs or {}).get("paired_fraction", PAIRED_FRACTION)
        n_paired = int(paired[split.train].sum())
        again = n_repeats(n_paired, len(split.train), fraction) / max(n_paired, 1)
        times = 1 + again * paired[split.train]
        n_batches = -(-int(times.sum()) // batch_size)
        for name in sorted({name for pair in self.module.coupling for name in pair} & set(self.measured)):
            n_cells = int((present[name][split.train] * times).sum()) // n_batches
            if n_cells < least and not self.adapting_:
                warnings.warn(
                    f"A batch has about {n_cells} cells with modality {name!r}, fewer than n_latent + 2 = {least}: its "
                    "coupling loss will be coarse. Use larger batches: "
                    f"batch_size={batch_size * least // max(n_cells, 1)}.",
                    UserWarning,
                    stacklevel=3,
                )

    def _fit_arm(self, modality: str, aligned: AlignedModality | AlignedLabels, cells: np.ndarray) -> None:
        arm, cells = self.module.arm(modality), cells[aligned.present[cells]]
        shares = aligned.batch(cells)
        if shares is not None:
            known = shares[shares.any(1)]
            if not len(known):
                raise ValueError(
                    f"Modality {modality!r}: the batch of no training cell is known. Fill the column "
                    f"{self.registry_['setup_args']['batch_key'][modality]!r}, or leave out batch_key."
                )
            shares = known.mean(0)
        moments = arm.fit(lambda: (values for _, values in aligned.chunks(cells)), tensor(shares))
        unmeasured = moments.n == 0
        if unmeasured.any():
            names = np.asarray(self._features(modality))[unmeasured]
            raise ValueError(
                f"Modality {modality!r}: features measured in no training cell: {shorten(names)}. Choose another "
                "split, or remove them."
            )
        if self._likelihood(modality) in ("squared_error", "gaussian"):
            self.moments_ = {**self.moments_, modality: (moments.mean, moments.spread)}
        if arm.config.noise and not arm.config.standardise:
            drowned = arm.augmentation.noise_sd.cpu().numpy() > moments.spread
            if drowned.any():
                warnings.warn(
                    f"Modality {modality!r}: the noise added while training is larger than the spread of "
                    f"{drowned.sum()} features: {shorten(np.asarray(self._features(modality))[drowned])}. Scale the "
                    "features (scvi_cae.pp.robust_scale), or let the arm do it: standardise=True.",
                    UserWarning,
                    stacklevel=3,
                )
