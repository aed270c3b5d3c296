"""Input files, and checks of outputs before any work is done."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def read_mudata(path: Path) -> Any:
    """Read a MuData file.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If it is not a complete MuData file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Check the path.")
    import mudata

    from scvi_cae._mudata import annotations_apart

    try:
        with warnings.catch_warnings(), annotations_apart():
            warnings.simplefilter("ignore")
            mdata = mudata.read_h5mu(path)
            if not mdata.mod:  # mudata 0.4 reads any HDF5 file, including a single AnnData
                raise ValueError("it has no modalities")
            return mdata
    except Exception as error:
        raise ValueError(
            f"{path} is not a complete MuData file ({type(error).__name__}: {error}). Use a file written by "
            'MuData.write; wrap a single AnnData first: mudata.MuData({"rna": adata}).write("in.h5mu").'
        ) from error


def check_output(
    path: Path, overwrite: bool, suffixes: Sequence[str] = (), folder_of: Sequence[str] = ()
) -> None:
    """Refuse an output that cannot or should not be written.

    Parameters
    ----------
    path
        Path of the output.
    overwrite
        Whether it may already exist.
    suffixes
        Suffixes of supported file formats; any if empty.
    folder_of
        Names of the contents if the output is a folder. A folder with other contents is never replaced.

    Raises
    ------
    ValueError
        If the suffix is unknown, or a folder has other contents.
    OSError
        If the output exists and ``overwrite`` is false, or its parent folder does not exist or is not
        writable, or there is a folder in place of a file, or the reverse.
    """
    if suffixes and path.suffix not in suffixes:
        raise ValueError(
            f"{path}: unknown format {path.suffix!r}. Choose a name that ends in {' or '.join(suffixes)}."
        )
    if path.exists():
        if path.is_dir() != bool(folder_of):
            raise OSError(f"{path} is a {'folder' if path.is_dir() else 'file'}. Choose another name.")
        if not overwrite:
            raise FileExistsError(f"{path} already exists. Choose another name, or pass --overwrite.")
        others = [item.name for item in path.iterdir() if item.name not in folder_of] if folder_of else []
        if others:
            raise ValueError(
                f"{path} has other contents, which --overwrite would delete: "
                f"{', '.join(sorted(others)[:5])}. Choose another folder."
            )
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write {path.name} to. Create it first.")
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"No permission to write to the folder {path.parent}. Choose another folder.")
