"""Ensembles in folders: a folder for each model, one file of what stands beside them, and perhaps their data."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from uuid import uuid4

from scvi.model._utils import parse_device_args

from scvi_cae._archives import ARCHIVES, not_a_model, saved_class
from scvi_cae._arguments import shorten
from scvi_cae._files import (
    is_unfinished,
    naming_full_disk,
    remove,
    remove_unfinished,
    unfinished,
    write_folder,
)

from ._companions import Companions
from ._coupled_ae import CoupledAE
from ._fitted import from_plain, to_plain
from ._pooling import Pool
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
from ._saving import read_payload
from ._stacking import Stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mudata import MuData

    from ._combination import Stacks

#: Names in the folder: folder of the models, what stands beside them, and data.
MODELS, BESIDE, DATA = "models", ARCHIVES["Ensemble"], "mdata.h5mu"
#: File in the folder of each model.
MODEL = ARCHIVES["CoupledAE"]
#: Paths in the folder that a save writes, unfinished ones included.
_MARK = r"(\.[0-9a-f]{32}-)?"
_OURS = re.compile(
    rf"{_MARK}({re.escape(BESIDE)}|{re.escape(DATA)}|{MODELS}(/\d+(/{_MARK}{re.escape(MODEL)})?)?)"
)


class Members(NamedTuple):
    """What an ensemble consists of.

    Parameters
    ----------
    models
        The models.
    companions
        Regressions beside each model.
    whole
        Regressions of all training cells.
    stacks
        Weights of their predictions.
    """

    models: Sequence[CoupledAE]
    companions: Sequence[Companions]
    whole: Companions
    stacks: Stacks


def save_ensemble(members: Members, folder: Path, overwrite: bool, mdata: MuData | None) -> None:
    """Save an ensemble to a folder, completely or not at all.

    Parameters
    ----------
    members
        Models, regressions and weights.
    folder
        The folder.
    overwrite
        Whether an ensemble in the folder is replaced.
    mdata
        Data to save with it, if any.

    Raises
    ------
    ValueError
        If ``folder`` exists and ``overwrite`` is false, or it holds anything but an ensemble; if weights are not finite.
    OSError
        If files cannot be written; an old ensemble is still there.
    """
    if not all(model._saves() for model in members.models):
        return
    if folder.exists():
        if not folder.is_dir():
            raise ValueError(f"{folder} is a file. Choose another name.")
        if not overwrite:
            raise ValueError(f"{folder} already exists. Choose another folder, or pass overwrite=True.")
        check_ensemble_folder(folder)
        _write(members, folder, mdata)
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        write_folder(folder, lambda new: _write(members, new, mdata))


def check_ensemble_folder(folder: Path) -> None:
    """Check that a folder may be replaced as a whole: it does not exist, is empty, or holds a saved ensemble alone.

    Raises
    ------
    ValueError
        If it holds anything else.
    """
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    finished = [name for name in names if not is_unfinished(name)]
    if not finished:
        return
    kind = saved_class(folder)
    if kind != "Ensemble":
        what = f"a saved {kind}" if kind else f"no complete ensemble, but {shorten(sorted(finished))}"
        raise ValueError(f"{folder} holds {what}. Choose another folder.")
    paths = [path.relative_to(folder).as_posix() for path in folder.rglob("*")]
    others = [path for path in paths if not _OURS.fullmatch(path)]
    if DATA in finished and not is_saved(folder / DATA):
        others.append(DATA)
    if others:
        raise ValueError(
            f"{folder} has other contents than an ensemble: {shorten(sorted(others))}. Move them, or choose another "
            "folder."
        )


def _write(members: Members, folder: Path, mdata: MuData | None) -> None:
    """Write an ensemble such that at any moment one is there whole, the old or the new one.

    Renaming the file beside the models is the step between them: unfinished names hold its identity, by which
    :func:`load_ensemble` finds models and data before they are renamed, too.
    """
    identity = uuid4().hex
    models, beside, data = (folder / name for name in (MODELS, BESIDE, DATA))
    new_models, new_beside, new_data = (unfinished(path, identity) for path in (models, beside, data))
    new_beside.touch()
    try:
        with naming_full_disk(folder):
            new_models.mkdir()
            for number, model in enumerate(members.models):
                model.save(new_models / str(number))
            if mdata is not None:
                write_data(mdata, new_data, identity)
            payload: dict[str, Any] = {
                "models": [file_digest(new_models / str(k) / MODEL) for k in range(len(members.models))],
                "companions": [to_plain(companions.state()) for companions in members.companions],
                "whole": to_plain(members.whole.state()),
                "stacks": [
                    {"sources": list(sources), "target": target, **to_plain(stack._asdict())}
                    for (sources, target), stack in members.stacks.items()
                ],
                SAVED: {"identity": identity, "has_data": mdata is not None},
            }
            payload[SAVED]["digest"] = digest(payload)
            write_archive(payload, new_beside)
        new_beside.replace(beside)
    except BaseException:
        # An interruption may come when the file is renamed already: then the new models are its models.
        if new_beside.exists():
            for path in (new_models, new_data, new_beside):
                remove(path)
        raise
    if models.exists():
        models.rename(unfinished(models, uuid4().hex))
    new_models.rename(models)
    if mdata is not None:
        new_data.replace(data)
    else:
        remove(data)
    for path in (models, beside, data):
        remove_unfinished(path)


def load_ensemble(
    folder: Path, adata: MuData | Literal[False] | None, accelerator: str, device: int | str
) -> Members:
    """Load an ensemble; no code from its files is run.

    Parameters
    ----------
    folder
        The folder.
    adata
        Data to attach; ``None`` reads those that were saved, ``False`` loads none.
    accelerator, device
        Device of the weights.

    Raises
    ------
    ValueError
        If the folder holds no complete ensemble, or one that differs from what was saved.
    """
    _, _, torch_device = parse_device_args(
        accelerator, device, return_device="torch", validate_single_device=True
    )
    path = folder / BESIDE
    payload = read_archive(path, "Ensemble")
    if not {"models", "companions", "whole", "stacks"} <= set(payload):
        raise not_a_model(path, "Ensemble")
    payload = verified(payload, path)
    early = unfinished(folder / MODELS, payload[SAVED]["identity"])
    models = early if early.is_dir() else folder / MODELS
    folders = [models / str(number) for number in range(len(payload["models"]))]
    for place, expected in zip(folders, payload["models"], strict=True):
        _check_model(place / MODEL, expected)
    payloads = [read_payload(place / MODEL) for place in folders]
    try:
        companions = [Companions.from_state(from_plain(state)) for state in payload["companions"]]
        whole = Companions.from_state(from_plain(payload["whole"]))
        stacks = _stacks(payload["stacks"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds a damaged ensemble: its regressions cannot be read ({type(error).__name__}: {error}). Save "
            "the ensemble again."
        ) from error
    if adata is None:
        adata = read_data(folder / DATA, payload[SAVED])
    if adata is not False:
        CoupledAE._set_up_as(payloads[0], adata)
    restored = [
        CoupledAE._restored(content, place, adata or None, torch_device)
        for content, place in zip(payloads, folders, strict=True)
    ]
    return Members(restored, companions, whole, stacks)


def _stacks(state: Sequence[Mapping[str, Any]]) -> Stacks:
    """Weights by sources and target, from plain values."""
    return {
        (tuple(entry["sources"]), entry["target"]): (
            Stack(from_plain(entry["mean"]), from_plain(entry["weights"]))
            if "mean" in entry
            else Pool(from_plain(entry["weights"]))
        )
        for entry in state
    }


def file_digest(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _check_model(path: Path, expected: str) -> None:
    """Raise a ValueError if a model of an ensemble is not there, or not the one that was saved."""
    if not path.is_file():
        raise ValueError(
            f"{path} is missing: the ensemble is not complete. Copy its folder again from where it was saved, or save "
            "the ensemble again."
        )
    if file_digest(path) != expected:
        read_payload(path)  # says what is wrong with a damaged file
        raise ValueError(
            f"{path} is not the model that was saved with this ensemble, but of another save. Copy the folder again "
            "from where it was saved, or save the ensemble again."
        )
