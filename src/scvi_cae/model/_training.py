"""Training a model: steps, weights that are kept, and how it ends."""

from __future__ import annotations

import warnings
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scvi.model._utils import parse_device_args

from scvi_cae.data import (
    Split,
    registry_key,
    training_data,
)
from scvi_cae.train import (
    COSMETIC,
    RECONSTRUCTION,
    CoupledTrainingPlan,
    HistoryLogger,
    InterruptibleRunner,
    KeepBestWeights,
    ResumeFile,
    ShareWork,
    StopOnDivergence,
    describe,
    describe_data,
)

from ._preparation import PreparableModel, random_stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mudata import MuData

    from scvi_cae.data import AlignedLabels, AlignedModality

#: Steps after which the default schedule ends; the least number of passes over large data, and the most over small
#: ones, which would be learnt by heart.
DEFAULT_STEPS, LEAST_EPOCHS, MOST_EPOCHS = 500, 10, 100
#: Where scvi-tools keeps the positions of training, validation and test cells.
SETS = ("train_indices_", "validation_indices_", "test_indices_")


def default_epochs(n_steps: int) -> int:
    """Number of epochs, of ``n_steps`` each, of the default schedule."""
    return min(max(-(-DEFAULT_STEPS // n_steps), LEAST_EPOCHS), MOST_EPOCHS)


class TrainableModel(PreparableModel):
    """A model that trains a :class:`~scvi_cae.module.CoupledModule`."""

    #: Names of the cells that positions refer to.
    obs_names_: np.ndarray | None = None
    #: What is typical of modalities, in a model with these weights.
    typical_: Mapping[str, tuple[np.ndarray, ...]] = MappingProxyType({})
    _training_plan_cls = CoupledTrainingPlan
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
        checkpoint: str | Path | None = None,
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
            Number of passes over the training cells. By default as many as make 500 steps, but at least 10 and at most 100.
        accelerator, devices
            Where to train, as in scvi-tools. Several devices, with ``strategy="ddp"`` and from a script, share each
            batch; losses are those of the whole batch.
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
            500 batches drawn with replacement; ``{"paired_fraction": 0.8}`` lets cells with several modalities come so
            often that they are four fifths of each batch (0.5 by default, where they are fewer). And where the data lie while they are trained on: modalities that, made
            dense, take up to ``resident_gb`` (2 by default) lie on the device; others are streamed, from disk if
            they are backed by a file, ``buffer_size`` (65,536 by default) cells at a time.
        plan_kwargs
            Arguments of :class:`~scvi_cae.train.CoupledTrainingPlan`, such as ``lr``.
        checkpoint
            File for the state of the training, written as it goes. If it is there, from a process that was killed,
            training goes on from it, and ends with the weights that it would have had. The call must be the same,
            on a model made anew from the same data. The file stays; delete it when the model is saved.
        **trainer_kwargs
            Arguments of :class:`scvi.train.Trainer`, such as ``enable_progress_bar``, ``callbacks``, ``strategy`` or
            ``precision``.

        Raises
        ------
        ValueError
            If there are infinite values; if a batch is too small for the coupling; if the split leaves a modality or
            a coupled pair without cells, or a feature without values; if ``monitor`` names no metric; if ``checkpoint`` holds another
            training.
        FileNotFoundError
            If there is no folder to write ``checkpoint`` to.
        KeyError
            If no table has the column ``stratify_by``.
        FloatingPointError
            If training diverges; the model keeps its best weights before that.
        """
        if max_epochs is not None and (not isinstance(max_epochs, (int, np.integer)) or max_epochs < 1):
            raise ValueError(f"max_epochs={max_epochs!r} must be a whole number of at least 1.")
        call = {
            "max_epochs": max_epochs,
            "accelerator": accelerator,
            "devices": devices,
            "train_size": train_size,
            "validation_size": validation_size,
            "batch_size": batch_size,
            "early_stopping": early_stopping,
            "stratify_by": stratify_by,
            "external_indexing": external_indexing,
            "monitor": monitor,
            "monitor_after": monitor_after,
            "datasplitter_kwargs": datasplitter_kwargs,
            "plan_kwargs": plan_kwargs,
            **{name: x for name, x in trainer_kwargs.items() if name not in COSMETIC},
        }
        mdata = self._training_data()

        def describe_call() -> dict[str, str]:
            return self._describe(mdata, self._aligned(mdata), call)

        if checkpoint is not None and trainer_kwargs.get("ckpt_path") is not None:
            raise ValueError("Give checkpoint, which is read if it is there, or ckpt_path, not both.")
        resume = None if checkpoint is None else ResumeFile(checkpoint, describe_call())
        cells = (train_size, validation_size, stratify_by, external_indexing)
        ready = self._prepare(
            *(cells if resume is None or resume.split is None else (None, None, None, resume.split)),
            batch_size,
            monitor,
            monitor_after,
            early_stopping,
            datasplitter_kwargs,
        )
        split, monitor = ready.split, ready.monitor
        if not self.is_trained_:
            for name, x in ready.aligned.items():
                self._fit_arm(name, x, split.train)
        dealing = dict(datasplitter_kwargs or {})
        placing = {name: dealing.pop(name) for name in ("resident_gb", "buffer_size") if name in dealing}
        data = training_data(ready.aligned, self._observe(), **placing)
        splitter = self._deal(ready, data, dealing)
        best = KeepBestWeights(monitor, monitor_after)
        share = ShareWork(lambda: {**describe_call(), "the split": describe(list(split))})
        trainer_kwargs = {
            "early_stopping_monitor": RECONSTRUCTION,
            "check_val_every_n_epoch": 1,
            "log_every_n_steps": 1,
            "logger": HistoryLogger(),
            **({} if len(split.validation) else {"limit_val_batches": 0}),
            **trainer_kwargs,
            "callbacks": [*(trainer_kwargs.get("callbacks") or ()), share, StopOnDivergence(), best],
            **({} if resume is None else {"ckpt_path": resume.ckpt_path}),
        }
        runner = self._train_runner_cls(
            self,
            training_plan=self._training_plan_cls(self.module, **(plan_kwargs or {})),
            data_splitter=splitter,
            max_epochs=default_epochs(splitter.n_steps) if max_epochs is None else max_epochs,
            accelerator=accelerator,
            devices=devices,
            early_stopping=early_stopping,
            **trainer_kwargs,
        )
        if resume is not None:
            # Given as an argument, scvi-tools would add a callback of its own, that writes folders.
            runner.trainer.callbacks.append(resume)
        was_trained = self.is_trained_
        # Lightning keeps the mode it finds, and inference leaves evaluation mode.
        self.module.train()
        self.module.draw_from([random_stream(runner.device)])
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

    def _describe(
        self, mdata: MuData, aligned: Mapping[str, AlignedModality | AlignedLabels], call: Mapping[str, Any]
    ) -> dict[str, str]:
        """What tells a training from others, but for the random numbers."""
        made = {**self.init_params_["kwargs"], **self.init_params_["non_kwargs"]}
        settings_ = {f"CoupledAE({name})": x for name, x in made.items() if name not in ("mdata", "registry")}
        settings_ |= {f"train({name})": x for name, x in call.items()}
        settings_["the device"] = parse_device_args(call["accelerator"], call["devices"], "torch")[2].type
        if self.is_trained_:
            weights = self.module.state_dict().values()
            settings_["the weights to start from"] = torch.cat([x.flatten().cpu() for x in weights])
        settings_["the set-up"] = dict(self.registry_["setup_args"])
        settings_ |= {f"the batches of {name!r}": self.batches(name) for name in self.measured}
        settings_ |= {
            f"the lengths of {name!r}": self._state(registry_key(name)).get("lengths")
            for name in self.measured
        }
        features = {name: self._features(name) for name in aligned}
        return {
            **{name: describe(x) for name, x in settings_.items()},
            **describe_data(aligned, mdata.obs_names.to_numpy(), features),
        }

    def _finish(self, mdata: MuData, split: Split, trained: bool) -> None:
        """Leave the model as scvi-tools' runner does, also after a training that did not come to its end."""
        self.is_trained_ = trained
        self.train_indices_, self.validation_indices_, self.test_indices_ = (
            split.train,
            split.validation,
            split.test,
        )
        self.obs_names_ = mdata.obs_names.astype(str).to_numpy()
        self.typical_ = {}
        self.module.draw_from(None)
        self.module.eval()

    def _resume_adapting(self) -> None:
        """Freeze what does not learn."""
        if self.adapting_:
            self.module.adapt(self.adapting_["arms"], self.adapting_["layers"])

    def _find_sets(self, mdata: MuData) -> None:
        """Point the positions of training, validation and test cells to the same cells in other data."""
        if self.obs_names_ is None:
            return
        for name in SETS:
            cells = np.asarray(self.obs_names_)[getattr(self, name)]
            found = mdata.obs_names.astype(str).get_indexer(cells)
            setattr(self, name, found[found >= 0])
        self.obs_names_ = mdata.obs_names.astype(str).to_numpy()
