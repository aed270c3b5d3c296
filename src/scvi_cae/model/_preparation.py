"""What a training starts from: cells, minibatches and standardisation, all checked."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from scvi import settings

from scvi_cae._arguments import check_whole, shorten
from scvi_cae.data import (
    Split,
    check_split,
    draw_split,
    given_split,
    has_column,
    obs_column,
    presence_pattern,
    tensor,
)
from scvi_cae.train import PAIRED_FRACTION, CoupledDataSplitter, n_repeats

from ._fitted import FeatureMoments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pandas as pd

    from scvi_cae.data import Aligned, AlignedData, ResidentData, StreamedData
    from scvi_cae.module import CoupledModule, Observation

    from ._core import CoreModel
    from ._fitted import Fitted


#: Largest number of cells that determine the mean expression of genes.
MAX_EXPRESSION_CELLS = 10_000


class SplitArguments(NamedTuple):
    """Arguments of :meth:`scvi_cae.CoupledAE.train` that choose the cells of each set."""

    train_size: float | None = None
    validation_size: float | None = None
    stratify_by: str | None = None
    external_indexing: Sequence[np.ndarray | Sequence[int] | None] | None = None


class TrainingInput(NamedTuple):
    """What a training starts from.

    Parameters
    ----------
    data
        The data.
    patterns
        ``(n_cells,)`` code of each cell's pattern of modalities.
    paired
        Boolean ``(n_cells,)``: which cells have several modalities, apart from labels.
    split
        Positions of training, validation and test cells.
    batch_size
        Largest number of cells in a minibatch.
    monitor
        Metrics whose sum chooses the epoch.
    """

    data: AlignedData
    patterns: np.ndarray
    paired: np.ndarray
    split: Split
    batch_size: int
    monitor: tuple[str, ...]

    def splitter(
        self, data: ResidentData | StreamedData, datasplitter_kwargs: Mapping[str, Any] | None
    ) -> CoupledDataSplitter:
        """Data splitter with random numbers of its own.

        Parameters
        ----------
        data
            Observations of the cells.
        datasplitter_kwargs
            Arguments of :class:`~scvi_cae.train.CoupledDataSplitter`.
        """
        kwargs = {"stream": random_stream(), "paired": self.paired, **(datasplitter_kwargs or {})}
        return CoupledDataSplitter(data, self.split, self.patterns, self.batch_size, **kwargs)


def check_splitter_arguments(given: Mapping[str, Any]) -> None:
    """Raise a TypeError for arguments that minibatches do not have."""
    known = ("bootstrap_batches", "paired_fraction", "resident_gb", "buffer_size")
    unknown = [name for name in given if name not in known]
    if unknown:
        own = [
            name
            for name in unknown
            if name in ("external_indexing", "train_size", "validation_size", "batch_size")
        ]
        advice = f" {own[0]!r} is an argument of train itself: train({own[0]}=...)." if own else ""
        raise TypeError(
            f"datasplitter_kwargs: no argument {shorten(unknown)}; there are {shorten(known)}.{advice}"
        )


def random_stream(device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own, seeded from torch's global one."""
    return torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))


def observers(
    module: CoupledModule,
) -> dict[str, Callable[[torch.Tensor, torch.Tensor | None], Observation]]:
    """Functions from raw values and technical batches to observations, by arm."""
    return {name: module.arm(name).observe for name in module.arm_names}


def prepare_training(
    model: CoreModel,
    data: AlignedData,
    cells: SplitArguments,
    batch_size: int | None,
    monitor: str | Sequence[str] | None,
    monitor_after: int,
    early_stopping: bool,
    datasplitter_kwargs: Mapping[str, Any] | None,
) -> TrainingInput:
    """Choose the cells of each set, and check all that can be checked before training.

    Parameters
    ----------
    model
        The model.
    data
        The data to train on.
    cells
        Arguments that choose the cells.
    batch_size, monitor, monitor_after, early_stopping, datasplitter_kwargs
        As in :meth:`scvi_cae.CoupledAE.train`.

    Raises
    ------
    ValueError
        If an argument is not valid, or the split leaves an arm or a coupled pair without cells.
    """
    check_splitter_arguments(datasplitter_kwargs or {})
    module, fitted, setup = model.module, model.fitted, data.setup
    present = data.present(setup.arms)
    # Cells without any arm, such as those of a modality that is left out, are in no set.
    has_any = np.any(list(present.values()), axis=0)
    split = Split(*(part[has_any[part]] for part in choose_split(data, present, fitted, cells)))
    if fitted is not None and fitted.adaptation is not None:
        # Frozen arms need no cells, and an arm learns without pairs.
        check_split(split, {name: present[name] for name in fitted.adaptation.arms}, (), 1)
    else:
        # A few labels are enough, and validation cells need none.
        modalities = {name: present[name] for name in setup.modalities}
        pairs = [pair for pair in module.coupling if set(pair) <= set(modalities)]
        check_split(split, modalities, pairs, module.n_latent)
        labels = {name: present[name] for name in setup.labels}
        check_split(split._replace(validation=split.validation[:0]), labels, (), 1)
    batch_size = len(split.train) if batch_size is None else batch_size
    monitor = (monitor,) if isinstance(monitor, str) else tuple(monitor or ())
    check_monitor(module, monitor)
    check_whole(monitor_after, "monitor_after", minimum=0)
    paired = np.sum([present[name] for name in setup.modalities], axis=0) > 1
    fraction = (datasplitter_kwargs or {}).get("paired_fraction", PAIRED_FRACTION)
    coupled = {name for pair in module.coupling for name in pair} & set(setup.modalities)
    check_batch_size(batch_size, module.n_latent)
    if fitted is None or fitted.adaptation is None:
        of_coupled = {name: present[name] for name in sorted(coupled)}
        warn_of_small_minibatches(split, of_coupled, paired, batch_size, fraction, module.n_latent)
    if early_stopping and not len(split.validation):
        raise ValueError(
            "early_stopping needs validation cells: leave some by train_size or external_indexing."
        )
    return TrainingInput(data, presence_pattern(present), paired, split, batch_size, monitor)


