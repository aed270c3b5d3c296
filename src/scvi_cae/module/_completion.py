"""Missing values of a modality of few features, as those that were measured let expect them."""

from __future__ import annotations

import numpy as np
import torch

#: Largest standard score that counts, so that no single value decides.
MAX_SCORE = 3.0
#: Number of cells with uncorrelated features that are added, and smallest eigenvalue of correlations.
PRIOR_CELLS, MIN_EIGENVALUE = 10, 0.01
#: Smallest share of the cells that must have a feature. What many lack has a reason, such as the kind of cell, and is
#: missing in training as well.
MIN_SHARE = 0.9
#: Number of values of matrices that are solved at once.
MAX_VALUES = 2**22


class Correlation:
    """Correlation of standardised features, from any number of parts of the data.

    Each pair of features is correlated over the cells that have both. Cells with uncorrelated features are added, and the
    result is made positive definite. Features that more than a tenth of the cells lack are not correlated with others.

    Parameters
    ----------
    n_features
        Number of features.
    """

    def __init__(self, n_features: int) -> None:
        self._n_cells = 0
        self._products = np.zeros((n_features, n_features))
        self._numbers = np.zeros((n_features, n_features))

    def add(self, scores: np.ndarray) -> None:
        """Add ``(n_cells, n_features)`` standard scores, NaN where missing."""
        known = np.isfinite(scores).astype(np.float64)
        self._n_cells += int(known.any(axis=1).sum())
        values = np.clip(np.nan_to_num(scores), -MAX_SCORE, MAX_SCORE).astype(np.float64)
        self._products += values.T @ values
        self._numbers += known.T @ known

    @property
    def matrix(self) -> np.ndarray:
        """``(n_features, n_features)`` correlation; the identity without any cell."""
        identity = np.eye(len(self._products))
        usual = np.diag(self._numbers) >= MIN_SHARE * max(self._n_cells, 1)
        matrix = (self._products + PRIOR_CELLS * identity) / (self._numbers + PRIOR_CELLS)
        both = np.outer(usual, usual)
        values, vectors = np.linalg.eigh(np.where(both, matrix, identity))
        # Rounding would leave the others slightly correlated.
        return np.where(both, (vectors * np.maximum(values, MIN_EIGENVALUE)) @ vectors.T, identity)


def complete(scores: torch.Tensor, observed: torch.Tensor, correlation: torch.Tensor) -> torch.Tensor:
    r"""Replace missing standard scores by their means given those that were measured.

    .. math:: E[x_m \mid x_o] = C_{mo} C_{oo}^{-1} x_o

    as for a normal distribution with correlation :math:`C`.

    Parameters
    ----------
    scores
        ``(n_cells, n_features)`` standard scores; what they are where missing does not matter.
    observed
        Boolean, of the same shape.
    correlation
        ``(n_features, n_features)``.

    Returns
    -------
    The scores with missing ones replaced; 0, the mean, for a cell without any.
    """
    known, correlation = torch.where(observed, scores, 0.0), correlation.double()
    identity = torch.eye(len(correlation), dtype=correlation.dtype, device=correlation.device)
    gaps = (~observed.all(dim=1)).nonzero().squeeze(1)
    expected = [torch.zeros_like(known[:0])]
    for rows in gaps.split(max(MAX_VALUES // correlation.numel(), 1)):
        there = observed[rows].to(correlation.dtype)
        # Missing features stand apart from the others, and are 0 in the solution.
        among = torch.where(observed[rows, :, None] & observed[rows, None], correlation, identity)
        limited = known[rows].clamp(-MAX_SCORE, MAX_SCORE).to(correlation.dtype)
        expected.append(((1 - there) * (torch.linalg.solve(among, limited) @ correlation)).to(known.dtype))
    return known.index_add(0, gaps, torch.cat(expected))
