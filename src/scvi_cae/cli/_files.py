"""Files that commands read and write, checked before any work is done."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

from scvi_cae._files import is_unfinished, remove_unfinished, write_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

#: Endings of tables, in any case, and what separates their columns.
SEPARATORS = {".csv": ",", ".tsv": "\t", ".csv.gz": ",", ".tsv.gz": "\t"}
#: Endings of MuData files, in any case; the latter are folders.
MUDATA = (".h5mu", ".zarr")


def ending(path: Path, endings: Sequence[str]) -> str | None:
    """The ending of a path among those given, in any case; ``None`` if it has another."""
    return next((end for end in endings if path.name.lower().endswith(end)), None)


def is_zarr(path: Path) -> bool:
    """Whether a path is the folder of a zarr store."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup"))


def check_input(path: Path) -> None:
    """Refuse an input that is not there.

    Raises
    ------
    OSError
        If there is no file, or a folder that is no zarr store.
    """
    if path.is_dir() and not is_zarr(path):
        raise IsADirectoryError(
            f"{path} is a folder, and no zarr store. Give a file, or the folder of a store."
        )
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}. Check the path.")


def read_mudata(path: Path) -> Any:
    """Read a MuData file or zarr store.

    Raises
    ------
    ValueError
        If it is not a complete MuData file.
    """
    from scvi_cae import _mudata

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mdata = _mudata.read_mudata(path)
            if not mdata.mod:  # mudata 0.4 reads any HDF5 file, including a single AnnData
                raise ValueError("it has no modalities")
            return mdata
    except Exception as error:
        raise ValueError(
            f"{path} is not a complete MuData file ({type(error).__name__}: {error}). Use a file written by "
            'MuData.write; wrap a single AnnData first: mudata.MuData({"rna": adata}).write("in.h5mu").'
        ) from error


def read_names(path: Path) -> pd.DataFrame:
    """Read a table that renames features: names in the data or formulas, names in the model and, optionally, factors.

    Raises
    ------
    ValueError
        If it is not such a table.
    """
    import pandas as pd

    separator = SEPARATORS[ending(path, tuple(SEPARATORS)) or ".csv"]
    try:
        table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
        if table.shape[1] > 3 and table.columns[2] == "factor":
            table = table.iloc[:, :3]  # as pp.ephys_names returns them, with comments on each row
        if table.shape[1] not in (2, 3):
            raise ValueError(f"it has {table.shape[1]} columns")
        return table.assign(factor=1.0) if table.shape[1] == 2 else table.astype({table.columns[2]: float})
    except ValueError as error:  # pandas' errors of parsing are ValueErrors
        raise ValueError(
            f"{path} is not a table of names ({error}). It needs a line of headings, and two or three columns: names in "
            "the data, names in the model, and factors that convert units."
        ) from error


def check_output(
    path: Path, overwrite: bool, endings: Sequence[str] = (), folder_of: Sequence[str] = ()
) -> None:
    """Refuse an output that cannot or should not be written.

    Parameters
    ----------
    path
        Path of the output.
    overwrite
        Whether it may already exist.
    endings
        Endings of supported file formats, in any case; any if empty. What ends in .zarr is a folder.
    folder_of
        Names of the contents if the output is a folder. Nothing is written to a folder with other contents.

    Raises
    ------
    ValueError
        If the ending is unknown, or a folder has other contents.
    OSError
        If the output exists and ``overwrite`` is false, or its parent folder does not exist or is not
        writable, or there is a folder in place of a file, or the reverse.
    """
    end = ending(path, endings)
    if endings and end is None:
        plain = " or ".join(name for name in endings if not name.endswith(".gz"))
        packed = ", or one of these and .gz" if any(name.endswith(".gz") for name in endings) else ""
        raise ValueError(
            f"{path}: unknown format {path.suffix!r}. Choose a name that ends in {plain}{packed}."
        )
    if path.exists():
        if path.is_dir() != (bool(folder_of) or (end == ".zarr" and is_zarr(path))):
            raise OSError(f"{path} is a {'folder' if path.is_dir() else 'file'}. Choose another name.")
        if not overwrite:
            raise FileExistsError(f"{path} already exists. Choose another name, or pass --overwrite.")
        names = [item.name for item in path.iterdir()] if folder_of else []
        others = [name for name in names if name not in folder_of and not is_unfinished(name)]
        if others:
            raise ValueError(
                f"{path} has other contents, which are not to be mixed with the results: "
                f"{', '.join(sorted(others)[:5])}. Choose another folder."
            )
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write {path.name} to. Create it first.")
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"No permission to write to the folder {path.parent}. Choose another folder.")


def write_table(table: pd.DataFrame, out: Path) -> None:
    """Write a table of cells, whole or not at all.

    Parameters
    ----------
    table
        Cells by anything.
    out
        The file, with an ending of a table.
    """
    end = ending(out, tuple(SEPARATORS)) or ""
    options: Any = {"sep": SEPARATORS[end], "compression": "gzip" if end.endswith(".gz") else None}
    write_file(out, lambda path: table.to_csv(path, index_label="cell", **options))
    remove_unfinished(out)
