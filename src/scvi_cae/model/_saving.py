"""Model files: one ``model.pt`` of tensors and plain values, which loads without running code from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import mudata
import numpy as np
import pandas as pd
import torch
from scvi.model._utils import parse_device_args

from scvi_cae._files import write_file

from ._training import SETS, TrainableModel

if TYPE_CHECKING:
    from mudata import MuData

#: The keys of a saved model are scvi-tools' own.
STATE, FEATURES, ATTRIBUTES = "model_state_dict", "var_names", "attr_dict"


def plain(value: Any) -> Any:
    """``value`` in types that :func:`torch.load` reads with ``weights_only=True``.

    Mappings become dictionaries, arrays tensors, data frames dictionaries of columns with their index.
    """
    if isinstance(value, pd.DataFrame):
        columns = {str(name): plain(column.to_numpy(dtype=float)) for name, column in value.items()}
        return {"index": plain(value.index.to_numpy()), "index_name": value.index.name, "columns": columns}
    if isinstance(value, Mapping):
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


class SavableModel(TrainableModel):
    """A model that is saved to a folder, and loaded from it with or without data."""

    def save(
        self,
        dir_path: str | Path,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
    ) -> None:
        """Save the model to a folder.

        After a training on several devices the first process saves; in the others this does nothing.

        Parameters
        ----------
        dir_path
            Folder, made if need be. Files in it appear complete or not at all.
        prefix
            Prefix of file names.
        overwrite
            Whether ``dir_path`` may exist; a model in it, and data saved with that, are then replaced.
        save_anndata
            Whether to save the data too, as ``mdata.h5mu``.

        Raises
        ------
        ValueError
            If ``dir_path`` exists and ``overwrite`` is false.
        """
        trainer = getattr(self, "trainer", None)
        if trainer is not None and not trainer.is_global_zero:
            return
        folder = Path(dir_path).expanduser()
        if folder.exists() and (not overwrite or not folder.is_dir()):
            raise ValueError(f"{folder} already exists. Choose another folder, or pass overwrite=True.")
        if save_anndata and self.adata is None:
            raise ValueError("save_anndata=True, but the model was loaded without data.")
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / f"{prefix or ''}mdata.h5mu"
        if save_anndata:
            write_file(data, self.adata.write)
        else:
            # Data of the model that stood here before are not this one's.
            data.unlink(missing_ok=True)
        attributes = {name: plain(value) for name, value in self._get_user_attributes() if name.endswith("_")}
        payload = {
            STATE: {name: x.cpu() for name, x in self.module.state_dict().items()},
            FEATURES: self.get_var_names(),
            ATTRIBUTES: attributes,
        }
        write_file(folder / f"{prefix or ''}model.pt", lambda path: torch.save(payload, path))

    @classmethod
    def load(
        cls,
        dir_path: str | Path,
        adata: MuData | Literal[False] | None = None,
        accelerator: str = "auto",
        device: int | str = "auto",
        prefix: str | None = None,
    ) -> Self:
        """Load a saved model; no code from the file is run.

        Parameters
        ----------
        dir_path
            Folder that :meth:`save` wrote.
        adata
            MuData to attach; it need not be set up. ``None`` looks for data saved with the model, ``False`` loads
            the model alone, which embeds and predicts any data given to it.
        accelerator, device
            Where to put the weights, as in scvi-tools.
        prefix
            Prefix of file names.

        Returns
        -------
        The model.

        Raises
        ------
        ValueError
            If there is no complete model of this class in the folder, or ``adata`` has other features.
        """
        _, _, torch_device = parse_device_args(
            accelerator, device, return_device="torch", validate_single_device=True
        )
        folder = Path(dir_path).expanduser()
        payload = read_payload(folder / f"{prefix or ''}model.pt", torch_device, cls.__name__)
        attributes = payload[ATTRIBUTES]
        registry = attributes.pop("registry_")
        if adata is None:
            saved = folder / f"{prefix or ''}mdata.h5mu"
            adata = mudata.read_h5mu(saved) if saved.is_file() else False
        if adata is not False:
            cls.setup_mudata(adata, source_registry=registry, **registry["setup_args"])
        settings_ = attributes.pop("init_params_")["non_kwargs"]
        settings_.pop("mdata", None)
        model = cls(adata or None, registry=registry, **settings_)
        attributes["history_"] = history_from_plain(attributes["history_"])
        for kept in ("moments_", "typical_"):
            attributes[kept] = {
                name: tuple(x.cpu().numpy() for x in arrays)
                for name, arrays in attributes.get(kept, {}).items()
            }
        if attributes.get("axes_") is not None:
            attributes["axes_"] = tuple(x.cpu().numpy() for x in attributes["axes_"])
        for name in SETS:
            if attributes[name] is not None:
                attributes[name] = np.asarray(attributes[name].cpu())
        for name, value in attributes.items():
            setattr(model, name, value)
        if model.adata is not None and model.is_trained_:
            model._find_sets(model.adata)
        try:
            model.module.load_state_dict(payload[STATE])
        except RuntimeError as error:
            raise ValueError(
                f"{folder} holds a damaged model: its weights do not fit its settings."
            ) from error
        model._resume_adapting()
        model.to_device(torch_device)
        model.module.eval()
        return model
