"""Files and folders that appear complete or not at all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a new file and rename it to ``path``, which holds the old file or the new one at any time.

    Parameters
    ----------
    path
        The file.
    write
        Function that writes a file at the path it is given, which has the suffix of ``path``.
    """
    new = path.with_name(f".{uuid4().hex}-{path.name}")
    try:
        write(new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Write a new folder and rename it to ``path``; an old folder there is replaced.

    The old folder is renamed first, and renamed back if the new one cannot take its place.

    Parameters
    ----------
    path
        The folder.
    write
        Function that writes into the empty folder it is given.
    """
    path = path.resolve()
    new, old = (path.with_name(f".{path.name}-{uuid4().hex[:8]}.{which}") for which in ("new", "old"))
    new.mkdir()
    try:
        write(new)
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except BaseException:
            if old.exists():
                old.rename(path)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
