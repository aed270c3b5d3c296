"""What a network sees of one modality for one set of cells."""

from __future__ import annotations

from typing import NamedTuple

import torch  # noqa: TC002 (the annotations of a NamedTuple are read at run time)


class Observation(NamedTuple):
    """One modality of a batch of cells, with what is missing said explicitly.

    Parameters
    ----------
    values
        ``(n_cells, n_features)`` standardised values, 0 at missing entries: there a feature adds nothing to the
        first layer, nor to the gradient of its weights. Statistics and losses go by the masks.
    observed
        ``(n_cells, n_features)`` mask of measured values, or ``(n_cells, 1)`` where a cell has either all features of
        the modality or none.
    present
        ``(n_cells,)`` mask of the cells with at least one measured value.

    Masks are 1 and 0 in the type of the values: they are factors in every sum, and converting them takes longer than
    the sums of a small batch. All may have a leading dimension of members, of models that are trained together.
    """

    values: torch.Tensor
    observed: torch.Tensor
    present: torch.Tensor
