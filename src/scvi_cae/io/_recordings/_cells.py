"""Which files are of which cell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_cae._arguments import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def find_files(source: str | Path | Iterable[str | Path], endings: Sequence[str]) -> list[Path]:
    """Recordings: a file, several, or those in a folder.

    Parameters
    ----------
    source
        Path or paths.
    endings
        Endings of recordings, in lower case.

    Raises
    ------
    FileNotFoundError
        If a path does not exist, or a folder has no recordings.
    ValueError
        If a file has another ending, or none was given.
    """
    paths = [Path(source)] if isinstance(source, (str, Path)) else [Path(path) for path in source]
    files: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"There is no file {path}. Check the path.")
        if path.is_dir():
            found = sorted(file for file in path.iterdir() if file.suffix.lower() in endings)
            if not found:
                raise FileNotFoundError(
                    f"{path} has no recordings ({', '.join(endings)}). Folders in it are not searched; give their files: "
                    f"sorted(Path({path.name!r}).rglob('*{endings[0]}'))."
                )
            files += found
        elif path.suffix.lower() not in endings:
            raise ValueError(
                f"{path} is no recording that can be read: endings are {' and '.join(endings)}. Export it as one of these."
            )
        else:
            files.append(path)
    if not files:
        raise ValueError("No files are given.")
    return list(dict.fromkeys(files))


def cells_of(files: Sequence[Path], cell: Any) -> dict[str, list[Path]]:
    """Files of each cell.

    Parameters
    ----------
    files
        The files.
    cell
        As of :func:`~scvi_cae.io.read_recordings`.

    Raises
    ------
    ValueError
        If a file has no cell, or the cell of files of the same name in several folders is not given.
    TypeError
        If ``cell`` is something else.
    """
    groups: dict[str, list[Path]] = {}
    names = _names(files, cell)
    without = [file.name for file, name in zip(files, names, strict=True) if not name]
    if without:
        raise ValueError(
            f"cell={_shown(cell)} gives no cell for {shorten(without)}. Add these files, or leave them out of the files "
            "that are read."
        )
    for file, name in zip(files, names, strict=True):
        groups.setdefault(str(name), []).append(file)
    if cell is None:
        for name, alike in groups.items():
            if len(alike) > 1:
                raise ValueError(
                    f"Several files are named {name!r}: {shorten(alike)}. Say which cell each is of: "
                    "cell=lambda path: path.parent.name, or {file: cell}."
                )
    return groups


def _names(files: Sequence[Path], cell: Any) -> list[str | None]:
    if cell is None:
        return [file.stem for file in files]
    if isinstance(cell, str):
        matches = [re.search(cell, file.name) for file in files]
        return [None if match is None else match[match.re.groups and 1] for match in matches]
    if isinstance(cell, pd.DataFrame):
        if not {"file", "cell"} <= set(cell):
            raise ValueError(f"cell has no columns 'file' and 'cell', only {shorten(list(cell.columns))}.")
        if len(twice := cell.loc[cell["file"].duplicated(), "file"]):
            raise ValueError(f"cell has several rows of {shorten(twice.unique())}.")
        cell = dict(zip(cell["file"].astype(str), cell["cell"].astype(str), strict=True))
    if isinstance(cell, Mapping):
        return [
            next((str(cell[key]) for key in (str(file), file.name, file.stem) if key in cell), None)
            for file in files
        ]
    if callable(cell):
        return [cell(file) for file in files]
    raise TypeError(
        f"cell={_shown(cell)} must be a function of a path, a regular expression, {{file: cell}} or a data frame with "
        "columns 'file' and 'cell'."
    )


def _shown(cell: Any) -> str:
    return repr(cell) if isinstance(cell, str) else type(cell).__name__
