"""One modality of a set of cells, as the networks read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch  # noqa: TC002 (the annotations of a NamedTuple are read at run time)

if TYPE_CHECKING:
    from collections.abc import Callable


class Observation(NamedTuple):
    """One modality of a minibatch of cells, with explicit masks of what is missing.

    Masks are 1 and 0 in the type of the values: they are factors in every sum, and converting them takes longer than
    the sums of a small minibatch. All tensors may have a leading dimension of members, of models trained together.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` values as the modality's likelihood stores them, 0 where missing: a standardised
        feature then adds nothing to the first layer, nor to the gradient of its weights. Statistics and losses use
        the masks.
    observed
        ``(n_cells, n_features)`` mask of observed values, or ``(n_cells, 1)`` where each cell has either all features
        of the modality or none.
    present
        ``(n_cells,)`` mask of the cells with at least one observed value.
    batch_weights
        ``(n_cells, n_batches)`` weights of technical batches, which sum to 1: all on one batch where the batch of a
        cell is known. ``None`` for a modality without technical batches.
    """

    values: torch.Tensor
    observed: torch.Tensor
    present: torch.Tensor
    batch_weights: torch.Tensor | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Observation:
        """Apply a function to each tensor."""
        return Observation(*(None if part is None else function(part) for part in self))  # type: ignore[arg-type]
