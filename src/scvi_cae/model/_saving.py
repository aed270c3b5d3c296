"""Model files: one ``model.pt`` of tensors and plain values, which loads without running code from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pandas as pd
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: The keys of a saved model are scvi-tools' own.
STATE, FEATURES, ATTRIBUTES = "model_state_dict", "var_names", "attr_dict"


def plain(value: Any) -> Any:
    """``value`` in types that :func:`torch.load` reads with ``weights_only=True``.

    Mappings become dictionaries, arrays tensors, data frames dictionaries of columns with their index.
    """
    if isinstance(value, pd.DataFrame):
        columns = {str(name): plain(column.to_numpy(dtype=float)) for name, column in value.items()}
        return {"index": plain(value.index.to_numpy()), "index_name": value.index.name, "columns": columns}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if isinstance(value, np.ndarray):
        return torch.tensor(value) if value.dtype.kind in "iufb" else value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def history_from_plain(history: Mapping[str, Any] | None) -> dict[str, pd.DataFrame] | None:
    """Training history as data frames again."""
    if history is None:
        return None
    return {
        name: pd.DataFrame(
            {column: values.numpy() for column, values in table["columns"].items()},
            index=pd.Index(table["index"].numpy(), name=table["index_name"]),
        )
        for name, table in history.items()
    }


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a new file's path and move the result to ``path``: all of it appears, or nothing."""
    new = path.with_name(f".{uuid4().hex}-{path.name}")
    try:
        write(new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def read_payload(path: Path, device: torch.device, model_name: str) -> dict[str, Any]:
    """Read a saved model and check that it is one.

    Raises
    ------
    ValueError
        If there is no model file, or it is truncated, or it was written by something else.
    """
    if not path.is_file():
        raise ValueError(f"No saved model at {path}. Give the folder that {model_name}.save() wrote.")
    try:
        payload = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} is not a complete {model_name} file: it is truncated, or was written by something else. "
            "Save the model again."
        ) from error
    keys = {STATE, FEATURES, ATTRIBUTES}
    if not isinstance(payload, dict) or not keys <= set(payload):
        raise ValueError(f"{path} is not a {model_name} file.")
    if not isinstance(payload[ATTRIBUTES], dict) or "registry_" not in payload[ATTRIBUTES]:
        raise ValueError(f"{path} is not a {model_name} file.")
    name = payload[ATTRIBUTES]["registry_"].get("model_name")
    if name != model_name:
        raise ValueError(f"{path} holds a model of class {name}, not {model_name}.")
    return payload
