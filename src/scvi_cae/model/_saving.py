"""Model files: one ``model.pt`` of tensors and plain values, which is read without running code from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import mudata
import numpy as np
import torch
from scvi.data import AnnDataManager
from scvi.model._utils import parse_device_args

from scvi_cae._files import write_file

from ._core import CoreModel
from ._fitted import Fitted
from ._parameters import describe

if TYPE_CHECKING:
    from mudata import MuData

#: Keys of a saved model, as in scvi-tools.
STATE, FEATURES, ATTRIBUTES = "model_state_dict", "var_names", "attr_dict"


def plain_settings(value: Any) -> Any:
    """Settings in types that :func:`torch.load` reads with ``weights_only=True``."""
    if isinstance(value, Mapping):
        return {key: plain_settings(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain_settings(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def read_payload(path: Path, device: torch.device, model_name: str = "CoupledAE") -> dict[str, Any]:
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


class SavingMixin(CoreModel):
    """Models in folders, read with or without data."""

    def save(
        self,
        dir_path: str | Path,
        prefix: str | None = None,
        overwrite: bool = False,
        save_anndata: bool = False,
    ) -> None:
        """Save the model to a folder, with all it needs to embed, predict quantiles and judge novelty without its data.

        After a training on several devices the first process saves; in the others this does nothing.

        Parameters
        ----------
        dir_path
            Folder; it is made if it does not exist. Files in it appear complete or not at all.
        prefix
            Prefix of file names.
        overwrite
            Whether ``dir_path`` may exist; a model in it, and data saved with that model, are then replaced.
        save_anndata
            Whether to save the data, as ``mdata.h5mu``.

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
            # Data of a model that was here before do not belong to this one.
            data.unlink(missing_ok=True)
        payload = {
            STATE: {name: x.cpu() for name, x in self.module.state_dict().items()},
            FEATURES: self.get_var_names(),
            ATTRIBUTES: {
                "registry_": plain_settings(self.registry_),
                "init_params_": plain_settings(self.init_params_),
                "fitted": None if self.fitted is None else self.fitted.to_plain(),
            },
        }
        write_file(folder / f"{prefix or ''}model.pt", lambda path: torch.save(payload, path))

    @staticmethod
    @describe
    def load_registry(dir_path: str | Path, prefix: str | None = None) -> dict:
        """Registry of a saved model, read without running code from the file.

        Parameters
        ----------
        %(dir_path)s
        %(prefix)s
        """
        path = Path(dir_path).expanduser() / f"{prefix or ''}model.pt"
        return read_payload(path, torch.device("cpu"))[ATTRIBUTES]["registry_"]

    @classmethod
    @describe
    def view_setup_args(cls, dir_path: str | Path, prefix: str | None = None) -> None:
        """Print the arguments with which a saved model was set up.

        Parameters
        ----------
        %(dir_path)s
        %(prefix)s
        """
        AnnDataManager.view_setup_method_args(cls.load_registry(dir_path, prefix))

    @classmethod
    @describe
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
        %(dir_path)s
        adata
            MuData to attach; it need not be set up. ``None`` reads data saved with the model, if there are any;
            ``False`` loads the model alone, which embeds and predicts any data given to it.
        accelerator, device
            Device of the weights, as in scvi-tools.
        %(prefix)s

        Returns
        -------
        The model.

        Raises
        ------
        ValueError
            If the folder holds no complete model of this class, or ``adata`` has other features.
        """
        _, _, torch_device = parse_device_args(
            accelerator, device, return_device="torch", validate_single_device=True
        )
        folder = Path(dir_path).expanduser()
        payload = read_payload(folder / f"{prefix or ''}model.pt", torch_device, cls.__name__)
        attributes = payload[ATTRIBUTES]
        registry = attributes["registry_"]
        if adata is None:
            saved = folder / f"{prefix or ''}mdata.h5mu"
            adata = mudata.read_h5mu(saved) if saved.is_file() else False
        if adata is not False:
            cls.setup_mudata(adata, source_registry=registry, **registry["setup_args"])
        settings_ = dict(attributes["init_params_"]["non_kwargs"])
        settings_.pop("mdata", None)
        model = cls(adata or None, registry=registry, **settings_)
        try:
            model.module.load_state_dict(payload[STATE])
            if attributes["fitted"] is not None:
                model.fitted = Fitted.from_plain(attributes["fitted"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                f"{folder} holds a damaged model: its weights do not fit its settings."
            ) from error
        if model.fitted is not None and model.fitted.adaptation is not None:
            adaptation = model.fitted.adaptation
            model.module.adapt(adaptation.arms, adaptation.layers)
        model.to_device(torch_device)
        model.module.eval()
        return model
