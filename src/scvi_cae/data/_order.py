"""An order of cells that is random enough to train on and cheap to read."""

from __future__ import annotations

import numpy as np
import torch


def block_order(
    patterns: np.ndarray,
    blocks: np.ndarray,
    places: np.ndarray,
    n_batches: int,
    n_at_once: int,
    stream: torch.Generator | None = None,
) -> np.ndarray:
    """Order of cells of which every ``n_batches``-th make a batch.

    Each pattern has its share of every batch, up to one cell. Cells of a block come to the same few batches: blocks
    are taken in random order, the same for all patterns, and their cells are dealt at random to the
    batches that are in memory together.

    Parameters
    ----------
    patterns
        ``(n_cells,)`` code of each cell's pattern of measured modalities.
    blocks
        ``(n_cells,)`` number of the block that each cell is stored in.
    places
        ``(n_cells,)`` place of each cell in its block.
    n_batches
        Number of batches.
    n_at_once
        Number of consecutive batches that are in memory together.
    stream
        What random numbers are drawn from; torch's global generator by default.

    Returns
    -------
    ``(n_cells,)`` positions of the cells.
    """
    n_cells = len(patterns)
    noise = torch.rand(n_cells, dtype=torch.float64, generator=stream).numpy()
    names, block_of = np.unique(blocks, return_inverse=True)
    rank = torch.randperm(len(names), generator=stream).numpy()[block_of]
    cells = np.lexsort((places, rank, patterns))
    # Where a batch's cells of each pattern go, if cells in the order of patterns are dealt in turn.
    buffer = np.arange(n_cells) % n_batches // n_at_once
    slots = np.lexsort((noise, buffer, patterns[cells]))
    order = np.empty(n_cells, dtype=np.int64)
    order[slots] = cells
    return order
