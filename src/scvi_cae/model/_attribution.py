"""What drives a prediction: its derivatives with respect to the inputs.

A prediction goes through the latent, which is narrow. The derivatives of the latents by the inputs are taken backwards,
those of the outputs by the latents forwards: each takes one pass for each latent dimension, however many features the
two modalities have. Only the sum of the products over cells is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch.func import vjp, vmap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scvi_cae.module import Observation
    from scvi_cae.module._arm import Arm

#: What :func:`agreement` says of each derivative.
STATISTICS = ("mean", "std", "stability")


@torch.no_grad()
def mean_derivatives(
    source: Arm,
    decode: Callable[[torch.Tensor], torch.Tensor],
    observations: Iterable[Observation],
) -> np.ndarray | None:
    """Derivatives of a prediction by what the source's encoder reads, averaged over cells.

    Parameters
    ----------
    source
        Arm of the modality predicted from, in inference mode.
    decode
        What is made of its latents, ``(n_cells, n_latent)`` to ``(n_cells, n_target)``.
    observations
        Cells of the source, a batch at a time. Those that lack the modality are left out.

    Returns
    -------
    ``(n_source, n_target)`` derivatives by the inputs. Each is averaged over the cells in which its source feature is measured, and NaN if there are none;
    ``None`` if no cell has the modality.
    """
    total: torch.Tensor | None = None
    n_cells: torch.Tensor | None = None
    for observation in observations:
        here = observation.present > 0
        if not here.any():
            continue
        present = observation.map(lambda x, here=here: x[here])  # type: ignore[misc]
        by_input, by_latent = _derivatives(source, decode, present)
        products = by_input.flatten(0, 1).T @ by_latent.flatten(0, 1)
        counts = present.observed.sum(0)
        total = products if total is None else total.add_(products)
        n_cells = counts if n_cells is None else n_cells + counts
    if total is None or n_cells is None:
        return None
    return (total / n_cells[:, None]).cpu().numpy()


def _derivatives(
    source: Arm, decode: Callable[[torch.Tensor], torch.Tensor], cells: Observation
) -> tuple[torch.Tensor, torch.Tensor]:
    """Derivatives of each latent dimension by the inputs, and of the outputs by it, of each cell.

    Both are ``(n_latent, n_cells, n_features)``, and 0 for inputs that a cell lacks. Every cell has the source.
    """
    inputs = source.likelihood.inputs(cells)
    z, backwards = vjp(lambda x: source.embed(x, cells), inputs)  # type: ignore[misc]
    directions = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None].expand(-1, *z.shape)
    (by_input,) = vmap(backwards)(directions)
    output, to_latent = vjp(decode, z)  # type: ignore[misc]
    # A backward pass is linear; backwards through that is forwards. (torch.func.jvp warns that torch is deprecated.)
    _, forwards = vjp(lambda x: to_latent(x)[0], torch.zeros_like(output))  # type: ignore[misc]
    (by_latent,) = vmap(forwards)(directions)
    if cells.observed.shape[1] > 1:
        by_input *= cells.observed
    return by_input, by_latent


def in_units(
    derivatives: np.ndarray,
    input_scale: np.ndarray,
    scaled: bool,
    source: tuple[np.ndarray, np.ndarray] | None,
    target: tuple[np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    """Derivatives by the encoder's inputs in the units that :meth:`scvi_cae.CoupledAE.attribute` describes.

    Parameters
    ----------
    derivatives
        ``(n_source, n_target)`` derivatives.
    input_scale
        ``(n_source,)`` how much of a feature one unit of its input is.
    scaled
        Whether in standard deviations, where these are known.
    source, target
        Mean and standard deviation of the two modalities' features, ``None`` if they are not known.

    Returns
    -------
    ``(n_source, n_target)``.
    """
    if not scaled:
        return derivatives / input_scale[:, None]
    per_deviation = derivatives if source is None else derivatives * (source[1] / input_scale)[:, None]
    return per_deviation if target is None else per_deviation / np.where(target[1] > 0, target[1], 1.0)


def agreement(members: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Mean, spread and stability of the same derivatives in several models.

    Parameters
    ----------
    members
        Data frames of source features by target features, one for each model.

    Returns
    -------
    Data frame of source features by target features and :data:`STATISTICS`; see
    :meth:`scvi_cae.Ensemble.attribute`.
    """
    values = np.stack([member.to_numpy(dtype=np.float64) for member in members])
    mean, std = values.mean(0), values.std(0, ddof=1)
    size = np.abs(mean) + std
    stability = np.divide(np.abs(mean), size, out=np.where(np.isnan(size), np.nan, 0.0), where=size > 0)
    table = np.stack([mean, std, stability], axis=-1)
    columns = pd.MultiIndex.from_product([members[0].columns, STATISTICS], names=["feature", "statistic"])
    return pd.DataFrame(table.reshape(len(table), -1), index=members[0].index, columns=columns)
