"""Scores of finished folds on disk, from which an interrupted cross-validation resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_cae._files import write_file

if TYPE_CHECKING:
    from collections.abc import Mapping


class FoldFiles:
    """Folder with one file for each finished fold, and one file of the settings that the folds belong to.

    Parameters
    ----------
    directory
        Path of the folder; created if it does not exist.
    settings
        Settings of the cross-validation.

    Raises
    ------
    ValueError
        If the folder holds folds of other settings.
    """

    def __init__(self, directory: str | Path, settings: Mapping[str, Any]) -> None:
        self._folder = Path(directory).expanduser()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "settings.json"
        new = json.loads(json.dumps(settings))
        if path.is_file():
            old = json.loads(path.read_text())
            differing = [name for name in new if new[name] != old.get(name)]
            if differing:
                raise ValueError(
                    f"{self._folder} holds the folds of a call with other {', '.join(differing)}. Give "
                    "another directory, or delete this one."
                )
        else:
            write_file(path, lambda file: file.write_text(json.dumps(new)))

    def _path(self, fold: int) -> Path:
        return self._folder / f"fold{fold}.csv"

    def read(self, n_folds: int) -> dict[int, pd.DataFrame]:
        """Scores of the finished folds, by number."""
        paths = {fold: self._path(fold) for fold in range(n_folds)}
        # Values are read as text, since pandas' parser may differ in the last digit. "NA" may name a feature.
        tables = {
            fold: pd.read_csv(path, dtype={"value": str}, keep_default_na=False, na_values={"value": [""]})
            for fold, path in paths.items()
            if path.is_file()
        }
        return {fold: table.assign(value=table["value"].astype(float)) for fold, table in tables.items()}

    def write(self, fold: int, table: pd.DataFrame) -> None:
        """Write the scores of a finished fold."""
        write_file(self._path(fold), lambda file: table.to_csv(file, index=False))
