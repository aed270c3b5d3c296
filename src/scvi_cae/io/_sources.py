"""Tables from data frames, AnnData, and files of any kind, which is found from their first bytes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anndata
import h5py
import pandas as pd
import scanpy as sc
from anndata import AnnData
from scipy import sparse
from scipy.io import mmread

from ._parse import read_text
from ._table import from_anndata, from_frame

if TYPE_CHECKING:
    from ._table import Table


def read(name: str, source: Any) -> Table:
    """Read a table.

    Parameters
    ----------
    name
        The modality, or ``"obs"``.
    source
        Data frame, AnnData, or path of a file or folder.

    Raises
    ------
    OSError
        If there is no such file.
    TypeError
        If it is something else.
    ValueError
        If it is no table.
    """
    if isinstance(source, AnnData):
        return from_frame(name, source.obs) if name == "obs" else from_anndata(name, source)
    if isinstance(source, pd.DataFrame):
        return from_frame(name, source)
    if not isinstance(source, (str, Path)):
        raise TypeError(
            f"{name}={type(source).__name__} is no table. Give a path, a pandas.DataFrame or an anndata.AnnData; for an "
            "array, pandas.DataFrame(array, index=cells, columns=features)."
        )
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{name}: there is no file {path}. Check the path.")
    return _read_folder(name, path) if path.is_dir() else _read_file(name, path)


def _read_file(name: str, path: Path) -> Table:
    with path.open("rb") as file:
        start = file.read(8)
    if h5py.is_hdf5(path):
        adata = _read_hdf5(path)
        return from_frame(name, adata.obs) if name == "obs" else from_anndata(name, adata, str(path))
    if start.startswith(b"PAR1"):
        try:
            frame = pd.read_parquet(path)
        except ImportError as error:
            raise ValueError(
                f"{path} is a parquet file, which needs pyarrow: pip install pyarrow."
            ) from error
        return from_frame(name, frame, str(path))
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise ValueError(
            f"{path} is a spreadsheet or an archive. Save the sheet as csv, or unpack the archive; or read it first: "
            f"{name}=pandas.read_excel({path.name!r}, index_col=0)."
        )
    return read_text(name, path)


def _read_hdf5(path: Path) -> AnnData:
    with h5py.File(path, "r") as file:
        groups = set(file)
    if "mod" in groups:
        raise ValueError(
            f"{path} is a MuData, which needs no reading of tables: mudata.read_h5mu({path.name!r}). Or give one of its "
            "modalities."
        )
    if "matrix" in groups:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Variable names are not unique")
            adata = sc.read_10x_h5(path, gex_only=False)
        if not adata.var_names.is_unique:
            adata.var["gene_symbols"] = adata.var_names.to_numpy()
            adata.var_names = adata.var.pop("gene_ids").astype(str)
        return adata
    if "X" not in groups or "obs" not in groups:
        raise ValueError(
            f"{path} is an HDF5 file, but no AnnData (h5ad) and no 10x matrix. Export one of these, or csv."
        )
    return anndata.read_h5ad(path)


def _read_folder(name: str, path: Path) -> Table:
    """Read matrix.mtx with the names of its rows and columns, as Cell Ranger, STARsolo, kallisto and GEO have them."""
    files = {
        part: next((file for word in names for file in sorted(path.glob(f"*{word}*"))), None)
        for part, names in {
            "matrix.mtx": ("matrix.mtx",),
            "features.tsv": ("features.tsv", "genes.tsv"),
            "barcodes.tsv": ("barcodes.tsv",),
        }.items()
    }
    if lacking := [part for part, file in files.items() if file is None]:
        raise FileNotFoundError(
            f"{path} is a folder without {', '.join(lacking)}. Give a file, or a folder with matrix.mtx, features.tsv and "
            "barcodes.tsv, which may be compressed (.gz)."
        )
    matrix: Any = sparse.csr_matrix(mmread(files["matrix.mtx"]).T)
    features, cells = (
        pd.read_csv(str(files[part]), header=None, sep="\t", dtype=str, na_filter=False)
        for part in ("features.tsv", "barcodes.tsv")
    )
    if matrix.shape != (len(cells), len(features)):
        raise ValueError(
            f"{files['matrix.mtx']} has {matrix.shape[1]} rows and {matrix.shape[0]} columns, but there are names of "
            f"{len(features)} features and {len(cells)} cells. Take all three files from the same folder."
        )
    # Symbols may be there twice, identifiers may not.
    symbols = features[features.columns[min(1, features.shape[1] - 1)]]
    names, others = (symbols, features[0]) if symbols.is_unique else (features[0], symbols)
    var = pd.DataFrame(
        {"gene_ids" if symbols.is_unique else "gene_symbols": others.to_numpy()}, index=names.to_numpy()
    )
    if features.shape[1] > 2:
        var["feature_types"] = pd.Categorical(features[2])
    return from_anndata(
        name, AnnData(matrix, obs=pd.DataFrame(index=cells[0].to_numpy()), var=var), str(path)
    )
