"""Training a model: which cells, which steps, which weights are kept."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from scvi import settings

from scvi_cae.data import (
    ResidentData,
    Split,
    check_split,
    draw_split,
    given_split,
    obs_column,
    presence_pattern,
    shorten,
)
from scvi_cae.module import mean_and_spread
from scvi_cae.train import (
    RECONSTRUCTION,
    CoupledDataSplitter,
    CoupledTrainingPlan,
    HistoryLogger,
    InterruptibleRunner,
    KeepBestWeights,
    StopOnDivergence,
)

from ._setup import MuDataModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from mudata import MuData

    from scvi_cae.data import AlignedModality
    from scvi_cae.module import CoupledModule

#: Steps after which the default schedule ends, and the least number of passes over large data.
DEFAULT_STEPS, LEAST_EPOCHS = 1000, 10
#: Where scvi-tools keeps the positions of training, validation and test cells.
SETS = ("train_indices_", "validation_indices_", "test_indices_")


class TrainableModel(MuDataModel):
    """A model that trains a :class:`~scvi_cae.module.CoupledModule`."""

    module: CoupledModule
    is_trained_: bool
    #: Names of the cells that positions refer to.
    obs_names_: np.ndarray | None = None
    _training_plan_cls = CoupledTrainingPlan
    _data_splitter_cls = CoupledDataSplitter
    _train_runner_cls = InterruptibleRunner

    def train(
        self,
        max_epochs: int | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        train_size: float | None = None,
        validation_size: float | None = None,
        batch_size: int | None = 200,
        early_stopping: bool = False,
        stratify_by: str | None = None,
        external_indexing: Sequence[np.ndarray | Sequence[int] | None] | None = None,
        monitor: str | Sequence[str] | None = RECONSTRUCTION,
        monitor_after: int = 0,
        datasplitter_kwargs: Mapping[str, Any] | None = None,
        plan_kwargs: Mapping[str, Any] | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        """Train the model.

        The first call fits the standardisation of features, to its training cells; later calls go on from the
        weights and the standardisation there are, with the same cells unless a split is given. At the end the model
        has the weights of the epoch in which it reconstructed and cross-predicted the validation cells best
        (``monitor``), or of the last epoch if there are no validation cells. Ctrl-C ends training early, in the
        same way. With ``scvi.settings.seed`` set before the model is made, runs on a CPU repeat bit for bit.

        Parameters
        ----------
        max_epochs
            Number of passes over the training cells. By default as many as make 1,000 steps, but at least 10.
        accelerator, devices
            Where to train, as in scvi-tools.
        train_size
            Fraction of cells that train; 0.9 by default.
        validation_size
            Fraction of cells that choose the best epoch; all others by default. What is left is for testing.
        batch_size
            Largest number of cells in a batch; each batch gets its share of every pattern of measured modalities,
            unless batches are drawn with replacement. ``None`` for all training cells in one batch.
        early_stopping
            Whether to stop when ``early_stopping_monitor`` (``"reconstruction_loss_validation"``) has not improved for
            ``early_stopping_patience`` epochs.
        stratify_by
            Column of cells' annotations, in ``mdata.obs`` or a modality's ``.obs``, whose proportions the random
            split keeps; by default those given to ``setup_mudata``. Proportions of cells with each
            combination of modalities are always kept.
        external_indexing
            Positions of training, validation and test cells, the last two optional, instead of a random split.
            Cells that are not named are test cells. The splits of :mod:`scvi_cae.splits` are such triples.
        monitor
            Metric of validation cells in ``history`` whose least value names the best epoch, or several, whose sum
            does; ``None`` to end with the last epoch.
        monitor_after
            Number of epochs after which epochs are compared.
        datasplitter_kwargs
            Arguments of :class:`~scvi_cae.train.CoupledDataSplitter`: ``{"bootstrap_batches": 500}`` makes an epoch of
            500 batches drawn with replacement.
        plan_kwargs
            Arguments of :class:`~scvi_cae.train.CoupledTrainingPlan`, such as ``lr``.
        **trainer_kwargs
            Arguments of :class:`scvi.train.Trainer`, such as ``enable_progress_bar`` or ``callbacks``.

        Raises
        ------
        ValueError
            If there are infinite values; if a batch is too small for the coupling; if the split leaves a modality or
            a coupled pair without cells, or a feature without values; if ``monitor`` names no metric.
        KeyError
            If no table has the column ``stratify_by``.
        FloatingPointError
            If training diverges; the model keeps its best weights before that.
        """
        if max_epochs is not None and (not isinstance(max_epochs, (int, np.integer)) or max_epochs < 1):
            raise ValueError(f"max_epochs={max_epochs!r} must be a whole number of at least 1.")
        mdata = self._training_data()
        aligned = self._aligned(mdata)
        present = {name: x.present for name, x in aligned.items()}
        split = self._split(mdata, present, train_size, validation_size, stratify_by, external_indexing)
        n_latent = self.module.n_latent
        check_split(split, present, tuple(self.module.coupling), n_latent)
        batch_size = len(split.train) if batch_size is None else batch_size
        monitor = (monitor,) if isinstance(monitor, str) else tuple(monitor or ())
        self._check_monitor(monitor, monitor_after)
        self._check_batches(split, present, batch_size)
        if early_stopping and not len(split.validation):
            raise ValueError(
                "early_stopping needs validation cells: leave some by train_size or external_indexing."
            )
        if not self.is_trained_:
            for name, x in aligned.items():
                self._fit_arm(name, x, split.train)

        data = ResidentData(aligned, {name: self.module.arm(name).standardiser for name in aligned})
        splitter = self._data_splitter_cls(
            data, split, presence_pattern(present), batch_size, **(datasplitter_kwargs or {})
        )
        best = KeepBestWeights(monitor, monitor_after)
        trainer_kwargs = {
            "early_stopping_monitor": RECONSTRUCTION,
            "check_val_every_n_epoch": 1,
            "log_every_n_steps": 1,
            "logger": HistoryLogger(),
            **({} if len(split.validation) else {"limit_val_batches": 0}),
            **trainer_kwargs,
            "callbacks": [*(trainer_kwargs.get("callbacks") or ()), StopOnDivergence(), best],
        }
        runner = self._train_runner_cls(
            self,
            training_plan=self._training_plan_cls(self.module, **(plan_kwargs or {})),
            data_splitter=splitter,
            max_epochs=max(-(-DEFAULT_STEPS // splitter.n_steps), LEAST_EPOCHS)
            if max_epochs is None
            else max_epochs,
            accelerator=accelerator,
            devices=devices,
            early_stopping=early_stopping,
            **trainer_kwargs,
        )
        was_trained = self.is_trained_
        # Lightning keeps the mode it finds, and inference leaves evaluation mode.
        self.module.train()
        try:
            runner()
        except FloatingPointError:
            self._finish(mdata, split, was_trained or best.n_epochs > 0)
            raise
        self._finish(mdata, split, was_trained or best.n_epochs > 0)
        if runner.trainer.interrupted:
            kept = f"of epoch {best.best_epoch}" if best.n_epochs else "it started with"
            warnings.warn(
                f"Training was interrupted after {best.n_epochs} of {runner.trainer.max_epochs} epochs; the model has "
                f"the weights {kept}.",
                UserWarning,
                stacklevel=2,
            )

    def _finish(self, mdata: MuData, split: Split, trained: bool) -> None:
        """Leave the model as scvi-tools' runner does, also after a training that did not come to its end."""
        self.is_trained_ = trained
        self.train_indices_, self.validation_indices_, self.test_indices_ = (
            split.train,
            split.validation,
            split.test,
        )
        self.obs_names_ = mdata.obs_names.astype(str).to_numpy()
        self.module.eval()

    def _find_sets(self, mdata: MuData) -> None:
        """Point the positions of training, validation and test cells to the same cells in other data."""
        for name in SETS:
            cells = np.asarray(self.obs_names_)[getattr(self, name)]
            found = mdata.obs_names.astype(str).get_indexer(cells)
            setattr(self, name, found[found >= 0])
        self.obs_names_ = mdata.obs_names.astype(str).to_numpy()

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
        keys = [setup_args["labels_key"], setup_args["batch_key"]] if stratify_by is None else [stratify_by]
        strata: list[np.ndarray | pd.Series] = [
            presence_pattern(present),
            *(obs_column(mdata, key) for key in keys if key is not None),
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

    def _check_batches(self, split: Split, present: Mapping[str, np.ndarray], batch_size: int) -> None:
        """Check that the coupling's covariances can be computed in every batch."""
        least = self.module.n_latent + 2
        if not isinstance(batch_size, (int, np.integer)):
            raise ValueError(f"batch_size={batch_size!r} must be a whole number, or None.")
        if batch_size < least:
            raise ValueError(
                f"batch_size={batch_size} is too small: the coupling needs the covariance of {self.module.n_latent} "
                f"latent dimensions in every batch, so at least {least} cells (n_latent + 2)."
            )
        n_batches = -(-len(split.train) // batch_size)
        for name in sorted({name for pair in self.module.coupling for name in pair}):
            n_cells = int(present[name][split.train].sum()) // n_batches
            if n_cells < least:
                warnings.warn(
                    f"A batch has about {n_cells} cells with modality {name!r}, fewer than n_latent + 2 = {least}: its "
                    "coupling loss will be coarse. Use larger batches: "
                    f"batch_size={batch_size * least // max(n_cells, 1)}.",
                    UserWarning,
                    stacklevel=3,
                )

    def _fit_arm(self, modality: str, aligned: AlignedModality, cells: np.ndarray) -> None:
        values = aligned.values(cells[aligned.present[cells]])
        unmeasured = np.isnan(values).all(0)
        if unmeasured.any():
            names = np.asarray(self._features(modality))[unmeasured]
            raise ValueError(
                f"Modality {modality!r}: features measured in no training cell: {shorten(names)}. Choose another "
                "split, or remove them."
            )
        arm = self.module.arm(modality)
        arm.fit(values)
        if arm.config.noise and not arm.config.standardise:
            drowned = arm.augmentation.noise_sd.cpu().numpy() > mean_and_spread(values)[1]
            if drowned.any():
                warnings.warn(
                    f"Modality {modality!r}: the noise added while training is larger than the spread of "
                    f"{drowned.sum()} features: {shorten(np.asarray(self._features(modality))[drowned])}. Scale the "
                    "features (scvi_cae.pp.robust_scale), or let the arm do it: standardise=True.",
                    UserWarning,
                    stacklevel=3,
                )
