"""Latents and predictions of cells by a module in evaluation mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scvi import settings

from scvi_cae.data import tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scvi_cae.data import AlignedData
    from scvi_cae.module import CoupledModule, Observation


def device_of(module: CoupledModule) -> torch.device:
    """Device of a module."""
    return next(module.parameters()).device


def observations(
    module: CoupledModule, data: AlignedData, arm: str, cells: np.ndarray, batch_size: int | None = None
) -> Iterator[tuple[torch.Tensor, Observation]]:
    """Observations of cells in one arm, a part at a time, with their places in ``cells``.

    Cells are read in the order in which they are stored, a few thousand at a time.

    Parameters
    ----------
    module
        The module; it is put into evaluation mode.
    data
        The data.
    arm
        Name of the arm.
    cells
        Positions of cells.
    batch_size
        Largest number of cells in a part; ``scvi.settings.batch_size`` by default.
    """
    module.eval()
    aligned, device = data[arm], device_of(module)
    size = batch_size or settings.batch_size
    for places, values in aligned.chunks(cells):
        for rows, raw in zip(
            torch.from_numpy(places).split(size), torch.from_numpy(values).split(size), strict=True
        ):
            batches = tensor(aligned.batch_indicators(cells[rows.numpy()]), device)
            yield rows, module.arm(arm).observe(raw.to(device), batches)


@torch.inference_mode()
def encode(
    module: CoupledModule, data: AlignedData, arm: str, cells: np.ndarray, batch_size: int | None = None
) -> torch.Tensor:
    """``(len(cells), n_latent)`` latents of cells in one arm, as its encoder gives them; NaN where a cell lacks it."""
    latents = torch.full((len(cells), module.n_latent), torch.nan, device=device_of(module))
    stored = np.flatnonzero(data[arm].rows[cells] >= 0)
    for rows, observation in observations(module, data, arm, cells[stored], batch_size):
        # All that is stored may be missing, or be of features that no training cell has.
        present = observation.present[:, None] > 0
        z = torch.where(present, module.arm(arm).encode(observation), torch.nan)
        latents[torch.from_numpy(stored)[rows].to(z.device)] = z
    return latents


def mean_latent(latents: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean of the latents that a cell has."""
    return torch.nanmean(torch.stack(list(latents)), dim=0)


@torch.inference_mode()
def decoder_inputs(module: CoupledModule, latents: Mapping[str, torch.Tensor], target: str) -> torch.Tensor:
    """``(n_cells, n_latent)`` latents that the decoder of an arm reads, from those by source."""
    return mean_latent([module.map_latent(z, source, target) for source, z in latents.items()])


@torch.inference_mode()
def decode(
    module: CoupledModule,
    latents: Mapping[str, torch.Tensor],
    target: str,
    batch_size: int | None = None,
    batch: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Predict an arm from latents of others.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    latents
        ``(n_cells, n_latent)`` latents by source.
    target
        Name of the arm to predict.
    batch_size
        Largest number of cells computed at once; ``scvi.settings.batch_size`` by default.
    batch
        Number of the technical batch to predict for; all of them by default.

    Returns
    -------
    ``(n_cells, n_latent)`` latents that the decoder reads, and ``(n_cells, n_features)`` predictions.
    """
    z = decoder_inputs(module, latents, target)
    parts = z.split(batch_size or settings.batch_size)
    values = torch.cat([module.arm(target).decode(part, batch) for part in parts])
    return z.cpu().numpy(), values.cpu().numpy()


@torch.inference_mode()
def prediction_scale(module: CoupledModule, arm: str, values: np.ndarray) -> np.ndarray:
    """Values of an arm on the scale of its predictions: counts at the mean library size, others unchanged.

    Parameters
    ----------
    module
        The module.
    arm
        Name of the arm.
    values
        ``(n_cells, n_features)`` values in the data's units, NaN where missing.
    """
    raw = torch.tensor(values, device=device_of(module))
    return module.arm(arm).likelihood.prediction_scale(raw).cpu().numpy()


def measured_values(module: CoupledModule, data: AlignedData, arm: str, cells: np.ndarray) -> np.ndarray:
    """``(len(cells), n_features)`` measured values on the scale of predictions, NaN where missing.

    Labels are 1 for a cell's class and 0 for the others.
    """
    return prediction_scale(module, arm, data[arm].values(cells))
