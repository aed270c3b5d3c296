"""Files and folders that appear complete or not at all."""

from __future__ import annotations

import errno
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def unfinished(path: Path, mark: str) -> Path:
    """Name of a file or folder until it is renamed to ``path``.

    Parameters
    ----------
    path
        The final path.
    mark
        32 hexadecimal digits that no other writing has.
    """
    return path.with_name(f".{mark}-{path.name}")


def is_unfinished(name: str) -> bool:
    """Whether a name is one of :func:`unfinished`."""
    return re.match(r"\.[0-9a-f]{32}-", name) is not None


def remove(path: Path) -> None:
    """Delete a file or a folder, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Delete what processes that were killed while they wrote ``path`` left beside it.

    For paths that only one process writes at a time.

    Parameters
    ----------
    path
        The final path.
    """
    for item in path.parent.iterdir():
        if re.fullmatch(r"\.[0-9a-f]{32}-" + re.escape(path.name), item.name):
            remove(item)


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Context in which every error of a full disk becomes one that says so.

    HDF5 and torch report it within long texts, and by other types of errors.

    Parameters
    ----------
    path
        What is written.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
        if not full and "No space left" not in str(error):
            raise
        raise OSError(
            errno.ENOSPC, "No space left on device. Free some, or choose another place", str(path)
        ) from error


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a new file and rename it to ``path``, which holds the old file or the new one at any time.

    A store that is a folder, such as zarr's, replaces an old one in two steps: the old one is renamed first, and
    renamed back if the new one cannot take its place.

    Parameters
    ----------
    path
        The file.
    write
        Function that writes a file at the path it is given, whose name ends in that of ``path``.
    """
    new, old = (unfinished(path, uuid4().hex) for _ in range(2))
    try:
        with naming_full_disk(path):
            write(new)
        if not (new.is_dir() and path.is_dir()):
            new.replace(path)
            return
        path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            old.rename(path)
            raise
        remove(old)
    finally:
        remove(new)


def write_folder(path: Path, write: Callable[[Path], object], overwrite: bool = False) -> None:
    """Write a new folder and rename it to ``path``; into an old folder, move its files one by one.

    Each file is the old one or the new one at any time, and other files in an old folder stay there.

    Parameters
    ----------
    path
        The folder.
    write
        Function that writes into the empty folder it is given.
    overwrite
        Whether files of an old folder are replaced.

    Raises
    ------
    FileExistsError
        If there is something at ``path`` when the new folder is complete, and ``overwrite`` is false. The new folder
        is kept under the name in the message.
    """
    path = path.resolve()
    new = unfinished(path, uuid4().hex)
    new.mkdir()
    try:
        with naming_full_disk(path):
            write(new)
        if overwrite and path.is_dir():
            _move_contents(new, path)
        else:
            _rename_or_keep(new, path)
    finally:
        remove(new)
    remove_unfinished(path)


def _rename_or_keep(new: Path, path: Path) -> None:
    try:
        # Of folders, a rename replaces only an empty one.
        new.rename(path)
    except OSError:
        if not path.exists():
            raise
        kept = path.with_name(f"{path.name}-{uuid4().hex[:8]}")
        new.rename(kept)
        raise FileExistsError(
            f"{path} was made by something else in the meantime, and is left as it is. The results are in {kept}: "
            "rename it."
        ) from None


def _move_contents(new: Path, path: Path) -> None:
    for item in new.iterdir():
        target = path / item.name
        if item.is_dir() and target.is_dir():
            _move_contents(item, target)
        else:
            item.replace(target)
