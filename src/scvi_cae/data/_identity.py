"""Whether a cell is the one that a model knows by its name: fingerprints of its values."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ._aligned import Aligned


def fingerprints(aligned: Aligned, cells: np.ndarray) -> np.ndarray:
    """Fingerprint of the values of each cell, in single precision and in the order of the model's features.

    Parameters
    ----------
    aligned
        Values of one arm.
    cells
        Positions of cells.

    Returns
    -------
    ``(len(cells),)`` int64; 0 for a cell without a value.
    """
    found = np.zeros(len(cells), dtype=np.int64)
    has = np.flatnonzero(aligned.present[cells])
    for places, values in aligned.chunks(cells[has]):
        # One bit pattern for every zero, and one for every missing value.
        canonical = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))
        for place, row in zip(has[places], np.ascontiguousarray(canonical), strict=True):
            found[place] = int.from_bytes(blake2b(row.tobytes(), digest_size=8).digest(), "big", signed=True)
    return found
