"""Validated arrays of a MATLAB file."""

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
    """Arrays of a .mat file, each validated when it is read.

    Parameters
    ----------
    path
        The file.
    keys
        Names of the arrays to read.
    url
        Address of the published file, for error messages.
    """

    def __init__(self, path: Path, keys: Sequence[str], url: str) -> None:
        self.path = path
        with path.open("rb") as file:
            start = file.read(19)
        if start.startswith(b"version https://git"):
            raise ValueError(
                f"{path}: a Git LFS pointer instead of the file. Run git lfs pull in its clone, or download "
                f"the file from {url}."
            )
        if start != b"MATLAB 5.0 MAT-file":
            raise ValueError(
                f"{path}: not a MAT file of version 5; it starts with {start!r}. Replace it by the published "
                f"file, {url}."
            )
        try:
            # Not squeezed, which would change the shape of a matrix of one cell or one gene.
            arrays = loadmat(path, variable_names=list(keys))
        except (ValueError, TypeError, LookupError, OSError, MatReadError, zlib.error) as error:
            raise ValueError(
                f"{path}: damaged ({error}). Replace it by the published file, {url}."
            ) from error
        if missing := [key for key in keys if key not in arrays]:
            raise ValueError(
                f"{path}: no {', '.join(missing)}; it holds {', '.join(name for name, *_ in whosmat(path))}. "
                f"Use the layout of the published file, {url}."
            )
        self._arrays: dict[str, NDArray[Any]] = {key: np.asarray(arrays[key]) for key in keys}

    def matrix(self, key: str, rows: pd.Index, columns: pd.Index) -> NDArray[np.float32]:
        """``(n_rows, n_columns)`` matrix of finite numbers or NaN."""
        values = self._arrays[key]
        if values.dtype.kind not in "iuf":
            raise ValueError(f"{self.path}: {key} is not numeric. It must be a matrix of numbers.")
        if values.shape != (len(rows), len(columns)):
            raise ValueError(
                f"{self.path}: {key} is {_by(values.shape)}, not {len(rows)} x {len(columns)}. Use the "
                "layout of the published file, with cells in rows and named features in columns."
            )
        with np.errstate(over="ignore"):  # values out of range become infinite
            values = values.astype(np.float32)
        if len(infinite := np.argwhere(np.isinf(values))):
            row, column = infinite[0]
            raise ValueError(
                f"{self.path}: {key} is infinite for cell {rows[row]!r} and {columns[column]!r}. Use finite "
                "numbers, and NaN for missing values."
            )
        return values

    def numbers(self, key: str, per: str, n: int) -> NDArray[np.float64]:
        """``(n,)`` finite numbers, one per ``per`` (such as "cell", for error messages)."""
        entries = self._entries(key, per, n)
        for i, entry in enumerate(entries):
            if not isinstance(entry, int | float) or not np.isfinite(entry):
                raise ValueError(
                    f"{self.path}: entry {i + 1} of {key} is {entry!r}. Each {per} needs a number."
                )
        return np.array(entries, np.float64)

    def whole_numbers(self, key: str, per: str, n: int) -> NDArray[np.int64]:
        """``(n,)`` whole numbers, one per ``per``."""
        numbers = self.numbers(key, per, n)
        if len(fractions := np.flatnonzero(numbers % 1)):
            i = fractions[0]
            raise ValueError(
                f"{self.path}: entry {i + 1} of {key} is {numbers[i]}. Each {per} needs a whole number."
            )
        return numbers.astype(np.int64)

    def names(self, key: str, per: str, n: int | None = None) -> list[str]:
        """Non-empty texts without surrounding spaces, one per ``per``; whole numbers become text."""
        names = [_name(entry) for entry in self._entries(key, per, n)]
        if "" in names:
            raise ValueError(
                f"{self.path}: entry {names.index('') + 1} of {key} is not a name. Each {per} needs a name."
            )
        return names

    def unique_names(self, key: str, per: str) -> pd.Index:
        """Names, at least one and without duplicates."""
        names = pd.Index(self.names(key, per))
        if names.empty:
            raise ValueError(f"{self.path}: {key} is empty. It must name at least one {per}.")
        if not names.is_unique:
            twice = names[names.duplicated()][0]
            raise ValueError(f"{self.path}: {key} lists {twice!r} more than once. Keep each {per} once.")
        return names

    def _entries(self, key: str, per: str, n: int | None) -> list[Any]:
        """Entries of a list, which MATLAB stores as a row or a column, with texts in arrays of their own."""
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
    """An entry as text; empty if it is neither text nor a whole number."""
    if isinstance(entry, float) and entry.is_integer():
        entry = int(entry)
    return str(entry).strip() if isinstance(entry, str | int) else ""
