"""What a network sees of one modality for one set of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch  # noqa: TC002 (the annotations of a NamedTuple are read at run time)

if TYPE_CHECKING:
    from collections.abc import Callable


class Observation(NamedTuple):
    """One modality of a batch of cells, with what is missing said explicitly.

    Masks are 1 and 0 in the type of the values: they are factors in every sum, and converting them takes longer than
    the sums of a small batch. All may have a leading dimension of members, of models that are trained together.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` values as the modality's likelihood keeps them, 0 at missing entries: there a
        standardised feature adds nothing to the first layer, nor to the gradient of its weights. Statistics and
        losses go by the masks.
    observed
        ``(n_cells, n_features)`` mask of measured values, or ``(n_cells, 1)`` where a cell has either all features of
        the modality or none.
    present
        ``(n_cells,)`` mask of the cells with at least one measured value.
    batch
        ``(n_cells, n_batches)`` weights of technical batches, which sum to 1: one batch has all of it where a
        cell's is known. ``None`` for a modality without batches.
    """

    values: torch.Tensor
    observed: torch.Tensor
    present: torch.Tensor
    batch: torch.Tensor | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Observation:
        """Each part through a function."""
        values, observed, present, batch = self
        return Observation(
            function(values),
            function(observed),
            function(present),
            None if batch is None else function(batch),
        )