def choose_split(
    data: AlignedData, present: Mapping[str, np.ndarray], fitted: Fitted | None, cells: SplitArguments
) -> Split:
    """Training, validation and test cells: given, those of the training before, or a new random split.

    Parameters
    ----------
    data
        The data.
    present
        Boolean mask over all cells for each arm.
    fitted
        What an earlier training left behind.
    cells
        Arguments that choose the cells.
    """
    *drawn, given = cells
    before = None if fitted is None else fitted.split_in(data.cells)
    if given is not None:
        if drawn != [None, None, None]:
            raise ValueError(
                "external_indexing names the cells itself; leave out train_size, validation_size and stratify_by."
            )
        split = given_split(data.n_cells, given)
        warn_if_trained(split, before)
        return split
    if before is not None and len(before.train) and drawn == [None, None, None]:
        return given_split(data.n_cells, before)
    keys: list[tuple[str, str | None]] = []
    if cells.stratify_by is not None:
        keys = [(cells.stratify_by, None)]
    else:
        keys = [(key, None) for key in data.setup.labels]
        keys += [(key, modality) for modality, key in data.setup.batch_keys.items()]
        # Data that the model is adapted to need not have them.
        keys = [(key, modality) for key, modality in keys if has_column(data.mdata, key)]
    strata: list[np.ndarray | pd.Series] = [
        presence_pattern(present),
        *(obs_column(data.mdata, key, modality) for key, modality in keys),
    ]
    split = draw_split(strata, cells.train_size, cells.validation_size, np.random.RandomState(settings.seed))
    warn_if_trained(split, before)
    return split


def warn_if_trained(split: Split, before: Split | None) -> None:
    """Warn if training cells of an earlier training are to validate or test the model."""
    if before is None:
        return
    seen = np.intersect1d(np.concatenate([split.validation, split.test]), before.train)
    if len(seen):
        warnings.warn(
            f"{len(seen)} validation and test cells were trained on before: their scores will be too good. Continue "
            "with the split of the first training by giving none, or train a new model.",
            UserWarning,
            stacklevel=4,
        )


def check_monitor(module: CoupledModule, monitor: Sequence[str]) -> None:
    """Raise a ValueError for a metric that validation cells do not have."""
    known = [f"{name}_validation" for name in module.metrics] + ["validation_loss"]
    unknown = [name for name in monitor if name not in known]
    if unknown:
        raise ValueError(
            f"monitor: no metric {shorten(unknown)} of validation cells; there are {shorten(known, 20)}."
        )


def check_batch_size(batch_size: int, n_latent: int) -> None:
    """Raise a ValueError for minibatches that are too small for the coupling's covariances."""
    needed = n_latent + 2
    if isinstance(batch_size, (int, np.integer)) and batch_size < needed:
        raise ValueError(
            f"batch_size={batch_size} is too small: the coupling needs the covariance of {n_latent} "
            f"latent dimensions in every minibatch, so at least {needed} cells (n_latent + 2)."
        )
    check_whole(batch_size, "batch_size", optional=True)


