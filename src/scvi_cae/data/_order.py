"""An order of cells that is random enough to train on and cheap to read."""

from __future__ import annotations

import numpy as np
import torch


def block_order(
    patterns: np.ndarray,
    blocks: np.ndarray,
    places: np.ndarray,
    n_minibatches: int,
    n_at_once: int,
    stream: torch.Generator | None = None,
) -> np.ndarray:
    """Order of cells of which every ``n_minibatches``-th makes a minibatch.

    Each pattern has its share of every minibatch, up to one cell. Cells of a block are assigned to the same few
    minibatches: blocks are taken in random order, the same for all patterns, and their cells are distributed at
    random among the minibatches that are in memory together.

    Parameters
    ----------
    patterns
        ``(n_cells,)`` code of each cell's pattern of measured modalities.
    blocks
        ``(n_cells,)`` number of the block that each cell is stored in.
    places
        ``(n_cells,)`` place of each cell in its block.
    n_minibatches
        Number of minibatches.
    n_at_once
        Number of consecutive minibatches that are in memory together.
    stream
        Source of random numbers; torch's global generator by default.

    Returns
    -------
    ``(n_cells,)`` positions of the cells.
    """
    n_cells = len(patterns)
    noise = torch.rand(n_cells, dtype=torch.float64, generator=stream).numpy()
    names, block_of = np.unique(blocks, return_inverse=True)
    rank = torch.randperm(len(names), generator=stream).numpy()[block_of]
    cells = np.lexsort((places, rank, patterns))
    # Places of a minibatch's cells of each pattern, if cells in the order of patterns are distributed in turn.
    buffer = np.arange(n_cells) % n_minibatches // n_at_once
    slots = np.lexsort((noise, buffer, patterns[cells]))
    order = np.empty(n_cells, dtype=np.int64)
    order[slots] = cells
    return order
