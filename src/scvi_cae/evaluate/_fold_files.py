"""Finished folds, kept on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_cae._files import write_file

if TYPE_CHECKING:
    from collections.abc import Mapping


class FoldFiles:
    """A folder with one file for each finished fold, and one that says of what.

    Parameters
    ----------
    directory
        The folder; made if need be.
    settings
        What the folds belong to.

    Raises
    ------
    ValueError
        If the folder holds folds of other settings.
    """

    def __init__(self, directory: str | Path, settings: Mapping[str, Any]) -> None:
        self._folder = Path(directory).expanduser()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "settings.json"
        now = json.loads(json.dumps(settings))
        if path.is_file():
            then = json.loads(path.read_text())
            differing = [name for name in now if now[name] != then.get(name)]
            if differing:
                raise ValueError(
                    f"{self._folder} holds the folds of a call with other {', '.join(differing)}. Give another "
                    "directory, or delete this one."
                )
        else:
            write_file(path, lambda new: new.write_text(json.dumps(now)))

    def _path(self, fold: int) -> Path:
        return self._folder / f"fold{fold}.csv"

    def read(self, n_folds: int) -> dict[int, pd.DataFrame]:
        """The finished folds, by number."""
        paths = {fold: self._path(fold) for fold in range(n_folds)}
        # Numbers as text first: pandas' own reading may differ in the last digit. A feature may be called "NA".
        tables = {
            fold: pd.read_csv(path, dtype={"value": str}, keep_default_na=False, na_values={"value": [""]})
            for fold, path in paths.items()
            if path.is_file()
        }
        return {fold: table.assign(value=table["value"].astype(float)) for fold, table in tables.items()}

    def write(self, fold: int, table: pd.DataFrame) -> None:
        """Keep a finished fold."""
        write_file(self._path(fold), lambda new: table.to_csv(new, index=False))
