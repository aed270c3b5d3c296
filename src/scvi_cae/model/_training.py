"""Training a model: steps, best weights, and what is recorded at the end."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from scvi.model._utils import parse_device_args

from scvi_cae._arguments import check_whole
from scvi_cae.data import AlignedData, training_data
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

from ._core import CoreModel
from ._fitted import Fitted
from ._preparation import SplitArguments, fit_arms, observers, prepare_training, random_stream
from ._recording import find_axes, find_calibration, find_distributions, find_references

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from scvi_cae.data import Split

    from ._fitted import FeatureMoments


#: Highest learning rate of a model that is adapted to a query, and the weight of its changes beside a sum over pairs.
#: Chosen on other cells of scala2020 with simulated rigs.
ADAPTING_LR, ANCHOR = 1e-3, 30.0


class TrainingMixin(CoreModel):
    """Training of the module."""

    latent_axes: str
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

        The first call fits the standardisation of features to its training cells; later calls continue from the
        present weights and standardisation, with the same cells unless a split is given. At the end the model
        has the weights of the epoch that reconstructed and cross-predicted the validation cells best (``monitor``),
        or of the last epoch without validation cells. Ctrl-C ends training early in the same way. With
        ``scvi.settings.seed`` set before the model is made, runs on a CPU are reproducible bit for bit.

        Parameters
        ----------
        max_epochs
            Number of epochs. By default so many that there are as many steps as pairs, from 100 to 500, since more would
            overfit the pairs; 500 without pairs. At most 100 epochs, and at least so many that each pair is drawn 10
            times.
        accelerator, devices
            Devices to train on, as in scvi-tools. Several devices, with ``strategy="ddp"`` and from a script, share each
            minibatch; losses are those of the whole minibatch.
        train_size
            Fraction of training cells; 0.9 by default.
        validation_size
            Fraction of validation cells, which choose the best epoch; all others by default. The remaining cells are
            test cells.
        batch_size
            Largest number of cells in a minibatch; each minibatch has its share of every pattern of modalities, unless
            minibatches are drawn with replacement. ``None`` for all training cells in one minibatch.
        early_stopping
            Whether to stop when ``early_stopping_monitor`` (``"reconstruction_loss_validation"``) has not improved for
            ``early_stopping_patience`` epochs.
        stratify_by
            Column of cells' annotations, in ``mdata.obs`` or a modality's ``.obs``, whose proportions the random
            split preserves; by default the columns given to ``setup_mudata``. Proportions of cells with each
            combination of modalities are always preserved.
        external_indexing
            Positions of training, validation and test cells, the last two optional, instead of a random split.
            All other cells are test cells. The splits of :mod:`scvi_cae.splits` are such triples.
        monitor
            Metric of validation cells in ``history`` whose lowest value defines the best epoch, or several metrics,
            whose sum does; ``None`` to end with the last epoch.
        monitor_after
            Number of epochs before epochs are compared.
        datasplitter_kwargs
            Arguments of :class:`~scvi_cae.train.CoupledDataSplitter`: ``{"bootstrap_batches": 500}`` makes an epoch of
            500 minibatches drawn with replacement; ``{"paired_fraction": 0.8}`` repeats paired cells until they are at
            least four fifths of each minibatch (half by default). Two further arguments determine where the data are
            kept: modalities that take up to ``resident_gb`` (2 by default) when made dense are kept on the device;
            others are streamed, from disk if they are backed by a file, ``buffer_size`` (65,536 by default) cells at
            a time.
        plan_kwargs
            Arguments of :class:`~scvi_cae.train.CoupledTrainingPlan`, such as ``lr``. A model of
            :meth:`load_query_data` has other defaults: ``lr=1e-3``, no weight decay, and ``anchor=30 / n`` with ``n``
            pairs, which draws it towards its reference.
        checkpoint
            File for the state of the training, written repeatedly. If it exists, from a process that was killed,
            training resumes from it and ends with the same weights as without the interruption. The call must be the
            same, on a new model of the same data. The file is not deleted; delete it when the model is saved.
        **trainer_kwargs
            Arguments of :class:`scvi.train.Trainer`, such as ``enable_progress_bar``, ``callbacks``, ``strategy`` or
            ``precision``.

        Raises
        ------
        ValueError
            If values are infinite; if a minibatch is too small for the coupling; if the split leaves a modality or
            a coupled pair without cells; if ``monitor`` is not a metric; if
            ``checkpoint`` holds another training.
        FileNotFoundError
            If the folder of ``checkpoint`` does not exist.
        KeyError
            If no table has the column ``stratify_by``.
        FloatingPointError
            If training diverges; the model keeps its best weights before that.
        """
        check_whole(max_epochs, "max_epochs", optional=True)
        if checkpoint is not None and trainer_kwargs.get("ckpt_path") is not None:
            raise ValueError("Give checkpoint, which is read if it exists, or ckpt_path, not both.")
        data = self._training_data()
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

        def describe_call() -> dict[str, str]:
            return self._describe(data, call)

        resume = None if checkpoint is None else ResumeFile(checkpoint, describe_call())
        cells = SplitArguments(train_size, validation_size, stratify_by, external_indexing)
        if resume is not None and resume.split is not None:
            cells = SplitArguments(external_indexing=resume.split)
        start = prepare_training(
            self, data, cells, batch_size, monitor, monitor_after, early_stopping, datasplitter_kwargs
        )
        split, before = start.split, self.fitted
        moments = fit_arms(self.module, data, split.train) if before is None else before.moments
        splitting = dict(datasplitter_kwargs or {})
        placing = {name: splitting.pop(name) for name in ("resident_gb", "buffer_size") if name in splitting}
        arms = {name: data[name] for name in self.setup.arms}
        splitter = start.splitter(training_data(arms, observers(self.module), **placing), splitting)
        best = KeepBestWeights(start.monitor, monitor_after)
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
        planning = dict(plan_kwargs or {})
        if before is not None and before.adaptation is not None:
            n_pairs = int(splitter.paired[split.train].sum())
            adapting = {"lr": ADAPTING_LR, "weight_decay": 0.0, "anchor": ANCHOR / max(n_pairs, 1)}
            planning = adapting | planning
        runner = self._train_runner_cls(
            self,
            training_plan=self._training_plan_cls(self.module, **planning),
            data_splitter=splitter,
            max_epochs=splitter.default_epochs if max_epochs is None else max_epochs,
            accelerator=accelerator,
            devices=devices,
            early_stopping=early_stopping,
            **trainer_kwargs,
        )
        if resume is not None:
            # scvi-tools would add a callback of its own, which writes folders, if this were an argument.
            runner.trainer.callbacks.append(resume)
        # Lightning keeps the mode it finds, and inference leaves evaluation mode.
        self.module.train()
        self.module.draw_from([random_stream(runner.device)])
        try:
            runner()
        except FloatingPointError:
            self._record(data, split, moments, before is not None or best.n_epochs > 0)
            raise
        self._record(data, split, moments, before is not None or best.n_epochs > 0)
        if runner.trainer.interrupted:
            kept = f"of epoch {best.best_epoch}" if best.n_epochs else "it started with"
            warnings.warn(
                f"Training was interrupted after {best.n_epochs} of {runner.trainer.max_epochs} epochs; the model has "
                f"the weights {kept}.",
                UserWarning,
                stacklevel=2,
            )

    def _training_data(self) -> AlignedData:
        if self.adata is None:
            raise ValueError(
                "The model was loaded without data; load it with some to train it: load(dir, adata=mdata)."
            )
        return AlignedData(self.adata, self.setup)

    def _record(
        self, data: AlignedData, split: Split, moments: Mapping[str, FeatureMoments], trained: bool
    ) -> None:
        """Record what the training leaves behind, or that the model is not trained."""
        module, before = self.module, self.fitted
        module.draw_from(None)
        module.eval()
        if not trained:
            self.fitted = None
            return
        adaptation = None if before is None else before.adaptation
        references = find_references(module, data, split)
        if before is not None and adaptation is not None:
            # A model that is adapted to a query stays in the coordinates of its reference, and arms that do not learn
            # keep their reference distributions, for which a query may have too few cells.
            axes = before.axes
            frozen = {name: x for name, x in before.references.items() if name not in adaptation.arms}
            references = references | frozen
            distributions = before.distributions
        else:
            axes = find_axes(module, data, split.train) if self.latent_axes == "agreement" else None
            distributions = find_distributions(data, split.train)
        self.fitted = Fitted(
            cells=data.cells.astype(str).to_numpy(dtype=object),
            split=split,
            fingerprints={name: data.fingerprints(name) for name in self.modalities},
            moments=moments,
            axes=axes,
            references=references,
            distributions=distributions,
            calibration=find_calibration(module, data, split),
            history=self.history_ or {},
            adaptation=adaptation,
        )

    def _describe(self, data: AlignedData, call: Mapping[str, Any]) -> dict[str, str]:
        """Description that identifies a training, apart from random numbers."""
        made = {**self.init_params_["kwargs"], **self.init_params_["non_kwargs"]}
        settings_ = {f"CoupledAE({name})": x for name, x in made.items() if name not in ("mdata", "registry")}
        settings_ |= {f"train({name})": x for name, x in call.items()}
        settings_["the device"] = parse_device_args(call["accelerator"], call["devices"], "torch")[2].type
        if self.is_trained_:
            weights = self.module.state_dict().values()
            settings_["the weights to start from"] = torch.cat([x.flatten().cpu() for x in weights])
        setup = self.setup
        settings_["the set-up"] = dict(self.registry_["setup_args"])
        settings_ |= {f"the batches of {name!r}": self.batches(name) for name in setup.modalities}
        settings_ |= {f"the lengths of {name!r}": setup.lengths.get(name) for name in setup.modalities}
        return {**{name: describe(x) for name, x in settings_.items()}, **describe_data(data)}