def warn_of_small_minibatches(
    split: Split,
    present: Mapping[str, np.ndarray],
    paired: np.ndarray,
    batch_size: int,
    paired_fraction: float,
    n_latent: int,
) -> None:
    """Warn if few cells of a minibatch have a coupled modality.

    Parameters
    ----------
    split
        Positions of training, validation and test cells.
    present
        Boolean mask over all cells for each coupled modality.
    paired
        Boolean ``(n_cells,)``: which cells have several modalities.
    batch_size
        Largest number of cells in a minibatch.
    paired_fraction
        Smallest fraction of a minibatch's cells that are paired.
    n_latent
        Number of latent dimensions.
    """
    n_paired, needed = int(paired[split.train].sum()), n_latent + 2
    again = n_repeats(n_paired, len(split.train), paired_fraction) / max(n_paired, 1)
    times = 1 + again * paired[split.train]
    n_minibatches = -(-int(times.sum()) // batch_size)
    for name, mask in present.items():
        n_cells = int((mask[split.train] * times).sum()) // n_minibatches
        if n_cells < needed:
            warnings.warn(
                f"A minibatch has about {n_cells} cells with modality {name!r}, fewer than n_latent + 2 = {needed}: its "
                "coupling loss will be coarse. Use larger minibatches: "
                f"batch_size={batch_size * needed // max(n_cells, 1)}.",
                UserWarning,
                stacklevel=4,
            )


def fit_arms(module: CoupledModule, data: AlignedData, cells: np.ndarray) -> dict[str, FeatureMoments]:
    """Fit standardisation, noise and shares of technical batches of every arm to the training cells.

    Parameters
    ----------
    module
        The module.
    data
        The data.
    cells
        Positions of the training cells.

    Returns
    -------
    Moments of the features of each arm that holds real values.
    """
    moments = {}
    for name in module.arm_names:
        found = _fit_arm(module, data, name, cells)
        if found is not None:
            moments[name] = found
    return moments


def _fit_arm(module: CoupledModule, data: AlignedData, name: str, cells: np.ndarray) -> FeatureMoments | None:
    arm, aligned, features = module.arm(name), data[name], np.asarray(data.setup.features[name])
    cells = cells[aligned.present[cells]]
    shares = _batch_shares(data, name, aligned, cells)
    moments = arm.fit(lambda: (values for _, values in aligned.chunks(cells)), tensor(shares))
    likelihood = arm.likelihood
    if likelihood.data_kind == "classes":
        warn_if_classes_lack_cells(name, features[~likelihood.varies.cpu().numpy()])
    else:
        warn_if_unmeasured(name, features[~likelihood.measured.cpu().numpy()])
    if arm.config.noise and not arm.config.standardise:
        large = arm.augmentation.noise_sd.cpu().numpy() > moments.spread
        if large.any():
            warnings.warn(
                f"Modality {name!r}: the noise added in training is larger than the spread of "
                f"{large.sum()} features: {shorten(features[large])}. Scale the "
                "features (scvi_cae.pp.robust_scale), or let the arm do it: standardise=True.",
                UserWarning,
                stacklevel=5,
            )
    if likelihood.data_kind != "values":
        return None
    return FeatureMoments(moments.mean, moments.spread, _mean_expression(data, name, cells))


def _mean_expression(data: AlignedData, name: str, cells: np.ndarray) -> np.ndarray | None:
    """Mean expression of genes in some cells before the logarithm; ``None`` for a modality of other features."""
    normalization = data.setup.normalizations.get(name)
    if normalization is None:
        return None
    if len(cells) > MAX_EXPRESSION_CELLS:
        cells = np.random.default_rng(0).choice(cells, MAX_EXPRESSION_CELLS, replace=False)
    total, number = np.zeros((2, data[name].n_features))
    for _, values in data[name].chunks(cells):
        linear = normalization.linear(data.setup.in_units(values, name))
        total += np.nansum(linear, axis=0)
        number += np.isfinite(linear).sum(axis=0)
    return np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)


def warn_if_unmeasured(modality: str, features: np.ndarray) -> None:
    """Warn of features without a value in the training cells."""
    if len(features):
        warnings.warn(
            f"Modality {modality!r}: {len(features)} features are measured in no training cell: {shorten(features)}. "
            "They are left out, and predicted as NaN. Another split may have cells with them.",
            UserWarning,
            stacklevel=5,
        )


class ClassesLackCells(UserWarning):
    """Classes without training cells.

    Parameters
    ----------
    labels
        Name of the column of labels.
    classes
        Names of the classes.
    """

    def __init__(self, labels: str, classes: np.ndarray) -> None:
        super().__init__(
            f"Labels {labels!r}: {len(classes)} classes have no training cell: {shorten(classes)}. They are never "
            "predicted, and their cells count as cells without a label. Splits keep the proportions of classes: "
            f"train(stratify_by={labels!r})."
        )
        self.labels, self.classes = labels, set(classes)


def warn_if_classes_lack_cells(labels: str, classes: np.ndarray) -> None:
    """Warn of classes without training cells."""
    if len(classes):
        warnings.warn(ClassesLackCells(labels, classes), stacklevel=5)


def _batch_shares(data: AlignedData, name: str, aligned: Aligned, cells: np.ndarray) -> np.ndarray | None:
    """Shares of the technical batches among cells; ``None`` for an arm without technical batches."""
    indicators = aligned.batch_indicators(cells)
    if indicators is None:
        return None
    known = indicators[indicators.any(1)]
    if not len(known):
        raise ValueError(
            f"Modality {name!r}: the batch of no training cell is known. Fill the column "
            f"{data.setup.batch_keys[name]!r}, or leave out batch_key."
        )
    return known.mean(0)
