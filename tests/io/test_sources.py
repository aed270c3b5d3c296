"""Data frames, AnnData and files that are no text."""

from __future__ import annotations

import importlib.util

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.io import mmwrite

from scvi_cae.io import read_tables

CELLS = [f"cell_{i}" for i in range(6)]
COUNTS = np.random.default_rng(0).poisson(2, (6, 3))


def adata():
    return anndata.AnnData(
        sparse.csr_matrix(COUNTS),
        obs=pd.DataFrame({"mouse": list("aabbcc")}, index=CELLS),
        var=pd.DataFrame(index=["g1", "g2", "g3"]),
    )


def check(mdata):
    np.testing.assert_array_equal(mdata["rna"].layers["counts"].toarray(), COUNTS)
    assert list(mdata["rna"].obs_names) == CELLS


def test_anndata_and_its_file_either_way_round(tmp_path):
    ephys = pd.DataFrame({"a": np.arange(6.0)}, index=CELLS[::-1])
    given = adata()
    check(read_tables(rna=given, ephys=ephys, verbose=False))
    assert "counts" not in given.layers  # the argument is not changed
    given.write_h5ad(tmp_path / "rna.h5ad")
    mdata = read_tables(rna=tmp_path / "rna.h5ad", ephys=ephys, obs=tmp_path / "rna.h5ad", verbose=False)
    check(mdata)
    assert mdata.obs["mouse"].tolist() == list("aabbcc")
    check(read_tables(rna=adata().T.copy(), ephys=ephys, verbose=False))


@pytest.mark.parametrize("symbols", [["Gad1", "Sst", "Vip"], ["Gad1", "Sst", "Sst"]])
def test_folder_of_10x(tmp_path, symbols):
    mmwrite(tmp_path / "matrix.mtx", sparse.csr_matrix(COUNTS.T))
    (tmp_path / "barcodes.tsv").write_text("\n".join(CELLS) + "\n")
    (tmp_path / "features.tsv").write_text(
        "".join(f"E{i}\t{s}\tGene Expression\n" for i, s in enumerate(symbols))
    )
    mdata = read_tables(rna=tmp_path, verbose=False)
    check(mdata)
    assert mdata["rna"].var_names.tolist() == (symbols if symbols[1] != symbols[2] else ["E0", "E1", "E2"])
    (tmp_path / "barcodes.tsv").write_text("x\n")
    with pytest.raises(ValueError, match="names of 3 features and 1 cells"):
        read_tables(rna=tmp_path)
    (tmp_path / "barcodes.tsv").unlink()
    with pytest.raises(FileNotFoundError, match=r"without barcodes\.tsv"):
        read_tables(rna=tmp_path)


def test_parquet(tmp_path):
    frame = adata().to_df().astype(int).rename_axis("cell")
    if importlib.util.find_spec("pyarrow"):
        frame.to_parquet(tmp_path / "x")
        check(read_tables(rna=tmp_path / "x", verbose=False))
    else:
        (tmp_path / "x").write_bytes(b"PAR1" + b"\0" * 20)
        with pytest.raises(ValueError, match="pip install pyarrow"):
            read_tables(rna=tmp_path / "x")


def test_what_cannot_be_read_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "x.xlsx").write_bytes(b"PK\x03\x04" + b"\0" * 20)
    with pytest.raises(
        ValueError, match=r"Save the sheet as csv.*pandas\.read_excel\('x\.xlsx', index_col=0\)"
    ):
        read_tables(ephys=tmp_path / "x.xlsx")
    mudata.MuData({"rna": adata()}).write_h5mu(tmp_path / "x.h5mu")
    with pytest.raises(ValueError, match=r"is a MuData.*mudata\.read_h5mu"):
        read_tables(rna=tmp_path / "x.h5mu")
    with pytest.raises(FileNotFoundError, match="ephys: there is no file"):
        read_tables(ephys="nowhere.csv")
    with pytest.raises(TypeError, match=r"ephys=ndarray is no table.*pandas\.DataFrame"):
        read_tables(ephys=np.ones((2, 2)))
    with pytest.raises(ValueError, match="No modality is given"):
        read_tables()
