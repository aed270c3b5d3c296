"""Arrays of a MATLAB file, checked."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class MatFile:
    """A .mat file's arrays, each checked as it is taken.

    Parameters
    ----------
    path
        The file.
    keys
        Names of the arrays to read.
    url
        Where the published file is, to be named in errors.
    """

    def __init__(self, path: Path, keys: Sequence[str], url: str) -> None:
        self.path = path
        with path.open("rb") as file:
            start = file.read(19)
        if start.startswith(b"version https://git"):
            raise ValueError(
                f"{path}: a Git LFS pointer, not the file that it stands for. Run git lfs pull in the clone that "
                f"it comes from, or download the file from {url}."
            )
        if start != b"MATLAB 5.0 MAT-file":
            raise ValueError(
                f"{path}: not a MAT file of version 5, but one that starts with {start!r}. Replace it by the "
                f"published file, {url}."
            )
        try:
            # Not squeezed, which would take the shape of a matrix of one cell or one gene.
            arrays = loadmat(path, variable_names=list(keys))
        except (ValueError, TypeError, LookupError, OSError, MatReadError, zlib.error) as error:
            raise ValueError(
                f"{path}: damaged ({error}). Replace it by the published file, {url}."
            ) from error
        if missing := [key for key in keys if key not in arrays]:
            raise ValueError(
                f"{path}: no {', '.join(missing)}; it holds {', '.join(name for name, *_ in whosmat(path))}. "
                f"Lay the file out as published, {url}."
            )
        self._arrays: dict[str, NDArray[Any]] = {key: np.asarray(arrays[key]) for key in keys}

    def matrix(self, key: str, rows: pd.Index, columns: pd.Index) -> NDArray[np.float32]:
        """Numbers, finite or NaN, of the named cells and features."""
        values = self._arrays[key]
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{self.path}: {key} is not numeric. Give a matrix of numbers.")
        if values.shape != (len(rows), len(columns)):
            raise ValueError(
                f"{self.path}: {key} is {_by(values.shape)}, not {len(rows)} x {len(columns)}. Lay the file out "
                "as published, cells in rows and what is named in columns."
            )
        with np.errstate(over="ignore"):  # what is too large becomes infinite
            values = values.astype(np.float32)
        if len(infinite := np.argwhere(np.isinf(values))):
            row, column = infinite[0]
            raise ValueError(
                f"{self.path}: {key} is infinite for cell {rows[row]!r} and {columns[column]!r}. Give finite "
                "numbers; a feature that was not measured is NaN."
            )
        return values

    def numbers(self, key: str, per: str, n: int) -> NDArray[np.float64]:
        """``n`` finite numbers, one per ``per``."""
        entries = self._entries(key, per, n)
        for i, entry in enumerate(entries):
            if not isinstance(entry, int | float) or not np.isfinite(entry):
                raise ValueError(
                    f"{self.path}: {key} is {entry!r} in place {i + 1}. Give a number for each {per}."
                )
        return np.array(entries, np.float64)

    def whole_numbers(self, key: str, per: str, n: int) -> NDArray[np.int64]:
        numbers = self.numbers(key, per, n)
        if len(fractions := np.flatnonzero(numbers % 1)):
            i = fractions[0]
            raise ValueError(
                f"{self.path}: {key} is {numbers[i]} in place {i + 1}. Give a whole number for each {per}."
            )
        return numbers.astype(np.int64)

    def names(self, key: str, per: str, n: int | None = None) -> list[str]:
        """Text without the spaces around it, one per ``per``; whole numbers are text, too, with or without a point."""
        names = [_name(entry) for entry in self._entries(key, per, n)]
        if "" in names:
            raise ValueError(
                f"{self.path}: {key} has no name in place {names.index('') + 1}. Name each {per}."
            )
        return names

    def unique_names(self, key: str, per: str) -> pd.Index:
        names = pd.Index(self.names(key, per))
        if names.empty:
            raise ValueError(f"{self.path}: {key} is empty. Name at least one {per}.")
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            raise ValueError(f"{self.path}: {key} lists {twice!r} more than once. Keep one of each {per}.")
        return names

    def _entries(self, key: str, per: str, n: int | None) -> list[Any]:
        """Entries of a list, which MATLAB keeps as a row or a column, and text in arrays of their own."""
        values = self._arrays[key]
        if values.size > max(values.shape, default=1) or n not in (None, values.size):
            expected = "a list" if n is None else f"a list of {n}"
            raise ValueError(f"{self.path}: {key} is {_by(values.shape)}, not {expected}, one per {per}.")
        return [
            (entry.item() if entry.size == 1 else "" if entry.size == 0 else entry)
            if isinstance(entry, np.ndarray)
            else entry
            for entry in values.ravel().tolist()
        ]


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _name(entry: Any) -> str:
    """Text of an entry; empty if it has none."""
    if isinstance(entry, float) and entry.is_integer():
        entry = int(entry)
    return str(entry).strip() if isinstance(entry, str | int) else ""
