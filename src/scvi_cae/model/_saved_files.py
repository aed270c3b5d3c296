"""Files of a save: an archive of tensors and plain values, read without running code from it, and data beside it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

import h5py
import torch

from scvi_cae._archives import check_archive, not_a_model
from scvi_cae._files import unfinished
from scvi_cae._mudata import read_mudata, write_mudata

if TYPE_CHECKING:
    from pathlib import Path

    from mudata import MuData

#: Key of what identifies a saved model, and attribute of its data's file.
SAVED = "scvi_cae_saved"


def digest(value: Any) -> str:
    """Digest of tensors, plain values and containers of them."""
    found = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            if value.numel():
                found.update(value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            found.update(f"dict{len(value)}".encode())
            for pair in value.items():
                add(pair)
        elif isinstance(value, (list, tuple)):
            found.update(f"{type(value).__name__}{len(value)}".encode())
            for item in value:
                add(item)
        else:
            found.update(f"{type(value).__name__}{value!r}".encode(errors="surrogatepass"))

    add(value)
    return found.hexdigest()


def is_plain(value: Any) -> bool:
    """Whether no tensor in nested containers is larger than what is stored of it, as expanded ones are."""
    if isinstance(value, torch.Tensor):
        return value.nbytes <= value.untyped_storage().nbytes()
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(is_plain, value))


def read_archive(path: Path, model_name: str) -> dict[str, Any]:
    """Read an archive of tensors and plain values, without running code from it.

    Raises
    ------
    ValueError
        If there is no such file, or it is truncated or damaged, or it was written by something else.
    """
    check_archive(path, model_name)
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise not_a_model(path, model_name) from error
    if not isinstance(payload, dict):
        raise not_a_model(path, model_name)
    return payload


def verified(payload: dict[str, Any], path: Path) -> dict[str, Any]:
    """Contents of an archive, without their digest.

    Raises
    ------
    ValueError
        If they do not have the digest that was saved with them.
    """
    saved = payload.pop(SAVED, None)
    if (
        not isinstance(saved, dict)
        or not is_plain(payload)  # a digest takes the memory of all tensors
        or saved.pop("digest", None) != digest({**payload, SAVED: saved})
    ):
        raise ValueError(
            f"{path} holds a damaged model: its contents are not those that were saved. Save the model again."
        )
    return {**payload, SAVED: saved}


def write_archive(payload: Mapping[str, Any], path: Path) -> None:
    """Write what :func:`read_archive` reads, by way of memory: torch hides the system's errors."""
    archive = BytesIO()
    torch.save(payload, archive)
    path.write_bytes(archive.getbuffer())


def identity_of(path: Path) -> str | None:
    """Identity of the save that wrote a file of data; ``None`` if it is of another origin.

    Raises
    ------
    OSError
        If there is no file, or it cannot be read.
    """
    with h5py.File(path) as file:
        identity = file.attrs.get(SAVED)
    return None if identity is None else str(identity)


def is_saved(path: Path) -> bool:
    """Whether a file of data was written by a save."""
    try:
        return identity_of(path) is not None
    except OSError:
        return False


def read_data(path: Path, saved: Mapping[str, Any]) -> MuData | Literal[False]:
    """Read data that were saved with a model; ``False`` if there are none.

    Parameters
    ----------
    path
        File of the data.
    saved
        What identifies the model.

    Raises
    ------
    ValueError
        If the data were saved with another model, or are damaged.

    Warns
    -----
    UserWarning
        If the data that were saved with the model are gone, or a file is there although none were.
    """
    # A process that was killed after it had renamed the model, and before it had renamed the data.
    early = unfinished(path, saved["identity"])
    path = early if early.is_file() else path
    advice = "Give the data, adata=mdata, or load the model alone, adata=False."
    if saved["has_data"] != path.is_file():
        what = "not there any more" if saved["has_data"] else "not the model's, which was saved without data"
        warnings.warn(
            f"{path} is {what}. The model is loaded without data. {advice}", UserWarning, stacklevel=3
        )
        return False
    if not saved["has_data"]:
        return False
    try:
        mdata = read_mudata(path) if identity_of(path) == saved["identity"] else None
    except Exception as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}). {advice}") from error
    if mdata is None:
        raise ValueError(f"{path} was not saved with this model, but by another save. {advice}")
    return mdata


def write_data(mdata: MuData, path: Path, identity: str) -> None:
    """Write data that belong to a saved model.

    Parameters
    ----------
    mdata
        The data.
    path
        The file.
    identity
        Identity of the model.
    """
    with columns_kept(mdata):
        write_mudata(mdata, path)
    with h5py.File(path, "r+") as file:
        file.attrs[SAVED] = identity


@contextmanager
def columns_kept(mdata: MuData) -> Iterator[None]:
    """Context of writing a MuData: anndata makes categories of texts in the modalities' annotations, which are put back."""
    tables = [
        table
        for adata in mdata.mod.values()
        for table in (adata.obs, adata.var, *([] if adata.raw is None else [adata.raw.var]))
    ]
    before = [table.copy(deep=False) for table in tables]
    try:
        yield
    finally:
        for table, original in zip(tables, before, strict=True):
            for name in original.columns[(original.dtypes != table.dtypes).to_numpy()]:
                table[name] = original[name]
