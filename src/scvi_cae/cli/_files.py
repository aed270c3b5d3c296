"""Input files, and outputs that are refused before any work is done."""

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
        If there is no such file.
    ValueError
        If it is not a complete MuData file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    import mudata

    from scvi_cae._mudata import annotations_apart

    try:
        with warnings.catch_warnings(), annotations_apart():
            warnings.simplefilter("ignore")
            mdata = mudata.read_h5mu(path)
            if not mdata.mod:  # mudata 0.4 reads any HDF5 file, a single AnnData too
                raise ValueError("it has no modalities")
            return mdata
    except Exception as error:
        raise ValueError(
            f"{path} is not a complete MuData file ({type(error).__name__}: {error}). Give one that MuData.write "
            'wrote; wrap a single AnnData first: mudata.MuData({"rna": adata}).write("in.h5mu").'
        ) from error


def check_output(
    path: Path, overwrite: bool, suffixes: Sequence[str] = (), folder_of: Sequence[str] = ()
) -> None:
    """Refuse an output that could not or should not be written, before any work is done for it.

    Parameters
    ----------
    path
        Where the output will be.
    overwrite
        Whether it may be there already.
    suffixes
        File name suffixes that say in which format to write; any if empty.
    folder_of
        Names in a folder that is to be written. Only a folder with nothing else in it is ever replaced.

    Raises
    ------
    ValueError
        If the suffix is unknown, or a folder holds other things.
    OSError
        If the output exists and ``overwrite`` is false, or its parent folder does not exist or is not
        writable, or there is a folder where a file should be, or the reverse.
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
                f"{path} holds other things, which --overwrite would delete: {', '.join(sorted(others)[:5])}. "
                "Choose another folder."
            )
    parent = path.absolute().parent
    if not parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write {path.name} to. Make it first.")
    if not os.access(parent, os.W_OK):
        raise PermissionError(f"No permission to write to the folder {path.parent}.")
