"""Models in folders: one ``model.pt``, and perhaps their data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import uuid4

import numpy as np
import torch
from scvi.data import AnnDataManager
from scvi.model._utils import parse_device_args

from scvi_cae._archives import not_a_model, saved_class
from scvi_cae._arguments import shorten
from scvi_cae._files import naming_full_disk, remove, remove_unfinished, unfinished

from ._core import CoreModel
from ._fitted import Fitted
from ._parameters import describe
from ._saved_files import (
    SAVED,
    digest,
    is_saved,
    read_archive,
    read_data,
    verified,
    write_archive,
    write_data,
)

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


def check_weights(state: Mapping[str, torch.Tensor]) -> None:
    """Raise a ValueError if weights are not finite."""
    wrong = [name for name, x in state.items() if x.is_floating_point() and not x.isfinite().all()]
    if wrong:
        raise ValueError(f"Weights of the model are not finite: {shorten(wrong)}. Train it again.")


def read_payload(path: Path, model_name: str = "CoupledAE") -> dict[str, Any]:
    """Read a saved model and check that it is what was saved.

    Raises
    ------
    ValueError
        If there is no model file, or it is truncated or damaged, or it was written by something else.
    """
    payload = read_archive(path, model_name)
    attributes = payload.get(ATTRIBUTES)
    registry = attributes.get("registry_") if isinstance(attributes, dict) else None
    if not {STATE, FEATURES} <= set(payload) or not isinstance(registry, dict):
        raise not_a_model(path, model_name)
    if registry.get("model_name") != model_name:
        raise ValueError(f"{path} holds a model of class {registry.get('model_name')}, not {model_name}.")
    payload = verified(payload, path)
    check_weights(payload[STATE])
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
            Folder; it is made if it does not exist. At any moment, even if the process is killed, it holds the old model
            with its data or the new one with its own.
        prefix
            Prefix of file names.
        overwrite
            Whether ``dir_path`` may exist; a model of the same ``prefix``, and data saved with it, are then replaced. All
            other files stay.
        save_anndata
            Whether to save the data, as ``mdata.h5mu``.

        Raises
        ------
        ValueError
            If ``dir_path`` exists and ``overwrite`` is false, if weights are not finite, or if the data would replace a
            file that is not of a save.
        OSError
            If files cannot be written, as on a full disk; what was in the folder is still there.
        """
        if not self._saves():
            return
        if save_anndata and self.adata is None:
            raise ValueError("save_anndata=True, but the model was loaded without data.")
        payload = {
            STATE: {name: x.cpu() for name, x in self.module.state_dict().items()},
            FEATURES: self.get_var_names(),
            ATTRIBUTES: {
                "registry_": plain_settings(self.registry_),
                "init_params_": plain_settings(self.init_params_),
                "fitted": None if self.fitted is None else self.fitted.to_plain(),
            },
            SAVED: {"identity": uuid4().hex, "has_data": save_anndata},
        }
        check_weights(payload[STATE])
        payload[SAVED]["digest"] = digest(payload)
        folder = Path(dir_path).expanduser()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file. Choose another name.")
        if saved_class(folder) == "Ensemble":
            raise ValueError(f"{folder} holds a saved Ensemble. Choose another folder.")
        model, data = (folder / f"{prefix or ''}{name}" for name in ("model.pt", "mdata.h5mu"))
        if save_anndata and data.exists() and not is_saved(data):
            raise ValueError(
                f"{data} was not written by save, and is not replaced. Move it, or choose a prefix."
            )
        made = not folder.exists()
        try:
            folder.mkdir(parents=True, exist_ok=overwrite)
        except FileExistsError:
            raise ValueError(
                f"{folder} already exists. Choose another folder, or pass overwrite=True."
            ) from None
        try:
            self._write(payload, model, data)
        except BaseException:
            if made and not any(folder.iterdir()):
                folder.rmdir()
            raise

    def _saves(self) -> bool:
        """Whether this process saves the model, the first of those that trained it."""
        trainer = getattr(self, "trainer", None)
        return trainer is None or trainer.is_global_zero

    def _write(self, payload: Mapping[str, Any], model: Path, data: Path) -> None:
        """Write a model and its data such that at any moment one model is there whole, the old or the new one.

        Renaming the model is the step between them: the data's unfinished name holds the model's identity, by which
        :func:`read_data` finds them before they are renamed, too.
        """
        identity = payload[SAVED]["identity"]
        new_model, new_data = unfinished(model, identity), unfinished(data, identity)
        try:
            with naming_full_disk(model):
                write_archive(payload, new_model)
            if payload[SAVED]["has_data"]:
                with naming_full_disk(data):
                    write_data(self.adata, new_data, identity)
            new_model.replace(model)
        except BaseException:
            # An interruption may come when the model is renamed already: then the new data are its data.
            if new_model.exists():
                remove(new_data)
                remove(new_model)
            raise
        if payload[SAVED]["has_data"]:
            new_data.replace(data)
        elif is_saved(data):
            # Data of a model that was here before do not belong to this one; a file of the user's stays.
            remove(data)
        remove_unfinished(model)
        remove_unfinished(data)

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
        return read_payload(path)[ATTRIBUTES]["registry_"]

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
            If the folder holds no complete model of this class, or one that differs from what was saved; if the data in
            it are of another save; if ``adata`` has other features.

        Warns
        -----
        UserWarning
            If data are to be read that were saved with the model, and are gone, or that were not saved with it.
        """
        _, _, torch_device = parse_device_args(
            accelerator, device, return_device="torch", validate_single_device=True
        )
        folder = Path(dir_path).expanduser()
        payload = read_payload(folder / f"{prefix or ''}model.pt", cls.__name__)
        if adata is None:
            adata = read_data(folder / f"{prefix or ''}mdata.h5mu", payload[SAVED])
        if adata is not False:
            cls._set_up_as(payload, adata)
        return cls._restored(payload, folder, adata or None, torch_device)

    @classmethod
    def _set_up_as(cls, payload: Mapping[str, Any], mdata: MuData) -> None:
        """Set up data like those of a saved model."""
        registry = payload[ATTRIBUTES]["registry_"]
        cls.setup_mudata(mdata, source_registry=registry, **registry["setup_args"])

    @classmethod
    def _restored(
        cls, payload: Mapping[str, Any], folder: Path, mdata: MuData | None, device: torch.device
    ) -> Self:
        """Make the model that was saved.

        Parameters
        ----------
        payload
            What :func:`read_payload` read.
        folder
            Where, for messages.
        mdata
            Data to attach, set up like the model's.
        device
            Device of the weights.
        """
        attributes, weights = payload[ATTRIBUTES], payload[STATE]
        try:
            settings_ = {**attributes["init_params_"]["non_kwargs"], "registry": attributes["registry_"]}
            settings_.pop("mdata", None)
            with torch.device("meta"):  # no memory for sizes that the weights do not have
                implied = cls(None, **settings_).module.state_dict()
            if {name: x.shape for name, x in implied.items()} != {
                name: x.shape for name, x in weights.items()
            }:
                raise ValueError("other sizes")
            fitted = attributes["fitted"] and Fitted.from_plain(attributes["fitted"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{folder} holds a damaged model: its weights do not fit its settings ({error}). Save the model again."
            ) from error
        model = cls(mdata, **settings_)
        model.module.load_state_dict(weights)
        model.fitted = fitted
        if model.fitted is not None and model.fitted.adaptation is not None:
            adaptation = model.fitted.adaptation
            model.module.adapt(adaptation.arms, adaptation.layers)
        model.to_device(device)
        model.module.eval()
        return model
