"""Model files: one ``model.pt`` of tensors and plain values, which is read without running code from it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from uuid import uuid4

import h5py
import numpy as np
import torch
from scvi.data import AnnDataManager
from scvi.model._utils import parse_device_args

from scvi_cae._archives import check_archive, not_a_model
from scvi_cae._arguments import shorten
from scvi_cae._files import naming_full_disk, remove, remove_unfinished, unfinished
from scvi_cae._mudata import read_mudata, write_mudata

from ._core import CoreModel
from ._fitted import Fitted
from ._parameters import describe

if TYPE_CHECKING:
    from mudata import MuData

#: Keys of a saved model, as in scvi-tools.
STATE, FEATURES, ATTRIBUTES = "model_state_dict", "var_names", "attr_dict"
#: Key of what identifies a saved model, and attribute of its data's file.
SAVED = "scvi_cae_saved"


def plain_settings(value: Any) -> Any:
    """Settings in types that :func:`torch.load` reads with ``weights_only=True``."""
    if isinstance(value, Mapping):
        return {key: plain_settings(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain_settings(item) for item in value)
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value


def digest(value: Any) -> str:
    """Digest of tensors, plain values and containers of them."""
    found = hashlib.blake2b(digest_size=16)

    def add(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            found.update(f"{value.dtype}{tuple(value.shape)}".encode())
            if value.numel():
                found.update(value.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().data)
        elif isinstance(value, Mapping):
            found.update(f"dict{len(value)}".encode())
            for pair in value.items():
                add(pair)
        elif isinstance(value, (list, tuple)):
            found.update(f"{type(value).__name__}{len(value)}".encode())
            for item in value:
                add(item)
        else:
            found.update(f"{type(value).__name__}{value!r}".encode(errors="surrogatepass"))

    add(value)
    return found.hexdigest()


def identity_of(path: Path) -> str | None:
    """Identity of the save that wrote a file of data; ``None`` if it is of another origin.

    Raises
    ------
    OSError
        If there is no file, or it cannot be read.
    """
    with h5py.File(path) as file:
        identity = file.attrs.get(SAVED)
    return None if identity is None else str(identity)


def is_saved(path: Path) -> bool:
    """Whether a file of data was written by a save."""
    try:
        return identity_of(path) is not None
    except OSError:
        return False


@contextmanager
def columns_kept(mdata: MuData) -> Iterator[None]:
    """Context of writing a MuData: anndata makes categories of texts in the modalities' annotations, which are put back."""
    tables = [
        table
        for adata in mdata.mod.values()
        for table in (adata.obs, adata.var, *([] if adata.raw is None else [adata.raw.var]))
    ]
    before = [table.copy(deep=False) for table in tables]
    try:
        yield
    finally:
        for table, original in zip(tables, before, strict=True):
            for name in original.columns[(original.dtypes != table.dtypes).to_numpy()]:
                table[name] = original[name]


def is_plain(value: Any) -> bool:
    """Whether no tensor in nested containers is larger than what is stored of it, as expanded ones are."""
    if isinstance(value, torch.Tensor):
        return value.nbytes <= value.untyped_storage().nbytes()
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    return not isinstance(value, (list, tuple)) or all(map(is_plain, value))


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
    check_archive(path, model_name)
    try:
        payload = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise not_a_model(path, model_name) from error
    keys = {STATE, FEATURES, ATTRIBUTES}
    if not isinstance(payload, dict) or not keys <= set(payload):
        raise ValueError(f"{path} is not a {model_name} file.")
    attributes = payload[ATTRIBUTES]
    registry = attributes.get("registry_") if isinstance(attributes, dict) else None
    if not isinstance(registry, dict):
        raise ValueError(f"{path} is not a {model_name} file.")
    if registry.get("model_name") != model_name:
        raise ValueError(f"{path} holds a model of class {registry.get('model_name')}, not {model_name}.")
    saved = payload.pop(SAVED, None)
    if (
        not isinstance(saved, dict)
        or not is_plain(payload)  # a digest takes the memory of all tensors
        or saved.pop("digest", None) != digest({**payload, SAVED: saved})
    ):
        raise ValueError(
            f"{path} holds a damaged model: weights, settings or names of features are not those that were saved. Save "
            "the model again."
        )
    check_weights(payload[STATE])
    return {**payload, SAVED: saved}


def read_data(path: Path, saved: Mapping[str, Any]) -> MuData | Literal[False]:
    """Read data that were saved with a model; ``False`` if there are none.

    Parameters
    ----------
    path
        File of the data.
    saved
        What identifies the model.

    Raises
    ------
    ValueError
        If the data were saved with another model, or are damaged.

    Warns
    -----
    UserWarning
        If the data that were saved with the model are gone, or a file is there although none were.
    """
    # A process that was killed after it had renamed the model, and before it had renamed the data.
    early = unfinished(path, saved["identity"])
    path = early if early.is_file() else path
    advice = "Give the data, adata=mdata, or load the model alone, adata=False."
    if saved["has_data"] != path.is_file():
        what = "not there any more" if saved["has_data"] else "not the model's, which was saved without data"
        warnings.warn(
            f"{path} is {what}. The model is loaded without data. {advice}", UserWarning, stacklevel=3
        )
        return False
    if not saved["has_data"]:
        return False
    try:
        mdata = read_mudata(path) if identity_of(path) == saved["identity"] else None
    except Exception as error:
        raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}). {advice}") from error
    if mdata is None:
        raise ValueError(f"{path} was not saved with this model, but by another save. {advice}")
    return mdata


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
        trainer = getattr(self, "trainer", None)
        if trainer is not None and not trainer.is_global_zero:
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

    def _write(self, payload: Mapping[str, Any], model: Path, data: Path) -> None:
        """Write a model and its data such that at any moment one model is there whole, the old or the new one.

        Renaming the model is the step between them: the data's unfinished name holds the model's identity, by which
        :func:`read_data` finds them before they are renamed, too.
        """
        identity = payload[SAVED]["identity"]
        new_model, new_data = unfinished(model, identity), unfinished(data, identity)
        try:
            # By way of memory: torch hides the system's errors.
            archive = BytesIO()
            torch.save(payload, archive)
            with naming_full_disk(model):
                new_model.write_bytes(archive.getbuffer())
            if payload[SAVED]["has_data"]:
                with naming_full_disk(data):
                    with columns_kept(self.adata):
                        write_mudata(self.adata, new_data)
                    with h5py.File(new_data, "r+") as file:
                        file.attrs[SAVED] = identity
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
        attributes, weights = payload[ATTRIBUTES], payload[STATE]
        registry = attributes["registry_"]
        try:
            settings_ = {**attributes["init_params_"]["non_kwargs"], "registry": registry}
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
        if adata is None:
            adata = read_data(folder / f"{prefix or ''}mdata.h5mu", payload[SAVED])
        if adata is not False:
            cls.setup_mudata(adata, source_registry=registry, **registry["setup_args"])
        model = cls(adata or None, **settings_)
        model.module.load_state_dict(weights)
        model.fitted = fitted
        if model.fitted is not None and model.fitted.adaptation is not None:
            adaptation = model.fitted.adaptation
            model.module.adapt(adaptation.arms, adaptation.layers)
        model.to_device(torch_device)
        model.module.eval()
        return model
