from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.data._order import block_order


@given(
    st.integers(1, 300),
    st.integers(1, 30),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(0, 1000),
)
def test_every_cell_comes_once_and_every_pattern_evenly(
    n, n_batches, n_patterns, block_size, n_at_once, seed
):
    rng = np.random.default_rng(seed)
    patterns = rng.integers(n_patterns, size=n)
    blocks, places = np.divmod(rng.permutation(n), block_size)
    order = block_order(patterns, blocks, places, n_batches, n_at_once, torch.Generator().manual_seed(seed))
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    batches = [order[i::n_batches] for i in range(n_batches)]
    for pattern in range(n_patterns):
        counts = [(patterns[batch] == pattern).sum() for batch in batches]
        assert max(counts) - min(counts) <= 1


def test_a_buffer_is_a_few_blocks_in_random_order():
    n, block_size, n_batches, n_at_once = 10_000, 50, 100, 10
    blocks, places = np.divmod(np.arange(n), block_size)
    order = block_order(np.zeros(n, int), blocks, places, n_batches, n_at_once)
    batches = [order[i::n_batches] for i in range(n_batches)]
    first_blocks = set()
    for i in range(0, n_batches, n_at_once):
        buffer = np.concatenate(batches[i : i + n_at_once])
        # 1,000 cells are 20 blocks, which may begin and end in a buffer's middle.
        assert len(np.unique(blocks[buffer])) <= 21
        # Each batch has cells of most of them.
        assert min(len(np.unique(blocks[batch])) for batch in batches[i : i + n_at_once]) > 14
        first_blocks.add(blocks[buffer].min())
    assert len(first_blocks) > 2


def test_patterns_that_are_stored_together_are_read_together():
    n, block_size = 10_000, 50
    rng = np.random.default_rng(0)
    blocks, places = np.divmod(np.arange(n), block_size)
    patterns = rng.integers(3, size=n)
    order = block_order(patterns, blocks, places, 100, 10)
    buffers = [np.concatenate([order[i::100] for i in range(k, k + 10)]) for k in range(0, 100, 10)]
    assert np.mean([len(np.unique(blocks[buffer])) for buffer in buffers]) < 30


def test_order_repeats_with_the_seed():
    n = 500
    blocks, places = np.divmod(np.arange(n), 20)

    def draw(stream):
        return block_order(np.zeros(n, int), blocks, places, 10, 2, stream)

    a, b = (draw(torch.Generator().manual_seed(3)) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, draw(torch.Generator().manual_seed(4)))
