"""What is recorded at the end of a training, from its data and the trained module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scvi_cae.module import NARROW

from ._axes import agreement_axes
from ._calibration import CalibrationData, calibration_cells
from ._distribution import FeatureDistribution
from ._encoding import encode
from ._reference import ReferenceDistribution, reconstruct

if TYPE_CHECKING:
    from scvi_cae.data import AlignedData, Split
    from scvi_cae.module import CoupledModule

    from ._axes import Axes

#: Largest number of training cells that determine the axes.
MAX_AXES_CELLS = 10_000
#: Largest numbers of cells, and of their values, that define a reference distribution.
MAX_REFERENCE_CELLS, MAX_REFERENCE_VALUES = 10_000, 2**25
#: Smallest number of validation cells that are ranked: with 20, the smallest p-value is below 0.05.
MIN_RANKED_CELLS = 20


def find_axes(module: CoupledModule, data: AlignedData, cells: np.ndarray) -> Axes | None:
    """Axes along which modalities agree on training cells, or on a sample of many.

    Parameters
    ----------
    module
        The trained module.
    data
        The training's data.
    cells
        Positions of the training cells.
    """
    modalities = data.setup.modalities
    paired = np.sum([data[name].present[cells] for name in modalities], axis=0) > 1
    cells = cells[paired]
    if len(cells) > MAX_AXES_CELLS:
        cells = np.random.default_rng(0).choice(cells, MAX_AXES_CELLS, replace=False)
    latents = {name: encode(module, data, name, cells).cpu().numpy() for name in modalities}
    return agreement_axes(latents, module.coupling)


def find_references(
    module: CoupledModule, data: AlignedData, split: Split
) -> dict[str, ReferenceDistribution]:
    """Reference distribution of each modality: distances from training cells, ranked among validation cells.

    Training cells are ranked where validation cells are fewer than :data:`MIN_RANKED_CELLS`.

    Parameters
    ----------
    module
        The trained module.
    data
        The training's data.
    split
        Positions of training, validation and test cells.
    """
    references = {}
    for name in data.setup.modalities:
        present = data[name].present
        n_kept = min(MAX_REFERENCE_CELLS, max(MAX_REFERENCE_VALUES // data[name].n_features, 100))
        training, validation = (
            some_of(cells[present[cells]], n_kept) for cells in (split.train, split.validation)
        )
        # Fewer cells do not determine a covariance.
        if len(training) > 2 * module.n_latent:
            trained = reconstruct(module, data, name, training)
            enough = len(validation) >= MIN_RANKED_CELLS
            ranked = reconstruct(module, data, name, validation) if enough else trained
            references[name] = ReferenceDistribution.fit(trained, ranked)
    return references


def find_distributions(data: AlignedData, cells: np.ndarray) -> dict[str, FeatureDistribution]:
    """Distribution of the features of each narrow modality of real values.

    Parameters
    ----------
    data
        The training's data.
    cells
        Positions of the training cells.
    """
    found = {}
    for name in data.setup.modalities:
        values_only = data.setup.likelihood(name).data_kind == "values"
        if not values_only or data[name].n_features > NARROW or name in data.setup.normalizations:
            continue
        chosen = some_of(cells[data[name].present[cells]], MAX_REFERENCE_CELLS)
        values = data.setup.in_units(data[name].values(chosen), name).astype(np.float64)
        labels = {label: data[label].values(chosen) for label in data.setup.labels}
        distribution = FeatureDistribution.fit(values, labels)
        if distribution is not None:
            found[name] = distribution
    return found


def some_of(cells: np.ndarray, n_kept: int) -> np.ndarray:
    """At most ``n_kept`` of some cells, at random."""
    if len(cells) <= n_kept:
        return cells
    return np.sort(np.random.default_rng(0).choice(cells, n_kept, replace=False))


def find_calibration(module: CoupledModule, data: AlignedData, split: Split) -> dict[str, CalibrationData]:
    """Cells that calibrate quantiles of each modality, and sets of classes of each column of labels.

    None without validation cells. Sets of classes need no training cells.

    Parameters
    ----------
    module
        The trained module.
    data
        The training's data.
    split
        Positions of training, validation and test cells.
    """
    if not len(split.validation):
        return {}
    labels = data.setup.labels
    return {
        name: CalibrationData(
            calibration_cells(module, data, split.train[:0] if name in labels else split.train, name),
            calibration_cells(module, data, split.validation, name),
        )
        for name in data.setup.arms
    }
