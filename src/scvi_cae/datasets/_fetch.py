"""Find the files of a published data set: in a local folder, or downloaded once and verified."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pooch

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_VARIABLE = "SCVI_CAE_DATA"
CACHE_VARIABLE = "SCVI_CAE_CACHE"


@dataclass(frozen=True)
class Registry:
    """Where a data set's files are published, and what they must contain.

    Parameters
    ----------
    name
        Name of the data set, and of its folder in ``SCVI_CAE_DATA`` and in the cache.
    base_url
        Address of the folder that holds the files.
    blobs
        Git blob id of each file, by file name: what the publishing repository itself lists, so that the
        check needs no download to have been trusted once.
    """

    name: str
    base_url: str
    blobs: Mapping[str, str]


def git_blob_id(path: str | Path) -> str:
    """Git's id of a file's content: SHA-1 over the header ``blob <size>``, a zero byte and the content."""
    path = Path(path)
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def locate(registry: Registry, directory: str | Path | None = None) -> dict[str, Path]:
    """Return the path of each of a data set's files, by file name; download them only if need be.

    Looked for in ``directory``, else in ``$SCVI_CAE_DATA/<name>`` where that variable is set, else
    downloaded to ``$SCVI_CAE_CACHE/<name>`` (by default the user's cache folder). Local files are taken as
    they are, so that a subset may stand in for a published file; downloads are verified.

    Raises
    ------
    FileNotFoundError
        A local folder lacks a file.
    ConnectionError
        A file cannot be downloaded.
    ValueError
        A downloaded file is not the published one (it is deleted).
    """
    if directory is None and (data := os.environ.get(DATA_VARIABLE)):
        directory = Path(data) / registry.name
    return _download(registry) if directory is None else _local(registry, Path(directory))


def _local(registry: Registry, directory: Path) -> dict[str, Path]:
    paths = {name: directory / name for name in registry.blobs}
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise FileNotFoundError(
            f"{registry.name}: no {', '.join(missing)} in {directory}. Put what is missing there, from "
            f"{registry.base_url}, give directory= the folder that holds all of {', '.join(registry.blobs)}, set "
            f"{DATA_VARIABLE} to the folder that holds {registry.name}/, or leave both unset to download them."
        )
    return paths


def _download(registry: Registry) -> dict[str, Path]:
    # pooch checks plain hashes only, not git's; so it gets none, and each file is verified on every use
    store = pooch.create(
        path=Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("scvi_cae")) / registry.name,
        base_url=registry.base_url,
        registry=dict.fromkeys(registry.blobs),
    )

    def verified(path: str, _action: str, _store: pooch.Pooch) -> str:
        name = Path(path).name
        if (found := git_blob_id(path)) != registry.blobs[name]:
            Path(path).unlink()
            raise ValueError(
                f"{registry.name}: {name} from {store.get_url(name)} has git blob id {found}, not "
                f"{registry.blobs[name]}: the download is damaged or the file has changed. It was deleted; "
                "call again to download it anew."
            )
        return path

    try:
        return {name: Path(store.fetch(name, processor=verified)) for name in registry.blobs}
    except OSError as error:
        raise ConnectionError(
            f"{registry.name}: cannot download to {store.path} ({error}). Without a connection, get "
            f"{', '.join(registry.blobs)} from {registry.base_url} on another machine, then give directory= "
            f"their folder, or set {DATA_VARIABLE} to the folder that holds them in {registry.name}/."
        ) from error
