"""Files of a published data set: from a local folder, or downloaded once and verified."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pooch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DATA_VARIABLE = "SCVI_CAE_DATA"
CACHE_VARIABLE = "SCVI_CAE_CACHE"


@dataclass(frozen=True)
class Registry:
    """Files of a published data set: their address and checksums.

    Parameters
    ----------
    name
        Name of the data set, and of its folder in ``SCVI_CAE_DATA`` and in the cache.
    base_url
        Address of the folder with the files.
    blobs
        Git blob id of each file, by file name. The publishing repository lists these ids itself, so that none
        is computed from a download that would have to be trusted.
    urls
        Addresses, by file name, of files that are published elsewhere or under another name.
    """

    name: str
    base_url: str
    blobs: Mapping[str, str]
    urls: Mapping[str, str] = field(default_factory=dict)

    def where(self, names: Iterable[str]) -> str:
        """Names of files with their addresses, for a message."""
        return ", ".join(f"{name} from {self.urls.get(name, self.base_url + name)}" for name in names)


def git_blob_id(path: str | Path) -> str:
    """Git blob id of a file: SHA-1 of the header ``blob <size>``, a zero byte and the content."""
    path = Path(path)
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def cache_folder() -> Path:
    """Folder of what is downloaded or trained: ``$SCVI_CAE_CACHE``, by default the user's cache folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or pooch.os_cache("scvi_cae"))


def blob_ids(registry: Registry, directory: str | Path | None = None) -> dict[str, str]:
    """Git blob ids of the files that :func:`locate` would find, by name; nothing is downloaded.

    Parameters
    ----------
    registry, directory
        As of :func:`locate`.

    Raises
    ------
    FileNotFoundError
        If a local folder lacks a file.
    """
    folder = _local_folder(registry, directory)
    if folder is None:
        return dict(registry.blobs)
    return {name: git_blob_id(path) for name, path in _local(registry, folder).items()}


def locate(registry: Registry, directory: str | Path | None = None) -> dict[str, Path]:
    """Paths of the files of a data set by file name, downloaded if needed.

    Files are read from ``directory`` if given, else from ``$SCVI_CAE_DATA/<name>`` if that variable is set.
    Otherwise they are downloaded to ``$SCVI_CAE_CACHE/<name>`` (by default the user's cache folder). Local
    files are not verified, so that a subset can replace a published file; downloads are.

    Raises
    ------
    FileNotFoundError
        If a local folder lacks a file.
    ConnectionError
        If a file cannot be downloaded.
    ValueError
        If a downloaded file differs from the published one; it is deleted.
    """
    folder = _local_folder(registry, directory)
    return _download(registry) if folder is None else _local(registry, folder)


def _local_folder(registry: Registry, directory: str | Path | None) -> Path | None:
    """Folder to read files from; ``None`` if they are to be downloaded."""
    if directory is None and (data := os.environ.get(DATA_VARIABLE)):
        return Path(data) / registry.name
    return None if directory is None else Path(directory)


def _local(registry: Registry, directory: Path) -> dict[str, Path]:
    paths = {name: directory / name for name in registry.blobs}
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise FileNotFoundError(
            f"{registry.name}: no {', '.join(missing)} in {directory}. Save {registry.where(missing)} there, "
            f"set directory= to the folder with {', '.join(registry.blobs)}, set {DATA_VARIABLE} to the folder "
            f"that contains {registry.name}/, or leave both unset to download them."
        )
    return paths


def _download(registry: Registry) -> dict[str, Path]:
    # pooch does not know git blob ids. It gets no hashes, and each file is verified on every use.
    store = pooch.create(
        path=cache_folder() / registry.name,
        base_url=registry.base_url,
        registry=dict.fromkeys(registry.blobs),
        urls=dict(registry.urls),
    )

    def verified(path: str, _action: str, _store: pooch.Pooch) -> str:
        name = Path(path).name
        if (found := git_blob_id(path)) != registry.blobs[name]:
            Path(path).unlink()
            raise ValueError(
                f"{registry.name}: {name} from {store.get_url(name)} has git blob id {found}, not "
                f"{registry.blobs[name]}: the download is damaged or the file has changed. It was deleted; "
                "call again to download it again."
            )
        return path

    try:
        return {name: Path(store.fetch(name, processor=verified)) for name in registry.blobs}
    except OSError as error:
        raise ConnectionError(
            f"{registry.name}: cannot download to {store.path} ({error}). Without a connection, save "
            f"{registry.where(registry.blobs)} on another machine, then set directory= to their folder, or "
            f"{DATA_VARIABLE} to the folder that contains them in {registry.name}/."
        ) from error
