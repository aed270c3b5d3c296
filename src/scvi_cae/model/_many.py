"""Many models of the same data, trained together."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning.pytorch.utilities.seed import isolate_rng
from scvi import settings as scvi_settings
from scvi.model._utils import parse_device_args

from scvi_cae._arguments import shorten
from scvi_cae.data import AlignedData, ResidentData, StackedData
from scvi_cae.module import member_state, stack
from scvi_cae.train import (
    RECONSTRUCTION,
    InterruptibleTrainer,
    KeepBestOfEach,
    RowProgressBar,
    StackedDataModule,
    StackedTrainingPlan,
)

from ._coupled_ae import CoupledAE
from ._preparation import SplitArguments, TrainingInput, fit_arms, observers, prepare_training, random_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import lightning.pytorch as pl
    import torch
    from mudata import MuData

    from scvi_cae.data import Split
    from scvi_cae.train import CoupledDataSplitter

    from ._fitted import FeatureMoments

#: Number of members whose minibatches fit into the caches of a CPU; other devices train all at once.
TOGETHER_ON_CPU = 10


class Fit(NamedTuple):
    """One of many fits.

    Parameters
    ----------
    model
        The trained model.
    split
        Position of its split among those given.
    seed
        Its seed.
    settings
        Position of its settings among those given.
    """

    model: CoupledAE
    split: int
    seed: int
    settings: int


def fit_many(
    mdata: MuData,
    splits: Sequence[Split] | None = None,
    seeds: Sequence[int] = (0,),
    settings: Sequence[Mapping[str, Any]] = ({},),
    *,
    max_epochs: int | None = None,
    batch_size: int | None = 200,
    early_stopping: bool = False,
    early_stopping_patience: int = 45,
    early_stopping_min_delta: float = 0.0,
    monitor: str | Sequence[str] | None = RECONSTRUCTION,
    monitor_after: int = 0,
    datasplitter_kwargs: Mapping[str, Any] | None = None,
    plan_kwargs: Mapping[str, Any] | None = None,
    accelerator: str = "auto",
    device: int | str = "auto",
    n_together: int | None = None,
    enable_progress_bar: bool = True,
    callbacks: Sequence[pl.Callback] = (),
) -> list[Fit]:
    """Fit a model for each combination of splits, seeds and settings, many together.

    A step of a small network is mostly overhead; the steps of many models of one shape are batched matrix products.
    Every member has its own cells, standardisation, random numbers, early stopping and best weights, and equals, up to
    rounding, the model that ``scvi.settings.seed = seed``, ``CoupledAE(mdata, **settings)`` and
    ``train(external_indexing=split, ...)`` give.

    The device holds dense data once for each split; train models of data that must be streamed one by one.

    Parameters
    ----------
    mdata
        MuData, set up by :meth:`scvi_cae.CoupledAE.setup_mudata`.
    splits
        Training, validation and test cells of each split, such as those of :mod:`scvi_cae.splits`; by default one
        random split for each seed, as in :meth:`scvi_cae.CoupledAE.train`.
    seeds
        Seeds of weights and random numbers.
    settings
        Arguments of :class:`scvi_cae.CoupledAE`, for each model to compare.
    max_epochs, batch_size, early_stopping, monitor, monitor_after, datasplitter_kwargs, plan_kwargs
        As in :meth:`scvi_cae.CoupledAE.train`.
    early_stopping_patience, early_stopping_min_delta
        As in :class:`scvi.train.Trainer`.
    accelerator, device
        Device to train on, as in scvi-tools; one device.
    n_together
        Largest number of models trained together: by default 10 on a CPU, whose caches hold no more, and all on another
        device.
    enable_progress_bar
        Whether to show one progress bar, on stderr, with mean reconstruction losses.
    callbacks
        Callbacks of Lightning, for all trainings.

    Returns
    -------
    The fits, ordered by settings, split and seed. Their models are ordinary ones, which predict, embed, save, and can be
    trained further.

    Raises
    ------
    ValueError
        As :class:`scvi_cae.CoupledAE` and its :meth:`~scvi_cae.CoupledAE.train`, before any training starts; if two
        seeds are equal; if streaming is requested.

    Warns
    -----
    UserWarning
        If some models diverge; they have their best weights before that.

    Examples
    --------
    >>> import scvi_cae
    >>> mdata = scvi_cae.datasets.simulate_patchseq(n_cells=200)
    >>> scvi_cae.CoupledAE.setup_mudata(mdata)
    >>> folds = scvi_cae.splits.k_fold(mdata, 3)
    >>> fits = scvi_cae.fit_many(mdata, folds, seeds=[0, 1], settings=[{"n_latent": 3}], max_epochs=5)
    >>> len(fits)
    6
    >>> fits[0].model.predict("rna", "ephys", indices=folds[0].test).shape
    (67, 24)
    """
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={list(seeds)} names a seed twice: its fits would be the same.")
    streaming = sorted({"resident_gb", "buffer_size"} & set(datasplitter_kwargs or {}))
    if streaming:
        raise ValueError(
            f"fit_many keeps all data on the device; leave out {shorten(streaming)}. Train models of larger data one "
            "by one: CoupledAE.train."
        )
    _, _, torch_device = parse_device_args(
        accelerator, device, return_device="torch", validate_single_device=True
    )
    fitted_to: dict[tuple[int, int], Standardised] = {}
    groups: dict[tuple[int, ...], list[Member]] = {}
    fits: list[Fit] = []
    data: AlignedData | None = None
    with one_seed_after_another():
        for k, arguments in enumerate(settings):
            for s, split in enumerate([None] if splits is None else splits):
                for seed in seeds:
                    scvi_settings.seed = seed
                    model = CoupledAE(mdata, **arguments)
                    data = AlignedData(mdata, model.setup) if data is None else data
                    start = prepare_training(
                        model,
                        data,
                        SplitArguments(external_indexing=split),
                        batch_size,
                        monitor,
                        monitor_after,
                        early_stopping,
                        datasplitter_kwargs,
                    )
                    key = (k, s) if splits else (k, -1 - seed)
                    if key not in fitted_to:
                        fitted_to[key] = standardise(model, start)
                    else:
                        # All that is fitted are buffers; those of latents have their initial values.
                        model.module.load_state_dict(fitted_to[key].buffers, strict=False)
                        for name in model.module.arm_names:
                            model.module.arm(name).disconnect()
                    shared = fitted_to[key]
                    splitter = start.splitter(shared.data, datasplitter_kwargs)
                    member = Member(model, start, shared, splitter, random_stream(torch_device))
                    fits.append(Fit(model, s, seed, k))
                    # Minibatches of equal sizes: a member among others must draw the same numbers as alone.
                    minibatches = splitter.train_minibatches()
                    shape = (
                        k,
                        len(minibatches),
                        minibatches.n_cells,
                        splitter.default_epochs,
                        len(start.split.validation) > 0,
                    )
                    groups.setdefault(shape, []).append(member)
    patience = early_stopping_patience if early_stopping else None
    if n_together is None:
        n_together = TOGETHER_ON_CPU if torch_device.type == "cpu" else len(fits)
    chunks: list[list[Member]] = []
    for members in groups.values():
        n_chunks = -(-len(members) // n_together)
        chunks += [members[chunk::n_chunks] for chunk in range(n_chunks)]
    n_epochs = [chunk[0].splitter.default_epochs if max_epochs is None else max_epochs for chunk in chunks]
    shown = [*callbacks, *([RowProgressBar()] if enable_progress_bar else [])]
    for number, chunk in enumerate(chunks):
        best = KeepBestOfEach(
            len(chunk), chunk[0].start.monitor, monitor_after, patience, early_stopping_min_delta
        )
        trainer = InterruptibleTrainer(
            max_epochs=n_epochs[number],
            epochs_before=sum(n_epochs[:number]),
            epochs_in_row=sum(n_epochs),
            accelerator=accelerator,
            devices=1 if device == "auto" else [device],
            callbacks=[*shown, best],
            logger=False,
            enable_progress_bar=False,
            check_val_every_n_epoch=1,
            limit_val_batches=None if len(chunk[0].start.split.validation) else 0,
        )
        _train_together(chunk, trainer, best, plan_kwargs or {}, torch_device)
    return fits


class Standardised(NamedTuple):
    """Data under the standardisation of one set of training cells.

    Parameters
    ----------
    data
        Observations of all cells.
    moments
        Moments of the features of each modality.
    buffers
        Buffers of a module that is fitted to these cells.
    """

    data: ResidentData
    moments: Mapping[str, FeatureMoments]
    buffers: Mapping[str, torch.Tensor]


def standardise(model: CoupledAE, start: TrainingInput) -> Standardised:
    """Fit a model's arms to its training cells.

    Parameters
    ----------
    model
        The model.
    start
        What its training starts from.
    """
    moments = fit_arms(model.module, start.data, start.split.train)
    arms = {name: start.data[name] for name in model.setup.arms}
    buffers = {name: x.clone() for name, x in model.module.named_buffers()}
    return Standardised(ResidentData(arms, observers(model.module)), moments, buffers)


class Member(NamedTuple):
    """A model that is about to be trained.

    Parameters
    ----------
    model
        The model.
    start
        What its training starts from.
    shared
        The data under its standardisation.
    splitter
        Data splitter.
    stream
        Random numbers that augment its minibatches.
    """

    model: CoupledAE
    start: TrainingInput
    shared: Standardised
    splitter: CoupledDataSplitter
    stream: torch.Generator


@contextmanager
def one_seed_after_another() -> Iterator[None]:
    """Set ``scvi.settings.seed`` repeatedly, without messages, and restore everything at the end."""
    log = logging.getLogger("lightning.fabric.utilities.seed")
    level, seed = log.level, scvi_settings.seed
    log.setLevel(logging.WARNING)
    try:
        with isolate_rng():
            yield
    finally:
        log.setLevel(level)
        # The setter would also reseed the random number generators.
        scvi_settings._seed = seed


def _train_together(
    members: Sequence[Member],
    trainer: InterruptibleTrainer,
    best: KeepBestOfEach,
    plan_kwargs: Mapping[str, Any],
    device: torch.device,
) -> None:
    """Train members whose steps have the same shapes, and leave each with its best weights."""
    distinct = list({id(member.shared.data): member.shared.data for member in members}.values())
    positions = {id(data): i for i, data in enumerate(distinct)}
    data = StackedData(distinct, [positions[id(member.shared.data)] for member in members])
    module = stack([member.model.module for member in members]).train()
    module.draw_from([member.stream for member in members])
    plan = StackedTrainingPlan(module, **plan_kwargs)
    trainer.fit(plan, StackedDataModule(data, [member.splitter for member in members]))
    for i, member in enumerate(members):
        n_epochs = int(best.n_epochs[i])
        member.model.module.load_state_dict(member_state(best.weights, i))
        member.model.to_device(device)
        member.model.history_ = plan.history(i, n_epochs)
        member.model._record(member.start.data, member.start.split, member.shared.moments, n_epochs > 0)
    if best.diverged.any():
        warnings.warn(
            f"{int(best.diverged.sum())} of {len(members)} models diverged: their weights are no longer finite. They "
            "have their best weights before that. Try a lower learning rate: plan_kwargs={'lr': ...}.",
            UserWarning,
            stacklevel=3,
        )
    if trainer.interrupted:
        raise KeyboardInterrupt
