"""Archives of saved models: what can be known of one before its contents, or torch, are loaded."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: File in the folder of a saved model, or of a saved ensemble of models, by class.
ARCHIVES = {"CoupledAE": "model.pt", "Ensemble": "ensemble.pt"}


def saved_class(folder: Path) -> str | None:
    """Class of what is saved in a folder; ``None`` if nothing is."""
    return next((name for name, file in ARCHIVES.items() if (folder / file).is_file()), None)


def check_archive(path: Path, model_name: str = "CoupledAE") -> None:
    """Check that a file is a saved model's, as far as can be known without reading its contents.

    Parameters
    ----------
    path
        The file.
    model_name
        Class of the model, for the messages.

    Raises
    ------
    ValueError
        If there is no such file, it is incomplete or no archive, or its checksums are not those of its contents; if its
        folder holds a model of another class.
    """
    if not path.is_file():
        other = saved_class(path.parent)
        if other not in (None, model_name):
            raise ValueError(
                f"{path.parent} holds a saved {other}. Load it by scvi_cae.{other}.load({str(path.parent)!r})."
            )
        raise ValueError(f"No saved model at {path}. Give the folder that {model_name}.save() wrote.")
    try:
        with zipfile.ZipFile(path) as archive:
            # torch compresses nothing: what is compressed may be of any size.
            if any(item.compress_type != zipfile.ZIP_STORED for item in archive.infolist()):
                raise ValueError("It is compressed.")
            damaged = archive.testzip()
    except Exception as error:
        raise not_a_model(path, model_name) from error
    if damaged is not None:
        raise ValueError(
            f"{path} is damaged: checksums differ from those of what was saved. Copy it again from where it was "
            "saved, or save the model again."
        )


def not_a_model(path: Path, model_name: str) -> ValueError:
    """The error for a file that cannot be read as a saved model.

    Parameters
    ----------
    path
        The file.
    model_name
        Class of the model.
    """
    return ValueError(
        f"{path} is not a complete {model_name} file: it is truncated, or was written by something else. "
        "Save the model again."
    )
