from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from conftest import make_mdata
from scvi_cae.data import AlignedMatrix, ResidentData, Split, StreamedData, presence_pattern, training_data
from scvi_cae.module import Arm, ArmConfig
from scvi_cae.train import CoupledDataSplitter


def both(mdata, **kwargs):
    """The same data on the device and streamed."""
    aligned = {name: AlignedMatrix(mdata, name, None, list(mdata[name].var_names)) for name in mdata.mod}
    arms = {name: Arm(x.n_features, 2, ArmConfig()) for name, x in aligned.items()}
    standardise = {name: arm.observe for name, arm in arms.items()}
    for name, x in aligned.items():
        arms[name].fit(lambda x=x: [x.values(np.arange(mdata.n_obs))])
    return ResidentData(aligned, standardise), training_data(aligned, standardise, **kwargs), aligned


def assert_equal(one, other):
    assert list(one) == list(other)
    for name, x in one.items():
        y = other[name]
        assert torch.equal(x.values, y.values)
        assert torch.equal(x.observed.expand(x.values.shape), y.observed.expand(y.values.shape))
        assert torch.equal(x.present, y.present)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(1, 60),
    st.sampled_from([0.0, 2e-6, 5e-6]),
    st.floats(0, 0.3),
    st.booleans(),
)
def test_streamed_batches_are_those_on_the_device(seed, buffer_size, resident_gb, missing, as_sparse):
    mdata = make_mdata(60, missing={"ephys": missing}, seed=seed)
    if as_sparse:
        mdata["rna"].X = sparse.csr_matrix(mdata["rna"].X)
    resident, streamed, _ = both(mdata, resident_gb=resident_gb, buffer_size=buffer_size)
    assert isinstance(streamed, StreamedData)
    rng = np.random.default_rng(seed)
    batches = [torch.from_numpy(rng.integers(mdata.n_obs, size=rng.integers(1, 20))) for _ in range(6)]
    for cells, got in zip(batches, streamed.minibatches(batches), strict=True):
        assert_equal(resident.minibatch(cells), got)
        assert_equal(resident.minibatch(cells), streamed.minibatch(cells))


@pytest.mark.parametrize("batch_size", [7, 20, 200])
def test_an_epoch_has_every_cell_once_and_pairs_in_every_batch(batch_size):
    mdata = make_mdata(300, fraction={"rna": 1, "ephys": 0.1})
    _, data, aligned = both(mdata, resident_gb=0, buffer_size=50)
    present = {name: x.present for name, x in aligned.items()}
    patterns = presence_pattern(present)
    cells = np.arange(mdata.n_obs)
    splitter = CoupledDataSplitter(data, Split(cells, cells[:40], cells[:0]), patterns, batch_size)
    batches = splitter.train_minibatches()
    drawn = [x.numpy() for x in batches.draw()]
    np.testing.assert_array_equal(np.sort(np.concatenate(drawn)), cells)
    n_pairs = [(present["rna"] & present["ephys"])[x].sum() for x in drawn]
    assert max(n_pairs) - min(n_pairs) <= 1
    assert [len(batch["rna"].present) for batch in batches] == [len(x) for x in drawn]


def test_order_is_new_in_each_epoch_and_repeats_with_the_seed():
    mdata = make_mdata(200)
    _, data, aligned = both(mdata, resident_gb=0, buffer_size=40)
    patterns = presence_pattern({name: x.present for name, x in aligned.items()})
    cells = np.arange(mdata.n_obs)
    split = Split(cells, cells, cells[:0])

    def epochs(seed):
        stream = torch.Generator().manual_seed(seed)
        batches = CoupledDataSplitter(data, split, patterns, 20, stream=stream).train_minibatches()
        return [torch.cat(batches.draw()) for _ in range(2)]

    first, again = epochs(0), epochs(0)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(*first)
    assert not torch.equal(first[0], epochs(1)[0])


def test_small_modalities_lie_on_the_device():
    mdata = make_mdata(100)
    sizes = {name: 4e-9 * mdata[name].n_obs * mdata[name].n_vars for name in mdata.mod}
    assert isinstance(both(mdata)[1], ResidentData)
    assert isinstance(both(mdata, resident_gb=float("inf"))[1], ResidentData)
    _, data, _ = both(mdata, resident_gb=sizes["rna"])
    assert list(data._streamed) == ["rna"]
    _, data, _ = both(mdata, resident_gb=0)
    assert set(data._streamed) == {"rna", "ephys"}


def test_cells_of_rare_patterns_are_read_once(monkeypatch):
    mdata = make_mdata(300, fraction={"rna": 1, "ephys": 0}, seed=1)
    read = []
    before = AlignedMatrix.read
    monkeypatch.setattr(AlignedMatrix, "read", lambda self, cells: read.append(cells) or before(self, cells))
    _, data, aligned = both(mdata, resident_gb=5e-6, buffer_size=120)
    assert list(data._streamed) == ["rna"]
    pairs = np.flatnonzero(aligned["ephys"].present)
    assert len(pairs) == 100
    read.clear()
    list(data.minibatches([torch.arange(i, i + 30) for i in range(0, 300, 30)]))
    assert not np.isin(np.concatenate(read), pairs).any()
    np.testing.assert_array_equal(np.sort(np.concatenate(read)), np.setdiff1d(np.arange(300), pairs))
    # Four buffers of up to 120 cells, with or without the pairs.
    assert max(map(len, read)) <= 120


def test_reading_ends_with_the_pass():
    _, data, _ = both(make_mdata(100, fraction={"rna": 1}), resident_gb=0, buffer_size=10)
    before = threading.active_count()
    batches = data.minibatches([torch.arange(i, i + 10) for i in range(0, 100, 10)])
    next(batches)
    batches.close()
    assert threading.active_count() == before


def test_an_error_while_reading_ahead_reaches_the_caller():
    mdata = make_mdata(100, fraction={"rna": 1})
    _, data, _ = both(mdata, resident_gb=0, buffer_size=10)
    mdata["rna"].X[70] = np.inf
    cell = mdata["rna"].obs_names[70]
    with pytest.raises(ValueError, match=f"'rna' has 30 infinite values; the first: cell '{cell}'"):
        list(data.minibatches([torch.arange(i, i + 10) for i in range(0, 100, 10)]))


@pytest.mark.parametrize(
    "kwargs", [{"resident_gb": -1}, {"resident_gb": "2"}, {"buffer_size": 0}, {"buffer_size": 2.5}]
)
def test_arguments_are_checked(kwargs):
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        both(make_mdata(30), **kwargs)
