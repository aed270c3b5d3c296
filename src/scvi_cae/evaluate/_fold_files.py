"""Scores of finished folds on disk, from which an interrupted cross-validation resumes."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_cae._files import write_file
from scvi_cae.train import differences

from ._scores import Scores

if TYPE_CHECKING:
    from collections.abc import Mapping


class FoldFiles:
    """Folder with one file for each finished fold, and one file that describes what the folds belong to.

    Parameters
    ----------
    directory
        Path of the folder; created if it does not exist.
    description
        Description of all that the scores depend on: data, arguments and versions.

    Raises
    ------
    ValueError
        If the folder holds folds of something else.
    """

    def __init__(self, directory: str | Path, description: Mapping[str, str]) -> None:
        self._folder = Path(directory).expanduser()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._text = json.dumps(description, indent=1, sort_keys=True)
        path = self._folder / "settings.json"
        if not path.exists():
            if any(self._folder.glob("fold*.json")):
                raise ValueError(
                    f"{self._folder} holds files of folds, but no settings.json that says of what. Give another "
                    "directory, or delete this one."
                )
            write_file(path, lambda file: file.write_text(self._text, encoding="utf-8"))
            return
        try:
            then = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{path} is damaged, so it is not known what the folds belong to. Delete {self._folder} to start "
                "again, or give another directory."
            ) from error
        if differing := differences(then, description):
            raise ValueError(
                f"{self._folder} holds the folds of another call. Different: {differing}. Repeat the "
                "call as it was, give another directory, or delete this one."
            )

    def _path(self, fold: int) -> Path:
        return self._folder / f"fold{fold}.json"

    def _digest(self, fold: int, scores: Any) -> str:
        """Digest of a fold's scores and of what they belong to."""
        return hashlib.blake2b(json.dumps([self._text, fold, scores]).encode(), digest_size=16).hexdigest()

    def read(self, n_folds: int) -> dict[int, Scores]:
        """Scores of the finished folds, by number; without damaged files, of which a warning tells."""
        found: dict[int, Scores] = {}
        for fold in range(n_folds):
            path = self._path(fold)
            if not path.exists():
                continue
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
                intact = content["digest"] == self._digest(fold, content["scores"])
            except (ValueError, TypeError, KeyError):
                intact = False
            if intact:
                table, left_out = content["scores"]
                found[fold] = Scores(pd.DataFrame(table), left_out)
            else:
                warnings.warn(f"{path} is damaged; the fold is computed anew.", UserWarning, stacklevel=3)
        return found

    def write(self, fold: int, scores: Scores) -> None:
        """Write the scores of a finished fold."""
        content = [scores.table.to_dict("list"), dict(scores.left_out)]
        text = json.dumps({"digest": self._digest(fold, content), "scores": content})
        write_file(self._path(fold), lambda file: file.write_text(text, encoding="utf-8"))
