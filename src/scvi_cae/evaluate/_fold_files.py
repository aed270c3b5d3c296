"""Scores of finished folds on disk, from which an interrupted cross-validation resumes."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from scvi_cae._files import write_file
from scvi_cae.train import differences

if TYPE_CHECKING:
    from collections.abc import Mapping


class FoldFiles:
    """Folder with one file for each finished fold, and one file of the settings that the folds belong to.

    Parameters
    ----------
    directory
        Path of the folder; created if it does not exist.
    settings
        Description of everything that changes the scores.

    Raises
    ------
    ValueError
        If the folder holds folds of other settings, or of settings that cannot be read.
    """

    def __init__(self, directory: str | Path, settings: Mapping[str, str]) -> None:
        self._folder = Path(directory).expanduser()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "settings.json"
        if not path.is_file() and not any(self._folder.glob("fold*.csv")):
            write_file(path, lambda file: file.write_text(json.dumps(dict(settings))))
            return
        try:
            old = {str(name): str(value) for name, value in json.loads(path.read_text()).items()}
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{self._folder} holds folds, but {path.name}, which tells what they are of, is missing or damaged. "
                "Give another directory, or delete this one."
            ) from error
        if differing := differences(old, settings):
            raise ValueError(
                f"{self._folder} holds the folds of another call. Different: {differing}. Repeat the call as it was, "
                "give another directory, or delete this one."
            )

    def _path(self, fold: int) -> Path:
        return self._folder / f"fold{fold}.csv"

    def read(self, n_folds: int) -> dict[int, pd.DataFrame]:
        """Scores of the finished folds whose files are intact, by number."""
        tables = {}
        for fold in range(n_folds):
            if not self._path(fold).is_file():
                continue
            digest, _, content = self._path(fold).read_bytes().partition(b"\n")
            if digest != _digest(content):
                continue
            # Values are read as text, since pandas' parser may differ in the last digit. "NA" may name a feature.
            table = pd.read_csv(
                io.BytesIO(content), dtype={"value": str}, keep_default_na=False, na_values={"value": [""]}
            )
            tables[fold] = table.assign(value=table["value"].astype(float))
        return tables

    def write(self, fold: int, table: pd.DataFrame) -> None:
        """Write the scores of a finished fold, after a line that tells whether the file is intact."""
        content = table.to_csv(index=False).encode()
        write_file(self._path(fold), lambda file: file.write_bytes(_digest(content) + b"\n" + content))


def _digest(content: bytes) -> bytes:
    return b"# " + hashlib.blake2b(content, digest_size=16).hexdigest().encode()
