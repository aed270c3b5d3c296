from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scvi_cae.data import ResidentData, Split
from scvi_cae.train import CoupledDataSplitter
from scvi_cae.train._minibatches import BootstrapMinibatches, Minibatches


class FakeData:
    """Minibatches that are the positions themselves."""

    device = torch.device("cpu")

    def minibatch(self, cells):
        return cells

    def minibatches(self, minibatches):
        return iter(minibatches)


@given(st.integers(1, 200), st.integers(1, 64), st.integers(1, 4), st.integers(0, 100))
def test_an_epoch_has_every_cell_once_in_even_batches(n, batch_size, n_patterns, seed):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    cells, patterns = rng.permutation(1000)[:n], rng.integers(n_patterns, size=n)
    batches = Minibatches(FakeData(), cells, patterns, batch_size, shuffle=True)
    epoch = [batch.numpy() for batch in batches]
    assert len(epoch) == len(batches)
    np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.sort(cells))
    sizes = [len(batch) for batch in epoch]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    for pattern in range(n_patterns):
        members = cells[patterns == pattern]
        counts = [np.isin(batch, members).sum() for batch in epoch]
        assert max(counts) - min(counts) <= 1


def test_order_is_new_in_each_epoch_and_repeats_with_the_seed():
    batches = Minibatches(FakeData(), np.arange(100), np.zeros(100, int), 10, shuffle=True)
    torch.manual_seed(0)
    first, second = (torch.cat(list(batches)) for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(first, torch.cat(list(batches)))
    assert not torch.equal(first, second)


@given(st.integers(1, 100), st.integers(1, 40), st.integers(0, 100))
def test_validation_batches_are_even_and_the_same_each_time(n, batch_size, seed):
    patterns = np.sort(np.random.default_rng(seed).integers(3, size=n))
    batches = Minibatches(FakeData(), np.arange(n), patterns, batch_size, shuffle=False)
    epoch = [batch.numpy() for batch in batches]
    np.testing.assert_array_equal(np.sort(np.concatenate(epoch)), np.arange(n))
    assert max(map(len, epoch)) <= batch_size
    for pattern in range(3):
        counts = [(patterns[batch] == pattern).sum() for batch in epoch]
        assert max(counts) - min(counts) <= 1
    assert all(np.array_equal(a, b) for a, b in zip(epoch, batches, strict=True))


def test_splitter_says_what_scvi_asks():
    split = Split(np.arange(60), np.arange(60, 80), np.arange(80, 100))
    splitter = CoupledDataSplitter(ResidentData({}, {}), split, np.zeros(100, int), batch_size=30)
    assert (splitter.n_train, splitter.n_val, splitter.train_size) == (60, 20, 0.6)
    assert splitter.data_loader_kwargs == {"batch_size": 30}
    assert splitter.test_idx is split.test


def test_bootstrap_batches_are_drawn_with_replacement():
    torch.manual_seed(0)
    cells = np.arange(100, 130)
    batches = BootstrapMinibatches(FakeData(), cells, batch_size=50, n_minibatches=40)
    epoch = [batch.numpy() for batch in batches]
    assert [len(batch) for batch in epoch] == [50] * 40 == [50] * len(batches)
    counts = np.unique(np.concatenate(epoch), return_counts=True)
    np.testing.assert_array_equal(counts[0], cells)
    # 2,000 draws of 30 cells: about 67 of each, with a standard deviation of 8.
    assert counts[1].min() > 35
    assert counts[1].max() < 100
    assert not np.array_equal(epoch, [batch.numpy() for batch in batches])


@pytest.mark.parametrize("n", [0, -1, 2.5, True])
def test_number_of_bootstrap_batches_is_checked(n):
    split = Split(np.arange(60), np.arange(60, 80), np.arange(80, 100))
    with pytest.raises(ValueError, match="bootstrap_batches"):
        CoupledDataSplitter(ResidentData({}, {}), split, np.zeros(100, int), 30, bootstrap_batches=n)


@given(st.integers(1, 60), st.integers(1, 300), st.floats(0, 0.8), st.integers(0, 100))
def test_few_pairs_come_several_times_so_that_no_batch_is_without(n_paired, n_others, fraction, seed):
    torch.manual_seed(seed)
    n = n_paired + n_others
    paired = np.random.default_rng(seed).permutation(n) < n_paired
    batches = Minibatches(
        FakeData(),
        np.arange(n),
        paired.astype(int),
        50,
        shuffle=True,
        paired=paired,
        paired_fraction=fraction,
    )
    epoch = [batch.numpy() for batch in batches]
    assert len(epoch) == len(batches)
    cells, times = np.unique(np.concatenate(epoch), return_counts=True)
    assert batches.n_cells == times.sum()
    np.testing.assert_array_equal(cells, np.arange(n))
    assert (times[~paired] == 1).all()
    assert np.ptp(times[paired]) <= 1
    assert times[paired].sum() >= min(fraction * times.sum() - 1e-6, 50 * n_paired)
    assert times.max() <= 50
    # No more than are needed.
    assert times[paired].sum() - 1 < max(fraction * (times.sum() - 1) + 1, n_paired)
    for batch in epoch:
        assert abs(paired[batch].sum() - times[paired].sum() / len(epoch)) <= 1


@pytest.mark.parametrize("fraction", [-0.1, 1, "half"])
def test_paired_fraction_is_checked(fraction):
    with pytest.raises(ValueError, match="paired_fraction=.* must be a number of at least 0 and below 1"):
        Minibatches(
            FakeData(),
            np.arange(9),
            np.zeros(9),
            3,
            shuffle=True,
            paired=np.ones(9, bool),
            paired_fraction=fraction,
        )


@pytest.mark.parametrize(
    ("n_pairs", "n_others", "n_epochs"),
    [(0, 1000, 100), (0, 10**5, 10), (50, 0, 100), (400, 0, 100), (1000, 0, 100), (10**5, 0, 10)]
    # With others, pairs are repeated: there are more steps in an epoch, and fewer epochs.
    + [(100, 900, 12), (400, 600, 67), (1000, 10**4, 5), (1000, 10**6, 1)],
)
def test_steps_follow_the_pairs(n_pairs, n_others, n_epochs):
    n = n_pairs + n_others
    split = Split(np.arange(n), np.arange(0), np.arange(0))
    paired = np.arange(n) < n_pairs
    splitter = CoupledDataSplitter(ResidentData({}, {}), split, paired.astype(int), 200, paired=paired)
    assert splitter.default_epochs == n_epochs
    assert splitter.n_steps * n_epochs <= 1000 or n > 10**4
