"""Derivatives of a prediction with respect to its inputs.

A prediction passes through the latent, which is narrow. Derivatives of the latents by the inputs are computed in reverse
mode, those of the outputs by the latents in forward mode: each takes one pass per latent dimension, whatever the number
of features. Only the sum of their products over cells is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch.func import vjp, vmap

from scvi_cae._arguments import check_whole

from ._core import CoreModel
from ._encoding import observations
from ._parameters import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from mudata import MuData

    from scvi_cae.module import Arm, Observation

#: Statistics of :func:`agreement`.
STATISTICS = ("mean", "std", "stability")


@torch.no_grad()
def mean_derivatives(
    source: Arm,
    decode: Callable[[torch.Tensor], torch.Tensor],
    cells: Iterable[Observation],
) -> np.ndarray | None:
    """Derivatives of a prediction by the source's inputs, averaged over cells.

    Parameters
    ----------
    source
        Arm of the source, in evaluation mode.
    decode
        Function from its latents, ``(n_cells, n_latent)``, to a prediction, ``(n_cells, n_target)``.
    cells
        Observations of the source, in parts. Cells that lack it are left out.

    Returns
    -------
    ``(n_source, n_target)`` derivatives by the inputs. Each is averaged over the cells in which its source feature is
    measured, NaN without any; ``None`` if no cell has the modality.
    """
    total: torch.Tensor | None = None
    n_cells: torch.Tensor | None = None
    for observation in cells:
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

    Both are ``(n_latent, n_cells, n_features)``, and 0 for missing inputs. Every cell has the source.
    """
    inputs = source.likelihood.inputs(cells)
    z, backwards = vjp(lambda x: source.embed(x, cells), inputs)  # type: ignore[misc]
    directions = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None].expand(-1, *z.shape)
    (by_input,) = vmap(backwards)(directions)
    output, to_latent = vjp(decode, z)  # type: ignore[misc]
    # A backward pass is linear; its reverse is the forward mode. (torch.func.jvp emits torch's deprecation warnings.)
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
        ``(n_source,)`` change of a feature per unit of its input.
    scaled
        Whether to give them in standard deviations, where these are known.
    source, target
        Mean and standard deviation of the two arms' features, ``None`` if unknown.

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


class AttributionMixin(CoreModel):
    """Effects of features on predictions."""

    @describe
    def attribute(
        self,
        source: str,
        target: str,
        adata: MuData | None = None,
        indices: Sequence[int] | np.ndarray | None = None,
        batch_size: int | None = None,
        scaled: bool = True,
    ) -> pd.DataFrame:
        """Effect of each feature of one modality on each predicted feature of another.

        The effect is the derivative of the prediction with respect to the feature, averaged over cells. It describes the
        model, with all other features held fixed, not a cause in the cell.

        Parameters
        ----------
        source
            Key of the modality to predict from, or of a column of labels.
        target
            Key of the modality to predict, or column of labels.
        %(adata)s
        indices
            Positions of the cells to average over; all that have ``source`` by default.
        batch_size
            Number of cells computed at once, ``scvi.settings.batch_size`` by default. Memory holds ``n_latent`` values
            of every feature of both modalities for each.
        scaled
            Whether derivatives are in standard deviations of the target's feature per standard deviation of the
            source's, both among the training cells, which makes features of any unit comparable. Otherwise they are in
            the data's units. See the notes for counts and labels.

        Returns
        -------
        Data frame of features of ``source`` by features of ``target``. Each row is averaged over the cells in which the
        feature is measured, and NaN if it is measured in none.

        Notes
        -----
        Cells are encoded in their own technical batch, and predictions are averaged over batches, as in :meth:`predict`.

        Counts: as ``source``, the derivative is with respect to the log counts that the encoder reads, at a given library
        size; per standard deviation of these, or per unit if ``scaled`` is false or the arm does not standardise. As
        ``target``, it is the derivative of the logarithm of the expected count.

        Labels: as ``source``, the derivative is with respect to the class's indicator, from 0 to 1; as ``target``, it is
        that of the log-odds of the class against all others, which do not saturate as probabilities do. Neither is scaled.

        A feature that does not vary among the training cells has no standard deviation: as ``source``, its scaled
        derivatives are 0; as ``target``, they are in its unit.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If no arm has such a name, the two are not coupled, no cell has ``source``, or the data have other features
            or infinite values in it.

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
        (name,) = self._sources(source, target)
        check_whole(batch_size, "batch_size", optional=True)
        data = self._align(adata, [name])
        cells = self._positions(data, indices)
        arm, reader = self.module.arm(name), self.module.arm(target)

        def decode(z: torch.Tensor) -> torch.Tensor:
            return reader.likelihood.link_scale(reader.output(self.module.map_latent(z, name, target)))

        parts = (part for _, part in observations(self.module, data, name, cells, batch_size))
        effects = mean_derivatives(arm, decode, parts)
        if effects is None:
            raise ValueError(
                f"None of the {len(cells)} cells has modality {name!r}, the source of the prediction. Give cells "
                "that have it: indices=..."
            )
        by, of = (self.feature_moments(m) if scaled else None for m in (name, target))
        effects = in_units(effects, arm.likelihood.input_scale.cpu().numpy(), scaled, by, of)
        features = self.get_var_names()
        return pd.DataFrame(effects, index=features[name], columns=features[target])
