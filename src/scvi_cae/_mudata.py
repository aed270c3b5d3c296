"""MuData under all versions of mudata, anndata and pandas: their annotations, and files of any format."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import anndata
import mudata

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mudata import MuData


def annotations_apart() -> AbstractContextManager[Any]:
    """Context in which the columns of the modalities' annotations are not copied to the MuData.

    mudata 0.3 copies them whenever a MuData is made or updated, with a warning; 0.4 does not, and has no such option.
    """
    set_options: Any = getattr(mudata, "set_options", None)
    return set_options(pull_on_update=False) if set_options else nullcontext()


def write_mudata(mdata: MuData, path: Path) -> None:
    """Write a MuData as h5mu, or as zarr to a path that ends so.

    Arrow and nullable strings, the default of pandas 3, are written as they are, which anndata otherwise refuses.

    Parameters
    ----------
    mdata
        The MuData.
    path
        File, or folder of a zarr store.
    """
    settings: Any = anndata.settings
    with annotations_apart(), settings.override(allow_write_nullable_strings=True):
        if path.suffix.lower() == ".zarr":
            # mudata 0.4 reads an integer of numpy from h5mu, which it cannot write to zarr.
            mdata._axis = int(mdata.axis)
            mdata.write_zarr(path)
        else:
            mdata.write_h5mu(path)


def read_mudata(path: Path) -> MuData:
    """Read what :func:`write_mudata` wrote.

    Parameters
    ----------
    path
        File, or folder of a zarr store.
    """
    with annotations_apart():
        return mudata.read_zarr(path) if path.is_dir() else mudata.read_h5mu(path)
