from __future__ import annotations

import warnings

import anndata
import h5py
import numpy as np
import pytest
import zarr
from anndata.io import sparse_dataset, write_elem
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_cae.data import _rows
from scvi_cae.data._rows import any_nan, on_disk, read_rows, row_chunks
from scvi_cae.data._scan import measured_rows, scan

KINDS = ["dense", "csr", "csc", "h5-dense", "h5-csr", "zarr-dense", "zarr-csr"]


def store(values: np.ndarray, kind: str, folder) -> object:
    """A matrix of one kind; on disk it is what anndata gives."""
    where, _, how = kind.rpartition("-")
    X = values if how == "dense" else {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix}[how](values)
    if not where:
        return X
    group = h5py.File(folder / "x.h5", "w") if where == "h5" else zarr.open_group(folder / "x.zarr", mode="w")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "zarr v3 autosharding")
        write_elem(group, "X", X)
    return group["X"] if how == "dense" else sparse_dataset(group["X"])


def dense(block) -> np.ndarray:
    return block.toarray() if sparse.issparse(block) else np.asarray(block)


@pytest.fixture(params=KINDS)
def stored(request, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 7)) * (rng.random((300, 7)) < 0.5)
    matrix = store(values, request.param, tmp_path)
    assert on_disk(matrix) == ("-" in request.param)
    return values, matrix


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), max_rows=st.integers(1, 50), max_gap=st.integers(1, 20))
def test_rows_are_read_as_they_are(tmp_path_factory, seed, max_rows, max_gap):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(120, 4)) * (rng.random((120, 4)) < 0.5)).astype(np.float32)
    matrix = store(values, "h5-csr", tmp_path_factory.mktemp("rows"))
    rows = np.sort(rng.choice(120, rng.integers(1, 120), replace=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "MAX_ROWS", max_rows)
        patch.setattr(_rows, "MAX_GAP", max_gap)
        np.testing.assert_array_equal(dense(read_rows(matrix, rows)), values[rows])


def test_rows_of_every_kind(stored):
    values, matrix = stored
    for rows in (np.array([0, 5, 6, 299]), np.arange(300), np.arange(0)):
        got = read_rows(matrix, rows)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(dense(got), values[rows].astype(np.float32))


def test_no_read_is_of_more_rows_than_allowed(stored, monkeypatch):
    values, matrix = stored
    if not on_disk(matrix):
        pytest.skip("in memory already")
    read = []
    before = _rows.read_slice
    monkeypatch.setattr(_rows, "MAX_ROWS", 32)
    monkeypatch.setattr(
        _rows,
        "read_slice",
        lambda matrix, start, stop: read.append(stop - start) or before(matrix, start, stop),
    )
    read_rows(matrix, np.arange(0, 300, 2))
    assert max(read) <= 32
    assert sum(read) < 300
    read.clear()
    found = scan(matrix)
    assert max(read) <= 32
    assert sum(read) == 300
    assert found.measured.all()


def test_chunks_are_all_rows(stored, monkeypatch):
    values, matrix = stored
    monkeypatch.setattr(_rows, "MAX_ROWS", 64)
    starts, blocks = zip(*row_chunks(matrix), strict=True)
    np.testing.assert_array_equal(np.concatenate([dense(block) for block in blocks]), values)
    np.testing.assert_array_equal(starts, np.cumsum([0, *(block.shape[0] for block in blocks[:-1])]))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), max_rows=st.integers(1, 40))
@pytest.mark.parametrize("kind", ["dense", "csr", "csc", "h5-csr"])
def test_a_scan_tells_what_the_matrix_holds(kind, tmp_path_factory, seed, max_rows):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(30, 5)) * (rng.random((30, 5)) < 0.7)
    values[rng.random(values.shape) < 0.2] = np.nan
    values[rng.integers(30)] = np.nan
    values[rng.random(values.shape) < 0.02] = np.inf
    matrix = store(values, kind, tmp_path_factory.mktemp("scan"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_rows, "MAX_ROWS", max_rows)
        found = scan(matrix)
        np.testing.assert_array_equal(measured_rows(matrix), ~np.isnan(values).all(1))
    np.testing.assert_array_equal(found.measured, ~np.isnan(values).all(1))
    np.testing.assert_allclose(found.low, np.fmin.reduce(values), rtol=1e-6)
    np.testing.assert_allclose(found.high, np.fmax.reduce(values), rtol=1e-6)
    infinite = np.argwhere(np.isinf(values))
    assert found.n_infinite == len(infinite)
    assert found.first_infinite is None if not len(infinite) else np.isinf(values[found.first_infinite])
    assert not found.whole
    assert any_nan(matrix)
    assert len(found.digests) == len(values)
    assert not len(scan(matrix, digests=False).digests)


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_matrix", "csr_array"])
def test_a_scan_changes_nothing(kind):
    """Nor stored zeros, and indices that are not sorted."""
    values = np.arange(1.0, 13).reshape(4, 3)
    matrix = getattr(sparse, kind)(values)
    matrix.data[[1, 4]] = 0
    parts = [part.copy() for part in (matrix.data, matrix.indices, matrix.indptr)]
    scan(matrix)
    for before, after in zip(parts, (matrix.data, matrix.indices, matrix.indptr), strict=True):
        np.testing.assert_array_equal(after, before)


def test_whole_numbers_are_noticed():
    counts = np.arange(12.0).reshape(3, 4)
    assert scan(counts).whole
    assert scan(counts.astype(int)).whole
    assert not scan(counts + 0.5).whole


def test_backed_anndata_is_on_disk(tmp_path):
    anndata.AnnData(np.eye(3, dtype=np.float32)).write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    assert on_disk(backed.X)
    assert not any_nan(backed.X)
    backed.file.close()
